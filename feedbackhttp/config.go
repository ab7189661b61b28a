package feedbackhttp

import (
	"cmp"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/openalign/align"
)

// MaxBodyBytes is the most that a request may carry.
const MaxBodyBytes = 4 << 10

// Config is how a [Handler] is set up. The zero Config takes tokens from pages of the same origin.
type Config struct {
	// AllowedOrigins lists the other origins whose pages may post here, such as "https://chat.example.com": scheme and
	// host, and a port where it is not the scheme's own. There is no wildcard. Default none.
	AllowedOrigins []string

	// Voter says who is behind a request without token, usually by its cookie, and whether that user may vote on the session,
	// which is whatever the request says. An empty user is answered 401, ok false 403. The user has at most 64 Unicode code
	// points. Nil means that every request needs a token.
	Voter func(r *http.Request, session string) (user string, ok bool)

	// PerToken limits the votes of one voter on one target: tokens for the same are one. Default 10 at once, then one every
	// 6 s.
	PerToken Rate
	// PerAddress limits the requests of one address, good or bad. Default 60 at once, then one every second.
	PerAddress Rate
	// Address says where a request comes from. Behind a proxy of your own it returns the address that the proxy has seen;
	// a header that clients can set themselves is no limit at all. IPv6 addresses are limited by their first 64 bits,
	// what is no address as the text it is. Default the host of Request.RemoteAddr.
	Address func(*http.Request) string
}

// Rate limits how often something may happen. The zero Rate means the default.
type Rate struct {
	// Burst is how often at once, at most 10,000. Negative: no limit.
	Burst int
	// Every is how long it takes to earn one more, at most a day.
	Every time.Duration
}

func (c Config) withDefaults() Config {
	c.PerToken = cmp.Or(c.PerToken, Rate{Burst: 10, Every: 6 * time.Second})
	c.PerAddress = cmp.Or(c.PerAddress, Rate{Burst: 60, Every: time.Second})
	if c.Address == nil {
		c.Address = remoteHost
	}
	return c
}

// validate returns every problem of a config with its defaults applied, as [*align.FieldError], joined.
func (c *Config) validate() error {
	var problems []error
	problem := func(field, rule, limit string) {
		problems = append(problems, &align.FieldError{Field: "feedbackhttp.Config." + field, Rule: rule, Limit: limit})
	}
	for _, origin := range c.AllowedOrigins {
		if !isOrigin(origin) {
			problem("AllowedOrigins", "setting", "origins as browsers send them, such as https://chat.example.com")
			break
		}
	}
	for _, r := range []struct {
		field string
		rate  Rate
	}{{"PerToken", c.PerToken}, {"PerAddress", c.PerAddress}} {
		if r.rate.Burst == 0 {
			problem(r.field+".Burst", "min", "1, or negative for no limit")
		}
		if r.rate.Burst > 0 && (r.rate.Every <= 0 || r.rate.Every > 24*time.Hour) {
			problem(r.field+".Every", "setting", "above 0 and at most 24h")
		}
		if r.rate.Burst > maxBurst {
			problem(r.field+".Burst", "max", strconv.Itoa(maxBurst))
		}
	}
	return errors.Join(problems...)
}

// maxBurst keeps the time that a burst takes to be earned, at most a day each, within a time.Duration's reach.
const maxBurst = 10_000

// isOrigin reports whether s is an origin in the one spelling that browsers send.
func isOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" &&
		s == u.Scheme+"://"+u.Host && s == strings.ToLower(s) && !strings.HasSuffix(s, ":") &&
		!(u.Scheme == "https" && u.Port() == "443") && !(u.Scheme == "http" && u.Port() == "80") && !strings.Contains(s, "*")
}

func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
