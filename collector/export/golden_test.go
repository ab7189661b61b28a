package export

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/openalign/align/collector"
)

var update = flag.Bool("update", false, "write testdata/sums.json anew")

// texts that a spreadsheet must not take for formulas, and others that are hard to write.
var hard = []string{"=1+1", "+1", "-1", "@A1", "\tx", "\rx", "\nx", "＝1", "＋1", "－1", "＠A1", `a "quoted", one`, "<b>&amp;</b>", "line\nbreak", "", "plain", "\u2028", "日本"}

func fixedLines(late bool) (lines [][]byte) {
	for i, text := range hard {
		row := LateRow{Day: "2026-03-01", Reasons: []string{ReasonFeedback}, RowOf: Row{
			BotID: text, BotName: "support", ConversationID: fmt.Sprint("s", i), PlatformConversationID: fmt.Sprint("s", i),
			ConversationStartTime: 1_770_000_000_000_001, ConversationEndTime: 1_770_000_000_999_999, Labels: []string{}, ConversationsData: noData, Language: text,
			TriggeredIntentReplies: []Intent{{Name: text, Time: 1_770_000_000_000_001}}, VisitorMessagesCount: int64(i), Episode: 1}}
		var value any = &row.RowOf
		if late {
			value = &row
		}
		text, err := line(value)
		if err != nil {
			panic(err)
		}
		lines = append(lines, bytes.TrimSuffix(text, []byte("\n")))
	}
	return lines
}

// Files are for ever: the same lines must be the same bytes, whatever version of this program or its libraries writes them.
// When this fails after a library was changed, the old one has to go on writing the files that it wrote.
func TestUL20TheSameLinesAreTheSameBytesInEveryVersion(t *testing.T) {
	sums := map[string]string{}
	for _, late := range []bool{false, true} {
		for _, format := range Formats {
			for _, compression := range []Compression{CompressionNone, CompressionGzip, CompressionZstd} {
				for _, compatible := range []bool{false, true} {
					v := Variant{Day: collector.Day(20_000), Late: late, Format: format, Compression: compression, Ultimate: compatible}
					sum := sha256.New()
					rows, err := new(Exporter).writeRows(sum, v, func(yield func([]byte) error) error {
						for _, text := range fixedLines(late) {
							if err := yield(text); err != nil {
								return err
							}
						}
						return nil
					})
					if err != nil || rows != int64(len(hard)) {
						t.Fatal(v.Name(), rows, err)
					}
					sums[v.Name()] = hex.EncodeToString(sum.Sum(nil))
				}
			}
		}
	}
	const file = "testdata/sums.json"
	if *update {
		text, err := json.MarshalIndent(sums, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]string
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	for name, sum := range sums {
		if want[name] != sum {
			t.Errorf("%s is other bytes than it was", name)
		}
	}
}

func TestNoCellOfACSVFileIsAFormula(t *testing.T) {
	var b bytes.Buffer
	_, err := new(Exporter).writeRows(&b, Variant{Format: FormatCSV}, func(yield func([]byte) error) error {
		for _, text := range fixedLines(false) {
			if err := yield(text); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range hard {
		if got := harmless(text); (got != text) != (i < 11) || i < 11 && got != "'"+text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
	for _, cell := range []string{"\n=1+1,", ",=1+1,", "\n@A1,", "\n＝1,"} {
		if strings.Contains(b.String(), cell) {
			t.Errorf("there is a cell %q", cell)
		}
	}
}

// Of no name can a different variant be read, and no two variants have one.
func FuzzParseName(f *testing.F) {
	for _, v := range files(20_000) {
		f.Add(v.Name())
	}
	f.Add("2026-03-01.starts_on.ultimate.open.csv.zst")
	f.Fuzz(func(t *testing.T, name string) {
		v, err := ParseName(name)
		if err == nil && v.Name() != name {
			t.Errorf("%q is read as %q", name, v.Name())
		}
	})
}

func TestNoTwoEpisodesHaveOneConversationID(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []string{"a", "a#", "a#1", "a#2", "a#1#1", "a#2#1", "a#2#2", "#1", "1", "", "a#x"} {
		for episode := 1; episode <= 3; episode++ {
			got, from := ConversationID(id, episode), fmt.Sprint(id, " ", episode)
			if before, ok := seen[got]; ok {
				t.Errorf("%s and %s are both %s", before, from, got)
			}
			seen[got] = from
		}
	}
}

func TestWhatIsSealedOpensNowhereElse(t *testing.T) {
	row := Row{PlatformConversationID: "s", Labels: []string{"vip"}, ConversationsData: `{"plan":"pro"}`}
	keys, err := sealRow(&row, "shop", collector.ExportKeys{})
	if err != nil || strings.Contains(fmt.Sprint(row), "vip") || strings.Contains(fmt.Sprint(row), "plan") {
		t.Fatal(row, err)
	}
	good := row
	if err := openRow(&good, "shop", keys); err != nil || good.Labels[0] != "vip" || good.ConversationsData != `{"plan":"pro"}` {
		t.Error(good, err)
	}
	for name, change := range map[string]func(r *Row) string{
		"another conversation": func(r *Row) string { r.PlatformConversationID = "other"; return "shop" },
		"another project":      func(*Row) string { return "other" },
		"another text": func(r *Row) string {
			r.Labels = []string{r.Labels[0][:len(r.Labels[0])-4] + "AAAA"}
			return "shop"
		},
	} {
		bad := row
		if err := openRow(&bad, change(&bad), keys); err == nil {
			t.Errorf("%s: it opens as %v", name, bad)
		}
	}
	gone := row
	if err := openRow(&gone, "shop", collector.ExportKeys{}); err != nil || len(gone.Labels) != 0 || gone.ConversationsData != noData {
		t.Error(gone, err)
	}
}
