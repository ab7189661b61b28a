package agents

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// What an agent gets where its configuration does not say.
const (
	DefaultTimeout         = time.Minute
	DefaultHistoryMessages = 100
	DefaultHistoryBytes    = 128 << 10
	DefaultMaxAnswerBytes  = 128 << 10
)

// Limits of a configuration.
const (
	MaxTimeout         = 15 * time.Minute
	MaxHistoryMessages = 10_000
	MaxHistoryBytes    = 8 << 20
	MaxMaxAnswerBytes  = 4 << 20
	maxPromptBytes     = 256 << 10
	maxFileBytes       = 1 << 20
)

// Config is a configuration file, in TOML. The zero value has the built-in agent echo and no other.
//
//	disable_echo = false              # true: echo is not there
//
//	[agents.support]                  # what chats call it: letters, digits, ".", "_" and "-"
//	base_url = "http://127.0.0.1:11434/v1"
//	model = "llama3.2"
//	version = "240228"                # answers are recorded as of support-240228
//	aliases = ["support-latest"]      # other names for it
//	system_prompt = "You are …"       # or system_prompt_file, looked for beside this file
//	api_key_env = "SUPPORT_KEY"       # the variable that holds the key; keys do not stand in files
//	timeout = "60s"                   # for a whole answer, to 15m
//	stream = true                     # false: the endpoint cannot stream
//	history_messages = 100            # of what was said before, so much is sent: the newest, to 10000
//	history_bytes = 131072            # to 8388608
//	max_answer_bytes = 131072         # a longer answer is a failure; to 4194304
//	insecure = false                  # true: plain http to another machine, where anybody between can read along
type Config struct {
	DisableEcho bool                   `toml:"disable_echo"`
	Agents      map[string]AgentConfig `toml:"agents"`
}

// AgentConfig is one agent of a [Config], whose comment says what is what. Zero means the default.
type AgentConfig struct {
	BaseURL          string   `toml:"base_url"`
	Model            string   `toml:"model"`
	Version          string   `toml:"version"`
	Aliases          []string `toml:"aliases"`
	SystemPrompt     string   `toml:"system_prompt"`
	SystemPromptFile string   `toml:"system_prompt_file"`
	APIKeyEnv        string   `toml:"api_key_env"`
	Timeout          string   `toml:"timeout"`
	Stream           *bool    `toml:"stream"`
	HistoryMessages  int      `toml:"history_messages"`
	HistoryBytes     int      `toml:"history_bytes"`
	MaxAnswerBytes   int      `toml:"max_answer_bytes"`
	Insecure         bool     `toml:"insecure"`
}

// Load makes the agents that a configuration file names. Every key that is not known and every bad value is in the error,
// with its name and not its value.
func Load(file string) (*Set, error) {
	text, err := readFile(file, maxFileBytes)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	var config Config
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&config); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", file, plainly(err))
	}
	set, err := New(config, filepath.Dir(file))
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", file, err)
	}
	return set, nil
}

// plainly turns what the decoder says into lines that name keys and places; its own quote what stands there.
func plainly(err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) {
		var all []error
		for i := range unknown.Errors {
			key := strings.Join(unknown.Errors[i].Key(), ".")
			hint := ""
			if strings.HasSuffix(key, ".api_key") {
				hint = ": keys do not stand in files; name a variable in api_key_env"
			}
			row, _ := unknown.Errors[i].Position()
			all = append(all, fmt.Errorf("line %d: unknown key %s%s", row, key, hint))
		}
		return errors.Join(all...)
	}
	var wrong *toml.DecodeError
	if errors.As(err, &wrong) {
		row, column := wrong.Position()
		if key := strings.Join(wrong.Key(), "."); key != "" {
			return fmt.Errorf("line %d: %s has a value of the wrong type", row, key)
		}
		return fmt.Errorf("line %d, column %d: this is no TOML", row, column)
	}
	return errors.New("this cannot be read as TOML")
}

// readFile reads a file that is not too large.
func readFile(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("%s is larger than %d bytes", name, most)
	}
	return text, err
}

// New makes the agents of a configuration. Files it names are looked for in dir.
func New(config Config, dir string) (*Set, error) {
	set := &Set{}
	if !config.DisableEcho {
		set.add(EchoName, newEcho())
	}
	var all []error
	for _, name := range slices.Sorted(maps.Keys(config.Agents)) {
		c := config.Agents[name]
		m := maker{name: name, config: &c, dir: dir}
		agent := m.agent()
		for _, called := range append([]string{name}, c.Aliases...) {
			if _, taken := set.named[called]; taken {
				m.wrong("aliases", "%q names an agent already", called)
			}
			set.add(called, agent)
		}
		all = append(all, m.problems...)
	}
	if err := errors.Join(all...); err != nil {
		return nil, err
	}
	return set, nil
}

// maker makes one agent and collects all that is wrong with its configuration.
type maker struct {
	name     string
	config   *AgentConfig
	dir      string
	problems []error
}

func (m *maker) wrong(key, format string, args ...any) {
	m.problems = append(m.problems, fmt.Errorf("agents.%s.%s: %s", m.name, key, fmt.Sprintf(format, args...)))
}

// names are what agents can be called.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// maxLabel is how long a label can be, as ids are.
const maxLabel = 64

func (m *maker) agent() *Agent {
	c := m.config
	label := m.name
	if c.Version != "" {
		label += "-" + c.Version
	}
	for i, called := range append([]string{m.name}, c.Aliases...) {
		if !names.MatchString(called) {
			m.wrong([]string{"name", "aliases"}[min(i, 1)], "names have 1 to 64 letters, digits, \".\", \"_\" and \"-\", and begin with one of the first two")
		}
	}
	if len(label) > maxLabel || !names.MatchString(label) {
		m.wrong("version", "with the name and a hyphen before it, it is no name of at most %d characters", maxLabel)
	}
	if c.Model == "" {
		m.wrong("model", "is missing")
	}
	a := &Agent{name: m.name, label: label, timeout: m.timeout()}
	a.history.Messages = m.number("history_messages", c.HistoryMessages, DefaultHistoryMessages, MaxHistoryMessages)
	a.history.Bytes = m.number("history_bytes", c.HistoryBytes, DefaultHistoryBytes, MaxHistoryBytes)
	maxBytes := m.number("max_answer_bytes", c.MaxAnswerBytes, DefaultMaxAnswerBytes, MaxMaxAnswerBytes)
	backend := newCompletions(m.url(), m.key())
	backend.model, backend.system, backend.maxBytes = c.Model, m.prompt(), maxBytes
	backend.stream = c.Stream == nil || *c.Stream
	a.backend = backend
	return a
}

func (m *maker) number(key string, value, standard, most int) int {
	if value < 0 || value > most {
		m.wrong(key, "must be 1 to %d, or 0 for %d", most, standard)
	}
	return cmp.Or(value, standard)
}

func (m *maker) timeout() time.Duration {
	if m.config.Timeout == "" {
		return DefaultTimeout
	}
	timeout, err := time.ParseDuration(m.config.Timeout)
	if err != nil || timeout <= 0 || timeout > MaxTimeout {
		m.wrong("timeout", "must be a time such as \"60s\", and %v at most", MaxTimeout)
	}
	return timeout
}

// url checks that what is said goes where nobody reads along, unless that is wanted.
func (m *maker) url() string {
	const key = "base_url"
	u, err := url.Parse(m.config.BaseURL)
	switch {
	case m.config.BaseURL == "":
		m.wrong(key, "is missing")
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		m.wrong(key, "must be an http or https URL")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		m.wrong(key, "must have no user, query or fragment")
	case u.Scheme == "http" && !loopback(u.Hostname()) && !m.config.Insecure:
		m.wrong(key, "plain http to another machine lets others read what is said: use https, or set insecure = true")
	}
	return m.config.BaseURL
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (m *maker) key() string {
	if m.config.APIKeyEnv == "" {
		return ""
	}
	key := os.Getenv(m.config.APIKeyEnv)
	switch {
	case key == "":
		m.wrong("api_key_env", "the environment has no variable of that name, or it is empty")
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		m.wrong("api_key_env", "the variable of that name holds characters that no key has")
	}
	return key
}

func (m *maker) prompt() string {
	c := m.config
	if c.SystemPromptFile == "" {
		if len(c.SystemPrompt) > maxPromptBytes {
			m.wrong("system_prompt", "is larger than %d bytes", maxPromptBytes)
		}
		return c.SystemPrompt
	}
	if c.SystemPrompt != "" {
		m.wrong("system_prompt_file", "there is a system_prompt as well")
	}
	file := c.SystemPromptFile
	if !filepath.IsAbs(file) {
		file = filepath.Join(m.dir, file)
	}
	text, err := readFile(file, maxPromptBytes)
	if err != nil {
		m.wrong("system_prompt_file", "%v", err)
	}
	return string(text)
}
