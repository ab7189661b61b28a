package agents_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openalign/align/collector/agents"
)

func load(t *testing.T, text string) (*agents.Set, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "prompt.txt"), []byte("Be kind."), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "align.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return agents.Load(file)
}

func TestConfigurationNamesAgents(t *testing.T) {
	t.Setenv("SUPPORT_KEY", "sk-support")
	set, err := load(t, `
[agents.support]
base_url = "https://llm.example/v1"
model = "m1"
version = "240228-dev"
aliases = ["support-latest"]
system_prompt_file = "prompt.txt"
api_key_env = "SUPPORT_KEY"
timeout = "2m"
history_messages = 10
history_bytes = 1000
max_answer_bytes = 2000

[agents.local]
base_url = "http://127.0.0.1:11434/v1"
model = "m2"
stream = false
`)
	if err != nil {
		t.Fatal(err)
	}
	if got := set.Names(); !slices.Equal(got, []string{"echo", "local", "support", "support-latest"}) {
		t.Errorf("names %q", got)
	}
	latest, ok := set.Find("support-latest")
	if !ok || latest.Name() != "support" || latest.Label() != "support-240228-dev" || latest.Timeout() != 2*time.Minute ||
		latest.History() != (agents.Budget{Messages: 10, Bytes: 1000}) || set.Longest() != 2*time.Minute {
		t.Errorf("%+v, %v", latest, ok)
	}
	local, ok := set.Find("local")
	if !ok || local.Label() != "local" || local.Timeout() != agents.DefaultTimeout ||
		local.History() != (agents.Budget{Messages: agents.DefaultHistoryMessages, Bytes: agents.DefaultHistoryBytes}) {
		t.Errorf("%+v, %v", local, ok)
	}
}

func TestEchoCanBeSwitchedOff(t *testing.T) {
	set, err := load(t, "disable_echo = true")
	if err != nil || len(set.Names()) != 0 {
		t.Errorf("%q, %v", set.Names(), err)
	}
}

// What is wrong is named: the key, and never its value, which may be a key in the wrong place.
func TestWrongConfigurationNamesTheKey(t *testing.T) {
	const good = "[agents.a]\nbase_url = \"https://llm.example/v1\"\nmodel = \"m\"\n"
	for text, want := range map[string]string{
		good + "api_key = \"secret\"":                                             "line 4: unknown key agents.a.api_key: keys do not stand in files",
		good + "temprature = 1":                                                   "line 4: unknown key agents.a.temprature",
		"agent = \"secret\"":                                                      "unknown key agent",
		good + "stream = \"secret\"":                                              "line 4: agents.a.stream has a value of the wrong type",
		good + "timeout = \"secret\"":                                             "agents.a.timeout: must be a time",
		good + "timeout = \"-1s\"":                                                "agents.a.timeout",
		good + "timeout = \"1h\"":                                                 "agents.a.timeout: must be a time such as \"60s\", and 15m0s at most",
		good + "history_messages = -1":                                            "agents.a.history_messages: must be 1 to 10000",
		good + "history_bytes = 99999999":                                         "agents.a.history_bytes",
		good + "max_answer_bytes = 99999999":                                      "agents.a.max_answer_bytes",
		good + "api_key_env = \"NO_SUCH_secret\"":                                 "agents.a.api_key_env: the environment has no variable of that name",
		good + "system_prompt_file = \"missing.txt\"":                             "agents.a.system_prompt_file",
		good + "system_prompt_file = \"x\"\nsystem_prompt = \"y\"":                "agents.a.system_prompt_file: there is a system_prompt as well",
		good + "aliases = [\"echo\"]":                                             "agents.a.aliases: \"echo\" names an agent already",
		good + "aliases = [\"no good\"]":                                          "agents.a.aliases",
		good + "version = \"secret of a kind\"":                                   "agents.a.version",
		"[agents.\"no good\"]\nbase_url = \"https://llm.example\"\nmodel = \"m\"": "agents.no good.name",
		"[agents.echo]\nbase_url = \"https://llm.example\"\nmodel = \"m\"":        "agents.echo.aliases",
		"[agents.a]\nmodel = \"m\"":                                               "agents.a.base_url: is missing",
		"[agents.a]\nbase_url = \"https://llm.example\"":                          "agents.a.model: is missing",
		"[agents.a]\nmodel = \"m\"\nbase_url = \"llm.example\"":                   "agents.a.base_url: must be an http or https URL",
		"[agents.a]\nmodel = \"m\"\nbase_url = \"https://u:secret@llm.example\"":  "agents.a.base_url: must have no user",
		"[agents.a]\nmodel = \"m\"\nbase_url = \"http://llm.example\"":            "agents.a.base_url: plain http to another machine",
		"[agents.a": "this is no TOML",
	} {
		_, err := load(t, text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s\n%v, want it to say %q", text, err, want)
		}
	}
	if _, err := load(t, "[agents.a]\nmodel = \"m\"\nbase_url = \"http://llm.example\"\ninsecure = true"); err != nil {
		t.Errorf("insecure: %v", err)
	}
	_, err := load(t, "[agents.a]\n[agents.b]")
	for _, want := range []string{"agents.a.base_url", "agents.a.model", "agents.b.base_url", "agents.b.model"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("not all that is wrong is named: %v lacks %s", err, want)
		}
	}
}

func TestConfigurationThatIsNotThereIsAnError(t *testing.T) {
	if _, err := agents.Load(filepath.Join(t.TempDir(), "none.toml")); err == nil {
		t.Error("no error")
	}
}

func FuzzConfiguration(f *testing.F) {
	f.Add("[agents.a]\nbase_url = \"https://llm.example/v1\"\nmodel = \"m\"\n")
	f.Add("disable_echo = true\n[agents.\"\"]\naliases = [\"x\", \"x\"]")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "system_prompt_file") {
			t.Skip("reads files")
		}
		set, err := load(t, text)
		if err != nil {
			return
		}
		for _, name := range set.Names() {
			if agent, ok := set.Find(name); !ok || agent.Timeout() <= 0 || agent.Timeout() > agents.MaxTimeout || len(agent.Label()) > 64 {
				t.Errorf("%q is %+v", name, agent)
			}
		}
	})
}
