package align

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestNewReturnsAllProblemsAndStartsNothing(t *testing.T) {
	t.Setenv("ALIGNAI_PROJECT_ID", "")
	t.Setenv("ALIGNAI_API_KEY", "")
	synctest.Test(t, func(t *testing.T) { // a goroutine left behind would fail the test
		c, err := New(Config{Host: "http://collector.example.com", BatchEvents: -1, Senders: 65, CloseTimeout: -time.Second, BufferBytes: 1000, MaxContentBytes: 10, Overflow: 7})
		if c != nil {
			t.Error("a client came with the error")
		}
		got := strings.Join(problems(t, err), "\n")
		want := `Config.APIKey required
Config.BatchEvents min 1
Config.BufferBytes min 44298, to hold one event of the largest size that the other limits allow
Config.CloseTimeout min 1ns, or 0 for the default
Config.Host setting https, or loopback, or allowed by Insecure
Config.MaxContentBytes min 256
Config.Overflow max 2
Config.ProjectID required
Config.Senders max 64`
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

func TestSpoolSettingsAreChecked(t *testing.T) {
	cfg := Config{ProjectID: "p", APIKey: "k", SpoolDir: t.TempDir(), SpoolMaxBytes: 1 << 20, SpoolSync: -3 * time.Second, Senders: 64}.withDefaults()
	got := strings.Join(problems(t, cfg.validate()), "\n")
	want := `Config.SpoolMaxBytes min 17563648, for the events of every sender and one of the largest size that the other limits allow
Config.SpoolSync setting an interval, SyncAlways or SyncNever`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, sync := range []time.Duration{0, SyncAlways, SyncNever, time.Minute} {
		cfg := Config{ProjectID: "p", APIKey: "k", SpoolDir: t.TempDir(), SpoolSync: sync}.withDefaults()
		if err := cfg.validate(); err != nil {
			t.Errorf("%v: %v", sync, err)
		}
	}
}

func TestHostMustBeSafe(t *testing.T) {
	for host, ok := range map[string]bool{
		"http://127.0.0.1:7311": true, "http://localhost:1/": true, "http://[::1]:7311": true,
		"https://collector.example.com": true, "https://collector.example.com/prefix/": true,
		"http://collector.example.com": false, "http://10.0.0.1": false, "ftp://127.0.0.1": false, "127.0.0.1:7311": false,
		"": true /* the default */, "https://u:p@example.com": false, "https://example.com?x=1": false, "http://localhost.example.com": false, "://": false,
		"https://example.com/?": false, "https://example.com/#": false, "https://:443": false, "https://example.com:99999": false, "https://example.com:": true,
	} {
		cfg := Config{ProjectID: "p", APIKey: "k", Host: host}.withDefaults()
		if err := cfg.validate(); (err == nil) != ok {
			t.Errorf("%q: %v", host, err)
		}
	}
	cfg := Config{ProjectID: "p", APIKey: "k", Host: "http://collector.example.com", Insecure: true}.withDefaults()
	if err := cfg.validate(); err != nil {
		t.Error(err)
	}
}

func TestSettingsFallBackToTheEnvironment(t *testing.T) { // AL-2
	t.Setenv("ALIGNAI_PROJECT_ID", "env-project")
	t.Setenv("ALIGNAI_API_KEY", "env-key")
	t.Setenv("ALIGNAI_HOST", "https://env.example.com/")
	if cfg := (Config{}).withDefaults(); cfg.ProjectID != "env-project" || cfg.APIKey != "env-key" || cfg.Host != "https://env.example.com" {
		t.Error(cfg)
	}
	if cfg := (Config{ProjectID: "p", APIKey: "k", Host: "https://h"}).withDefaults(); cfg.ProjectID != "p" || cfg.APIKey != "k" || cfg.Host != "https://h" {
		t.Errorf("an explicit value must win: %v", cfg)
	}
}

func TestConfigNeverPrintsItsKey(t *testing.T) {
	const key = "sk_very_secret"
	cfg := Config{ProjectID: "p", APIKey: key, FeedbackSecret: key + key, OtherFeedbackSecrets: []string{key + "_of_last_year"}}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "cfg", cfg, "ptr", &cfg)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "cfg", cfg, "nested", struct{ C Config }{cfg})
	asJSON, err := json.Marshal(cfg)
	if err != nil {
		t.Error(err)
	}
	for how, text := range map[string]string{
		"%v": fmt.Sprintf("%v", cfg), "%+v": fmt.Sprintf("%+v", cfg), "%#v": fmt.Sprintf("%#v", cfg), "String": cfg.String(),
		"%d": fmt.Sprintf("%d", cfg), "%q": fmt.Sprintf("%q", cfg), "client": clientText(t, cfg),
		"pointer": fmt.Sprintf("%v %+v %#v", &cfg, &cfg, &cfg), "nested": fmt.Sprintf("%+v", struct{ C Config }{cfg}),
		"slog": log.String(), "json": string(asJSON),
	} {
		if strings.Contains(text, key) {
			t.Errorf("%s shows the key: %s", how, text)
		}
		if !strings.Contains(text, "p") {
			t.Errorf("%s shows nothing: %s", how, text)
		}
	}
}

// clientText is all that printing a client shows.
func clientText(t *testing.T, cfg Config) string {
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	return fmt.Sprintf("%v %+v %#v %s %q", c, c, c, c, c)
}

func TestLimitsHaveLimits(t *testing.T) {
	cfg := Config{ProjectID: "p", APIKey: "k", MaxContentBytes: math.MaxInt, Limits: Limits{Properties: math.MaxInt, PropertyValue: math.MaxInt}}.withDefaults()
	got := strings.Join(problems(t, cfg.validate()), "\n")
	for _, field := range []string{"MaxContentBytes max", "Limits.Properties max", "Limits.PropertyValue max"} {
		if !strings.Contains(got, "Config."+field) {
			t.Errorf("no word of %s in\n%s", field, got)
		}
	}
}

// wrapped is what tracing libraries put in the place of http.DefaultTransport.
type wrapped struct{ http.RoundTripper }

func TestNewLivesWithAnotherDefaultTransport(t *testing.T) {
	defer func(rt http.RoundTripper) { http.DefaultTransport = rt }(http.DefaultTransport)
	http.DefaultTransport = wrapped{http.DefaultTransport}
	c, err := New(Config{ProjectID: "p", APIKey: "k"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestDisabledClientAcceptsEverythingAndSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		told := 0
		c, err := New(Config{Disabled: true, OnDrop: func(Drop) { told++ }})
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		for i := range 3 {
			if err := c.CreateMessage(ctx, Message{Index: i}); err != nil {
				t.Error(err)
			}
		}
		if err := c.Flush(ctx); err != nil {
			t.Error(err)
		}
		s := c.Stats()
		checkInvariant(t, s)
		if s.Accepted != 3 || s.Dropped[DropDisabled] != 3 || told != 3 {
			t.Error(s, told)
		}
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
		checkClosed(t, c)
		if len(rec.all()) > 0 {
			t.Error("something was sent")
		}
	})
}

func TestSmallestBufferHoldsTheLargestEvents(t *testing.T) {
	cfg := Config{ProjectID: "p", APIKey: "k", MaxContentBytes: 256, Limits: Limits{1, 1}, Logger: discard, HTTPClient: down().client()}
	cfg = cfg.withDefaults()
	cfg.BufferBytes = cfg.largestEvent()
	wide := func(n int) string { return strings.Repeat("\U0001F600", n) }
	list := func(n int) (labels []string) {
		for range n {
			labels = append(labels, wide(64))
		}
		return labels
	}
	data := map[string]any{"x": strings.Repeat("x", maxData-8)}
	for name, record := range map[string]func(c *Client) error{
		"session": func(c *Client) error {
			return c.OpenSession(bg, Session{ID: wide(64), UserID: wide(64), AssistantID: wide(64), Title: wide(256), Source: wide(64), Labels: list(20), Data: data})
		},
		"user": func(c *Client) error {
			return c.IdentifyUser(bg, User{ID: wide(64), DisplayName: wide(64), Traits: data, Company: &Company{wide(64), wide(256), wide(128)}})
		},
		"message": func(c *Client) error {
			return c.CreateMessage(bg, Message{SessionID: wide(64), Index: 1, Role: RoleTool, Content: wide(64), Intent: &Intent{Name: wide(128)},
				Generation: &Generation{Error: wide(2000), Model: wide(128), RunID: wide(64)}})
		},
		"feedback": func(c *Client) error {
			return c.CreateMessageFeedback(bg, MessageFeedback{SessionID: wide(64), Index: 1, Type: ThumbsDown, Comment: wide(2000), Reasons: list(10), UserID: wide(64)})
		},
	} {
		c, err := New(cfg)
		ok(t, err)
		if err := record(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		c.Close(within(t, time.Millisecond))
	}
}

func TestEventLargerThanTheSpoolIsRefusedAtOnce(t *testing.T) {
	for _, rule := range []Overflow{OverflowBlock, OverflowDropOldest} {
		synctest.Test(t, func(t *testing.T) {
			c := spoolClient(t, t.TempDir(), down(), func(cfg *Config) { cfg.Overflow, cfg.SpoolMaxBytes, cfg.MaxContentBytes = rule, 1<<20, 8<<10 })
			say(t, c, "s1", 1)
			calls := slices.Repeat([]ToolCall{{Name: "x", Result: strings.Repeat("x", 16384)}}, 64)
			err := c.CreateMessage(bg, Message{SessionID: "s1", Index: 2, Role: RoleAssistant, Content: "x", Generation: &Generation{ToolCalls: calls}})
			if err != ErrBufferFull || c.Stats().Pending != 1 {
				t.Errorf("rule %d: %v, %+v", rule, err, c.Stats())
			}
			giveUp(t, c)
		})
	}
}
