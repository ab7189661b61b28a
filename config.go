package align

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Defaults of [Config].
const (
	DefaultHost            = "http://127.0.0.1:7311"
	DefaultFlushInterval   = 3 * time.Second
	DefaultBatchEvents     = 500
	DefaultBatchBytes      = 512 << 10
	DefaultBufferEvents    = 100_000
	DefaultBufferBytes     = 24 << 20
	DefaultSenders         = 1
	DefaultAttemptTimeout  = 10 * time.Second
	DefaultCloseTimeout    = 5 * time.Second
	DefaultIdleTimeout     = 30 * time.Minute
	DefaultMaxContentBytes = 1 << 20
	DefaultSpoolMaxBytes   = 1 << 30
	DefaultSpoolSync       = time.Second
)

// Values of [Config.SpoolSync] that are no interval.
const (
	// SyncAlways makes a recording call return when its event is on the disk. Calls that wait share one sync.
	SyncAlways time.Duration = -1
	// SyncNever leaves it to the system when the disk gets what was written.
	SyncNever time.Duration = -2
)

// Config is how a client is set up. ProjectID and APIKey are required; every other zero field means its default.
// A Config never prints its key and secrets.
type Config struct {
	// ProjectID says which project events belong to. Falls back to ALIGNAI_PROJECT_ID.
	ProjectID string
	// APIKey is a key with the ingest scope. Falls back to ALIGNAI_API_KEY.
	APIKey string
	// Host is the collector's base URL. Falls back to ALIGNAI_HOST, then to DefaultHost: a collector on this machine.
	// Plain http is for loopback addresses; elsewhere it needs Insecure.
	Host string
	// Acro makes the client deliver to an Acro-compatible endpoint at Host, which then has no default; ProjectID defaults
	// to its ApplicationID, and goes nowhere. Not with SpoolDir or Strict.
	Acro AcroConfig
	// Insecure allows plain http to another machine: keys and conversations then cross the network readable.
	Insecure bool
	// Disabled makes a client that accepts everything and sends nothing. It needs no other setting.
	Disabled bool

	// FlushInterval is how long an event waits for its batch to fill. Default 3 s.
	FlushInterval time.Duration
	// BatchEvents and BatchBytes are when a batch is full, and the most a request carries. Defaults 500 and 512 KiB.
	BatchEvents, BatchBytes int
	// BufferEvents and BufferBytes bound what is held in memory, waiting and in flight. Defaults 100,000 and 24 MiB. What
	// is in the spool does not count. BufferBytes holds the largest event that the other limits allow, tool calls aside: a
	// message with 64 of them may have 8 MiB, and where that never fits it is an ErrBufferFull.
	BufferEvents, BufferBytes int
	// Overflow says what happens when they are used up. Default OverflowReject.
	Overflow Overflow
	// Senders is how many requests may be under way at once. Each sender serves its share of the sessions, so the events
	// of one session always leave in order. Default 1, at most 64.
	Senders int
	// Compression says whether requests are compressed. Default CompressionAuto.
	Compression Compression
	// AttemptTimeout bounds one request. Default 10 s.
	AttemptTimeout time.Duration
	// CloseTimeout bounds [Client.Flush] and [Client.Close] when their context has no deadline. Default 5 s.
	CloseTimeout time.Duration
	// IdleTimeout is how long a session may be without opening or message before the client closes it, and an interaction
	// without a sign of life before it is recorded as incomplete. Default 30 min; negative: never.
	IdleTimeout time.Duration
	// CloseSessionsOnShutdown makes Close close the sessions that are still open, with the reason shutdown. With a negative
	// IdleTimeout each that nobody closes is remembered until then, in about 100 bytes.
	CloseSessionsOnShutdown bool

	// SpoolDir is a directory, made when missing, in which events wait for delivery: a recording call that returned has its
	// event there, and if the process dies the next client with the same directory delivers it. One client at a time may
	// have it. Empty: events wait in memory.
	SpoolDir string
	// SpoolMaxBytes bounds the files in there; what does not fit meets Overflow. Default 1 GiB.
	SpoolMaxBytes int64
	// SpoolSync is how often what was written is made safe against the loss of power, too. Default 1 s; see SyncAlways and
	// SyncNever. The death of the process alone loses nothing whatever this says.
	SpoolSync time.Duration

	// MaxContentBytes is the length in bytes beyond which message content is cut, visibly. Default 1 MiB, at least 256.
	MaxContentBytes int
	// Limits are the limits that differ from project to project.
	Limits Limits

	// Strict is for collectors that are not ours: only the base schema is sent, and a call that says what that has no word
	// for returns a *FieldError with the rule "strict". Idle closes then carry neither reason nor end. Not with NoContent,
	// which needs a field of ours.
	Strict bool

	// NoContent keeps every word of a conversation in this process: of a message's text only the length is sent, of its
	// generation neither error nor arguments and results of tools, of feedback only the vote and its score, of sessions no
	// title. What the app says in words of its own is sent: properties, data, traits, labels, names of intents and tools.
	NoContent bool
	// Redact masks kinds of personal data in message content, errors, arguments and results of tools, comments, reasons,
	// session titles, property values, and every text in the data of sessions and the traits of users, keys aside: also what
	// a [Transcript] says of a customer's phone, and its URLs. The fields of a [User] and ids are sent as they are.
	Redact Redaction
	// BeforeSend sees every event after Redact and before NoContent, in the goroutine that records it. It may change the
	// event, and drops it by returning false. Idle closes come in a goroutine of the client's. If it panics the event is
	// dropped, too: what it should have removed may still be in there. What it leaves must keep the limits, or the recording
	// call returns a *FieldError. It must neither record through a [SessionHandle] or an [Interaction] of the session whose
	// event it sees, nor close the client: that would wait for itself. Sessions are watched for going quiet under the id
	// that the app gave; their idle closes come to the hook with that.
	BeforeSend func(*Event) bool

	// FeedbackSecret signs feedback tokens ([Client.FeedbackToken]): at least 16 bytes, the same in every process that
	// takes them. Empty means a key derived from APIKey; tokens then end with that key.
	FeedbackSecret string
	// OtherFeedbackSecrets verify feedback tokens and sign none: the last secret while its tokens live, or the next one
	// until every process has it. At least 16 bytes each. To part from an APIKey that signed, put it here.
	OtherFeedbackSecrets []string

	// OnDrop is told of every event that was accepted and will not be delivered. It is called from several goroutines,
	// must return quickly, and must not call the client.
	OnDrop func(Drop)
	// Logger gets one line for each distinct cause of trouble, never content or keys. Default slog.Default().
	Logger *slog.Logger
	// HTTPClient makes the requests. Its redirect policy is not used: redirects are not followed. Default a client of
	// the SDK's own, with http.DefaultTransport's settings.
	HTTPClient *http.Client
}

// Compression says whether requests are compressed. It costs the app's processor to spare the network.
type Compression int

const (
	// CompressionAuto compresses with gzip, but for hosts on this machine.
	CompressionAuto Compression = iota
	// CompressionNone never compresses.
	CompressionNone
	// CompressionGzip always compresses with gzip, at its fastest level.
	CompressionGzip
)

func (c *Config) compress() bool {
	if c.Compression == CompressionAuto && c.isAcro() {
		return false // nobody says that it can be read there
	}
	if c.Compression == CompressionAuto {
		u, err := url.Parse(c.Host)
		return err == nil && !isLoopback(u.Hostname())
	}
	return c.Compression == CompressionGzip
}

// minFeedbackSecret keeps secrets from being guessed from the tokens they sign.
const (
	minFeedbackSecret     = 16
	minFeedbackSecretText = "16 bytes"
)

// withDefaults returns the config with every zero field filled in.
func (c Config) withDefaults() Config {
	c.ProjectID = cmp.Or(c.ProjectID, os.Getenv("ALIGNAI_PROJECT_ID"), c.Acro.ApplicationID)
	c.APIKey = cmp.Or(c.APIKey, os.Getenv("ALIGNAI_API_KEY"))
	c.Host = cmp.Or(c.Host, os.Getenv("ALIGNAI_HOST"))
	if !c.isAcro() {
		c.Host = cmp.Or(c.Host, DefaultHost)
	}
	c.Host = strings.TrimRight(c.Host, "/")
	c.FlushInterval = cmp.Or(c.FlushInterval, DefaultFlushInterval)
	c.BatchEvents = cmp.Or(c.BatchEvents, DefaultBatchEvents)
	c.BatchBytes = cmp.Or(c.BatchBytes, DefaultBatchBytes)
	c.BufferEvents = cmp.Or(c.BufferEvents, DefaultBufferEvents)
	c.BufferBytes = cmp.Or(c.BufferBytes, DefaultBufferBytes)
	c.Senders = cmp.Or(c.Senders, DefaultSenders)
	c.AttemptTimeout = cmp.Or(c.AttemptTimeout, DefaultAttemptTimeout)
	c.CloseTimeout = cmp.Or(c.CloseTimeout, DefaultCloseTimeout)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, DefaultIdleTimeout)
	c.SpoolMaxBytes = cmp.Or(c.SpoolMaxBytes, DefaultSpoolMaxBytes)
	c.SpoolSync = cmp.Or(c.SpoolSync, DefaultSpoolSync)
	c.MaxContentBytes = cmp.Or(c.MaxContentBytes, DefaultMaxContentBytes)
	c.Limits.Properties = cmp.Or(c.Limits.Properties, DefaultLimitProperties)
	c.Limits.PropertyValue = cmp.Or(c.Limits.PropertyValue, DefaultLimitPropertyValue)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	return c
}

// validate returns every problem of a config with its defaults applied, as *[FieldError], joined.
func (c *Config) validate() error {
	var problems []error
	problem := func(field, rule, limit string) {
		problems = append(problems, &FieldError{"Config." + field, rule, limit})
	}
	if strings.TrimSpace(c.ProjectID) == "" {
		problem("ProjectID", "required", "")
	} else if !isText(c.ProjectID) {
		problem("ProjectID", "utf8", "")
	}
	if strings.TrimSpace(c.APIKey) == "" {
		problem("APIKey", "required", "")
	} else if strings.ContainsFunc(c.APIKey, func(r rune) bool { return r <= ' ' || r > '~' }) {
		problem("APIKey", "setting", "printable ASCII without spaces")
	}
	if c.Strict && c.NoContent {
		problem("NoContent", "strict", "")
	}
	if c.FeedbackSecret != "" && len(c.FeedbackSecret) < minFeedbackSecret {
		problem("FeedbackSecret", "min", minFeedbackSecretText)
	}
	for i, secret := range c.OtherFeedbackSecrets {
		if len(secret) < minFeedbackSecret {
			problem(fmt.Sprintf("OtherFeedbackSecrets[%d]", i), "min", minFeedbackSecretText)
		}
	}
	if c.isAcro() {
		c.Acro.validate(c, problem)
	}
	if limit := c.hostProblem(); limit != "" {
		problem("Host", "setting", limit)
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"FlushInterval", c.FlushInterval}, {"AttemptTimeout", c.AttemptTimeout}, {"CloseTimeout", c.CloseTimeout}} {
		if d.value < 0 {
			problem(d.field, "min", "1ns, or 0 for the default")
		}
	}
	for _, n := range []struct {
		field           string
		value, min, max int
	}{
		{"BatchEvents", c.BatchEvents, 1, math.MaxInt},
		{"BatchBytes", c.BatchBytes, 1, math.MaxInt},
		{"BufferEvents", c.BufferEvents, 1, math.MaxInt},
		{"Senders", c.Senders, 1, 64},
		{"MaxContentBytes", c.MaxContentBytes, 256, 1 << 30},
		{"Limits.Properties", c.Limits.Properties, 1, 1 << 10},
		{"Limits.PropertyValue", c.Limits.PropertyValue, 1, 1 << 16},
		{"Compression", int(c.Compression), int(CompressionAuto), int(CompressionGzip)},
		{"Overflow", int(c.Overflow), int(OverflowReject), int(OverflowDropOldest)},
	} {
		if n.value < n.min {
			problem(n.field, "min", strconv.Itoa(n.min))
		} else if n.value > n.max {
			problem(n.field, "max", strconv.Itoa(n.max))
		}
	}
	if largest := c.largestEvent(); c.BufferBytes < largest {
		problem("BufferBytes", "min", fmt.Sprintf("%d, to hold one event of the largest size that the other limits allow", largest))
	}
	if c.SpoolDir != "" {
		if least := c.leastSpool(); c.SpoolMaxBytes < least {
			problem("SpoolMaxBytes", "min", fmt.Sprintf("%d, for the events of every sender and one of the largest size that the other limits allow", least))
		}
		if c.SpoolSync < SyncNever {
			problem("SpoolSync", "setting", "an interval, SyncAlways or SyncNever")
		}
	}
	return errors.Join(problems...)
}

// leastSpool is the smallest spool: a quarter of it is enough for a file that each sender has open and those around
// them, and there is room for the largest event beside them.
func (c *Config) leastSpool() int64 {
	return int64(max(4*(c.Senders+spoolExtraFiles)*minSegmentFile, 2*fileBytes(c.largestEvent())))
}

// largestEvent bounds the encoded size of one event without tool calls, which may have 8 MiB: content, properties at four
// bytes a code point, and what else an event may say, of which a session with data and labels has the most.
func (c *Config) largestEvent() int {
	const fixed = 32 << 10
	return c.MaxContentBytes + c.Limits.Properties*(4*c.Limits.PropertyValue+128) + fixed
}

// hostProblem says what the host should be, empty if it is fine.
func (c *Config) hostProblem() string {
	u, err := url.Parse(c.Host)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		return "a URL such as https://collector.example.com"
	case u.User != nil || strings.ContainsAny(c.Host, "?#"):
		return "a URL without user, query and fragment"
	case u.Port() != "" && !isPort(u.Port()):
		return "a URL with a port from 1 to 65535"
	case u.Scheme == "http" && !c.Insecure && !isLoopback(u.Hostname()):
		return "https, or loopback, or allowed by Insecure"
	}
	return ""
}

func isPort(port string) bool {
	n, err := strconv.Atoi(port)
	return err == nil && n >= 1 && n <= 65535
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// String says what matters of a config, without its key and secrets.
func (c Config) String() string {
	key := "none"
	if c.APIKey != "" {
		key = "[hidden]"
	}
	return fmt.Sprintf("align.Config{ProjectID: %q, APIKey: %s, Host: %q, Disabled: %t}", c.ProjectID, key, c.Host, c.Disabled)
}

// Format prints String whatever the verb: %#v and %d hide the key, too. In an unexported field of another struct fmt cannot
// call it, so keep a Config out of what you print.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue is what slog shows: the same as String.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText is what encoders such as JSON write: the same as String.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
