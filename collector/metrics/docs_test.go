package metrics

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/openalign/align/collector/store/sqlite"
)

var updateDocs = flag.Bool("update-docs", false, "write docs/metrics.md")

func TestDocumentIsWhatTheDefinitionsSay(t *testing.T) {
	const file = "../../docs/metrics.md"
	if *updateDocs {
		if err := os.WriteFile(file, []byte(Document()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != Document() {
		t.Error("docs/metrics.md is not current: go test ./collector/metrics -run Document -update-docs")
	}
}

// docs/sql.md names every view and every column there is.
func TestTheManualOfSQLNamesEveryColumn(t *testing.T) {
	text, err := os.ReadFile("../../docs/sql.md")
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/align.db"
	s, err := sqlite.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, v := range sqlite.Views {
		if !strings.Contains(string(text), "`"+v.Name+"`") {
			t.Errorf("docs/sql.md does not name the view %s", v.Name)
		}
		named := 0
		_, err := sqlite.QueryViews(t.Context(), file, "SELECT v.* FROM (SELECT 1) LEFT JOIN "+v.Name+" v", sqlite.QueryLimits{}, nil, func(columns []string, _ []any) error {
			for _, name := range columns {
				named++
				if !strings.Contains(string(text), "`"+name+"`") {
					t.Errorf("docs/sql.md does not name %s of %s", name, v.Name)
				}
			}
			return nil
		})
		if named == 0 {
			t.Errorf("no columns of %s", v.Name)
		}
		if err != nil {
			t.Error(err)
		}
	}
}
