package align

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The SDK ends up in other people's programs: what it brings along is part of its promise.
func TestRootModuleRequiresFourModules(t *testing.T) {
	out := goList(t, "-m", "-f", "{{if not (or .Main .Indirect)}}{{.Path}}{{end}}", "all")
	want := []string{"github.com/go-playground/validator/v10", "github.com/google/uuid", "golang.org/x/sync", "google.golang.org/protobuf"}
	if slices.Sort(out); !slices.Equal(out, want) {
		t.Errorf("requires %v", out)
	}
}

func TestSDKLinksNoProtobufRuntime(t *testing.T) {
	for _, pkg := range goList(t, "-deps", ".") {
		if pkg == "google.golang.org/protobuf/proto" || strings.HasPrefix(pkg, "google.golang.org/protobuf/reflect/") {
			t.Errorf("links %s", pkg)
		}
	}
}

// goList runs go list on this module alone and returns the lines.
func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Env = append(cmd.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return strings.Fields(string(out))
}
