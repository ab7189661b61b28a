package align

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

// tokenClient returns a client that sends nothing but has keys like any other.
func tokenClient(t testing.TB, project, secret string, others ...string) *Client {
	t.Helper()
	c, err := New(Config{ProjectID: project, APIKey: "key of " + project, FeedbackSecret: secret, OtherFeedbackSecrets: others, Disabled: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(bg) })
	return c
}

func mint(t testing.TB, c *Client, session string, index int, user string, ttl time.Duration) string {
	t.Helper()
	token, err := c.FeedbackToken(session, index, user, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

const secret = "a secret of the shop's own"

func TestFeedbackTokenSaysWhatItWasMadeFor(t *testing.T) {
	long := strings.Repeat("😀", 64)
	c := tokenClient(t, "shop", "")
	longest := 0
	for _, want := range []FeedbackToken{
		{SessionID: "s1", Index: 2, UserID: "u1"}, {SessionID: "s1"}, {SessionID: "s1", Index: 1<<31 - 1, UserID: "é\n"},
		{SessionID: long, Index: 1<<31 - 1, UserID: long},
	} {
		before := time.Now()
		token := mint(t, c, want.SessionID, want.Index, want.UserID, MaxFeedbackTTL)
		longest = max(longest, len(token))
		got, err := c.VerifyFeedbackToken(token)
		if err != nil {
			t.Fatal(err)
		}
		if life := got.Expires.Sub(before); life < MaxFeedbackTTL || life > MaxFeedbackTTL+time.Minute {
			t.Errorf("good for %v", life)
		}
		if got.Expires = (time.Time{}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Errorf("%q is not fit for a URL", token)
		}
	}
	if most := base64.RawURLEncoding.EncodedLen(maxFeedbackTokenBytes); longest > most || most != 726 {
		t.Errorf("a token of %d bytes, at most %d, documented 726", longest, most)
	}
}

// A token lives for months: one that an older version gave out must still do.
func TestFeedbackTokenKeepsItsForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time starts on 2000-01-01
		const want = "AQKQo7XDAwJzMQJ1MRB0GbfPvdRveGul6ZFlUCk"
		c := tokenClient(t, "shop", secret)
		if got := mint(t, c, "s1", 2, "u1", time.Hour); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestFeedbackTokenExpiresToTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := tokenClient(t, "shop", secret)
		for _, start := range []time.Duration{0, time.Nanosecond, 999 * time.Millisecond} { // of a second
			time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second + start)))
			token := mint(t, c, "s1", 1, "", 10*time.Second)
			time.Sleep(10*time.Second - time.Nanosecond)
			if _, err := c.VerifyFeedbackToken(token); err != nil {
				t.Errorf("a nanosecond before its end: %v", err)
			}
			time.Sleep(time.Second)
			if _, err := c.VerifyFeedbackToken(token); !errors.Is(err, ErrFeedbackTokenExpired) {
				t.Errorf("a second later: %v", err)
			}
		}
	})
}

func TestFeedbackTokenChecksItsArguments(t *testing.T) {
	c := tokenClient(t, "shop", secret)
	for _, test := range []struct {
		session string
		index   int
		user    string
		ttl     time.Duration
		want    string
	}{
		{"s", 0, "", time.Second, "[]"},
		{"s", 1, "u", MaxFeedbackTTL, "[]"},
		{" ", 0, "", time.Hour, "[FeedbackToken.SessionID required]"},
		{"s", -1, "", time.Hour, "[FeedbackToken.Index min 0]"},
		{"s", 1 << 31, "", time.Hour, "[FeedbackToken.Index max 2147483647]"},
		{"s", 1, strings.Repeat("u", 65), time.Hour, "[FeedbackToken.UserID max 64 code points]"},
		{"s", 1, "u\x00", time.Hour, "[FeedbackToken.UserID utf8]"},
		{"s", 1, "", time.Second - 1, "[FeedbackToken.TTL min 1s]"},
		{"s", 1, "", 0, "[FeedbackToken.TTL min 1s]"},
		{"", 1, "", MaxFeedbackTTL + 1, "[FeedbackToken.SessionID required FeedbackToken.TTL max 2160h0m0s]"},
	} {
		token, err := c.FeedbackToken(test.session, test.index, test.user, test.ttl)
		if got := fmt.Sprint(problems(t, err)); got != test.want || (token == "") != (err != nil) {
			t.Errorf("%+v: %s, token %q", test, got, token)
		}
	}
}

func TestFeedbackTokenOfAClosedClientIsErrClosed(t *testing.T) {
	c := tokenClient(t, "shop", secret)
	token := mint(t, c, "s1", 1, "", time.Hour)
	c.Close(bg)
	for _, c := range []*Client{c, {}, nil} {
		_, mintErr := c.FeedbackToken("s1", 1, "", time.Hour)
		_, verifyErr := c.VerifyFeedbackToken(token)
		if !errors.Is(mintErr, ErrClosed) || !errors.Is(verifyErr, ErrClosed) {
			t.Error(mintErr, verifyErr)
		}
	}
}

func TestFeedbackSecretsRotateByOverlap(t *testing.T) {
	const first, second = "the first secret of all", "the second secret of all"
	clients := map[string]*Client{
		"key":           tokenClient(t, "shop", ""),
		"first":         tokenClient(t, "shop", first),
		"first, second": tokenClient(t, "shop", first, second),
		"second, first": tokenClient(t, "shop", second, first),
		"second":        tokenClient(t, "shop", second),
		"second, key":   tokenClient(t, "shop", second, "key of shop"),
		"first, other":  tokenClient(t, "other", first),
	}
	for name, accepted := range map[string]string{
		"key":           "key; second, key",
		"first":         "first; first, second; second, first",
		"first, second": "first; first, second; second, first",
		"second":        "first, second; second; second, first; second, key",
		"first, other":  "first, other",
	} {
		token := mint(t, clients[name], "s1", 1, "", time.Hour)
		for by, c := range clients {
			_, err := c.VerifyFeedbackToken(token)
			if want := strings.Contains("; "+accepted+"; ", "; "+by+"; "); (err == nil) != want {
				t.Errorf("a token signed with %s, verified with %s: %v", name, by, err)
			}
		}
	}
}

func TestFeedbackSecretsMustBeLong(t *testing.T) {
	cfg := Config{ProjectID: "p", APIKey: "k", FeedbackSecret: "fifteen bytes..", OtherFeedbackSecrets: []string{"sixteen bytes...", ""}}.withDefaults()
	if got := fmt.Sprint(problems(t, cfg.validate())); got != "[Config.FeedbackSecret min 16 bytes Config.OtherFeedbackSecrets[1] min 16 bytes]" {
		t.Error(got)
	}
}

func TestDisabledClientWithoutSecretBelievesItselfAlone(t *testing.T) {
	t.Setenv("ALIGNAI_API_KEY", "")
	a, err := New(Config{Disabled: true})
	b, err2 := New(Config{Disabled: true})
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	token := mint(t, a, "s1", 1, "", time.Hour)
	if _, err := a.VerifyFeedbackToken(token); err != nil {
		t.Error(err)
	}
	if _, err := b.VerifyFeedbackToken(token); !errors.Is(err, ErrFeedbackToken) {
		t.Error(err)
	}
}

// Ten thousand of each kind, of tokens that vary in everything.
func TestNoFeedbackTokenIsAcceptedThatWasNotGivenOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 10_000
		random := rand.New(rand.NewPCG(6, 0))
		word := func() string {
			b := make([]byte, 1+random.IntN(20))
			for i := range b {
				b[i] = "abcdefghijklmnopqrstuvwxyz-0123456789"[random.IntN(37)]
			}
			return string(b)
		}
		c := tokenClient(t, "shop", secret)
		others := []*Client{
			tokenClient(t, "shop2", secret), tokenClient(t, "Shop", secret), tokenClient(t, "", secret),
			tokenClient(t, "shop", secret+" "), tokenClient(t, "shop", "another secret of the shop's"), tokenClient(t, "shop", ""),
		}
		fresh := func(by *Client) string {
			return mint(t, by, word(), random.IntN(50), word(), time.Duration(1+random.IntN(1000))*time.Second)
		}
		decoded := func(token string) []byte {
			b, err := base64.RawURLEncoding.DecodeString(token)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		encoded := base64.RawURLEncoding.EncodeToString
		kinds := map[string]func() string{
			"forged with another project or secret": func() string { return fresh(others[random.IntN(len(others))]) },
			"random bytes": func() string {
				b := make([]byte, random.IntN(100))
				for i := range b {
					b[i] = byte(random.Uint32())
				}
				return encoded(b)
			},
			"a random signature": func() string {
				b := decoded(fresh(c))
				binary.LittleEndian.PutUint64(b[len(b)-16:], random.Uint64())
				return encoded(b)
			},
			"truncated": func() string {
				token := fresh(c)
				return token[:random.IntN(len(token))]
			},
			"one bit flipped": func() string {
				b := decoded(fresh(c))
				bit := random.IntN(8 * len(b))
				b[bit/8] ^= 1 << (bit % 8)
				return encoded(b)
			},
			"one character changed": func() string {
				token := []byte(fresh(c))
				at := random.IntN(len(token))
				for old := token[at]; token[at] == old; {
					token[at] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[random.IntN(64)]
				}
				return string(token)
			},
			"the signature of another target, voter or time": func() string {
				a, b := decoded(fresh(c)), decoded(fresh(c))
				return encoded(append(a[:len(a)-16:len(a)-16], b[len(b)-16:]...))
			},
			"the same with something beside it": func() string {
				token := fresh(c)
				at := random.IntN(len(token) + 1)
				extra := []string{"\n", "\r", "=", " ", ".", "A", "AA", "AAAA", "\x00", "%"}[random.IntN(10)]
				return token[:at] + extra + token[at:]
			},
			"in standard base64": func() string {
				for {
					if token := base64.StdEncoding.EncodeToString(decoded(fresh(c))); strings.ContainsAny(token, "+/=") {
						return token
					}
				}
			},
			"of an older version": func() string {
				b := decoded(fresh(c))
				b[0]--
				return encoded(b)
			},
		}
		for kind, make := range kinds {
			for range n {
				if token := make(); accepts(c, token, ErrFeedbackToken) {
					t.Fatalf("%s: %q is accepted", kind, token)
				}
			}
		}
		var expired []string
		for range n {
			expired = append(expired, fresh(c))
		}
		time.Sleep(1001 * time.Second)
		for _, token := range expired {
			if accepts(c, token, ErrFeedbackTokenExpired) {
				t.Fatalf("%q is accepted, expired", token)
			}
		}
	})
}

// accepts reports whether the answer is any but want.
func accepts(c *Client, token string, want error) bool {
	got, err := c.VerifyFeedbackToken(token)
	return !errors.Is(err, want) || got != FeedbackToken{}
}

// FuzzFeedbackToken: what is not given out is never taken, whatever it is made of; what is given out is taken, and says
// what it was made for.
func FuzzFeedbackToken(f *testing.F) {
	c := tokenClient(f, "shop", secret)
	f.Add("", "s1", "u1", 2, int64(time.Hour))
	f.Add(mint(f, c, "s1", 2, "u1", time.Hour), "s", "", 0, int64(MaxFeedbackTTL))
	f.Add(mint(f, tokenClient(f, "other", secret), "s1", 2, "u1", time.Hour), strings.Repeat("é", 64), "\n", 1<<31-1, int64(1))
	f.Add(strings.Repeat("A", 726), " ", "\x00", -1, int64(-1))
	f.Add("AYCAgICAgICAgIABgICAgICAgICAgAECczECdTE", "s\x00", "\xff", 1, int64(time.Second))
	f.Fuzz(func(t *testing.T, token, session, user string, index int, ttl int64) {
		good, err := c.FeedbackToken(session, index, user, time.Duration(ttl))
		valid := isID(session) && (user == "" || isID(user)) && index >= 0 && index < 1<<31 &&
			ttl >= int64(time.Second) && ttl <= int64(MaxFeedbackTTL)
		if valid != (err == nil) {
			t.Fatalf("valid %v, error %v", valid, err)
		}
		if err == nil {
			if got, err := c.VerifyFeedbackToken(good); err != nil || got.SessionID != session || got.Index != index || got.UserID != user {
				t.Fatalf("given out for %q %d %q: %+v, %v", session, index, user, got, err)
			}
		}
		got, err := c.VerifyFeedbackToken(token)
		if err != nil {
			return
		}
		// Only what the client would give out itself is taken, so the fuzzer has been handed it as a seed.
		if string(got.sign(c.feedback.keys[0])) != token || !utf8.ValidString(got.SessionID) {
			t.Fatalf("%q is accepted as %+v", token, got)
		}
	})
}

func BenchmarkVerifyFeedbackToken(b *testing.B) {
	c := tokenClient(b, "shop", secret)
	token := mint(b, c, "s1", 2, "u1", time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.VerifyFeedbackToken(token); err != nil {
			b.Fatal(err)
		}
	}
}
