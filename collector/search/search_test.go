package search

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/openalign/align/collector"
)

func TestTokens(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "",
		"Where is MY order?":      "where is my order",
		"don't e-mail a_b 12.5%":  "don t e mail a b 12 5",
		"ÉTÉ été e\u0301te\u0301": "ete ete ete", // composed and not
		"Straße STRASSE ẞ":        "strasse strasse ss",
		"smørrebrød Łódź Æsop ıİ": "smorrebrod lodz aesop ii",
		"ﬁne ① ㎏ ＡＢＣ１":            "fine 1 kg abc1",
		"ΣΊΣΥΦΟΣ σίσυφος":         "σισυφοσ σισυφοσ",
		"Ёлка ещё":                "елка еще",
		"東京tower2":                "東 京 tower2",
		"がガｶﾞ か\u3099":            "が ガ ガ が",
		"주문을 \u110c\u116e":        "주 문 을 주", // the second in parts
		"สวัสดี":                  "ส ว ั ส ด ี",
		"हिन्दी भाषा":             "हिन्दी भाषा",
		"שָׁלוֹם مُحَمَّد":        "שלום محمد",
		"می\u200cخواهم":           "میخواهم", // a joiner that is not there
		"soft\u00adhyphen":        "softhyphen",
		"🙂👍🏽❤️":                   "🙂 👍 ❤",
		"👩‍💻🇸🇪":                   "👩 💻 🇸 🇪",
		"a🙂b":                     "a 🙂 b",
		"½ ™":                     "1 2 tm",
		"a\x00b\xffc":             "a b c",
		"\u0301x":                 "x",
		strings.Repeat("x", 100):  strings.Repeat("x", 64),
	} {
		if got := strings.Join(tokens(text), " "); got != want {
			t.Errorf("tokens of %q are %q, want %q", text, got, want)
		}
	}
}

func TestTokensSayWhereTheyStand(t *testing.T) {
	const text = "Ça, e\u0301 東 👍🏽 ﬁ!"
	var got []string
	Tokenize(text, func(_ []byte, from, to int) bool {
		got = append(got, text[from:to])
		return len(got) < 5
	})
	if want := []string{"Ça", "e\u0301", "東", "👍", "ﬁ"}; !slices.Equal(got, want) {
		t.Errorf("they stand on %q, want %q", got, want)
	}
}

func TestQueriesMean(t *testing.T) {
	for _, test := range []struct {
		query, yes, no string // texts, by |
	}{
		{"order", "my Order!|order", "orders|reorder|"},
		{"my order", "order, my dear", "order"},
		{`"my order"`, "it is my order", "order my|my big order"},
		{`“my order” now`, "now my order", "my order"},
		{`"my ord*"`, "my orders", "my big order"},
		{`"my ord"*`, "my orders", "orders my"},
		{"ord*", "ord|orders", "order5x"[:2] + "|or"},
		{"ord**", "orders", "or"},
		{"-cancel order", "order", "order cancel|cancel"},
		{`order -"by now"`, "order now by", "order by now"},
		{"a1 OR b1 OR c1", "a1|b1|x c1", "d1"},
		{"late OR slow order", "late order|order slow", "late|order|slow"},
		{"late or slow", "late or slow", "late|late slow"},
		{"e-mail", "E-Mail|e mail", "email|mail e"},
		{"don't", "don't|Don’t", "dont"},
		{", order &", "order", "x"},
		{`x"y z"w`, "w x y z", "x z y w"},
		{"東京", "東京タワー", "京東|東 x 京"},
		{"東*", "東", "京"},
		{"👍", "👍🏽|ok👍", "👎"},
		{"#vip @ada", "ada vip", "vip"},
		{"a1 -a1", "", "a1|b1"},
	} {
		q, err := Parse(test.query)
		if err != nil {
			t.Errorf("%q: %v", test.query, err)
			continue
		}
		m := q.Matcher()
		for want, texts := range map[bool]string{true: test.yes, false: test.no} {
			for text := range strings.SplitSeq(texts, "|") {
				if got := m.Match(text); got != want && (text != "" || !want) {
					t.Errorf("%q matches %q: %v, want %v", test.query, text, got, want)
				}
			}
		}
	}
}

func TestQueriesThatAreNotUnderstood(t *testing.T) {
	for query, want := range map[string]string{
		"":                             "no word",
		" , ?!":                        "no word",
		`order "secret`:                "not closed",
		"-secret":                      "must not be there",
		`-"secret" -b`:                 "must not be there",
		"OR secret":                    "left",
		"secret OR":                    "right",
		"a OR OR b":                    "left",
		"a OR -secret":                 "cannot join",
		"-a OR secret":                 "left",
		"s*":                           "2 characters",
		strings.Repeat("secret ", 65):  "64 words",
		strings.Repeat("secret", 1000): "1024 characters",
	} {
		_, err := Parse(query)
		if !errors.Is(err, collector.ErrQuery) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.20q: %v, want ErrQuery that says %q without the text", query, err, want)
		}
	}
}

func TestExpressionsOfFTS5(t *testing.T) {
	for query, want := range map[string]string{
		"a1 b1":               `("s_a1") AND ("s_b1")`,
		`"a1 b1" OR c* -d -e`: `("s_a1 s_b1" OR "s_c2" *)`,
		`x NEAR(a, b) ^c y:z`: `("s_x") AND ("s_near s_a") AND ("s_b") AND ("s_c") AND ("s_y s_z")`,
	} {
		query = strings.ReplaceAll(query, "c*", "c2*")
		q, err := Parse(query)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(query, " -") {
			want = "(" + want + `) NOT ("s_d" OR "s_e")`
		}
		if got := q.Expression("s_"); got != want {
			t.Errorf("%q is %s, want %s", query, got, want)
		}
	}
}

func TestSnippetsAreShortAndHoldTheMarks(t *testing.T) {
	q, err := Parse("needle OR thread")
	if err != nil {
		t.Fatal(err)
	}
	m := q.Matcher()
	hay := strings.Repeat("hay straw ", 300)
	for _, test := range []struct {
		text string
		want []string // what is marked
	}{
		{"a needle", []string{"needle"}},
		{hay + "needle " + hay, []string{"needle"}},
		{hay + "needle " + hay + "needle and thread " + hay, []string{"needle", "thread"}}, // where most is
		{"Needle " + hay, []string{"Needle"}},
		{hay + "thread", []string{"thread"}},
		{strings.Repeat("字", 500) + "needle" + strings.Repeat("👩‍💻", 500), []string{"needle"}},
		{strings.Repeat("e\u0301", 500) + " needle " + strings.Repeat("e\u0301", 500), []string{"needle"}},
	} {
		if !m.Match(test.text) {
			t.Fatalf("%.40q does not match", test.text)
		}
		piece, marks := Snippet(test.text, m.Marks())
		var got []string
		for _, mark := range marks {
			got = append(got, piece[mark[0]:mark[1]])
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("marked %q in %q, want %q", got, piece, test.want)
		}
		if n := utf8.RuneCountInString(piece); n > 3*SnippetRunes || !utf8.ValidString(piece) {
			t.Errorf("%d characters: %q", n, piece)
		}
		inside := strings.TrimSuffix(strings.TrimPrefix(piece, "… "), " …")
		if !strings.Contains(test.text, inside) || strings.HasPrefix(inside, "\u0301") {
			t.Errorf("%q is no piece of the text", piece)
		}
	}
}

// FuzzParse parses any query and matches any text with it.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"order", `"my order"* -x`, "a1 OR b1", `-"x`, "OR", "👩‍💻 東京*", "\xff\"", "e\u0301*", `NEAR("a" "b")`} {
		f.Add(seed, "Where is my order? 東京 👍🏽 é")
	}
	f.Fuzz(func(t *testing.T, query, text string) {
		q, err := Parse(query)
		if err != nil {
			if !errors.Is(err, collector.ErrQuery) {
				t.Fatalf("%v is no ErrQuery", err)
			}
			return
		}
		m := q.Matcher()
		matched := m.Match(text)
		if again := q.Matcher().Match(text); again != matched {
			t.Errorf("it matches: %v, then %v", matched, again)
		}
		end := 0
		marks := m.Marks()
		for _, mark := range marks {
			if mark[0] < end || mark[0] >= mark[1] || mark[1] > len(text) {
				t.Fatalf("marks %v in %d bytes", marks, len(text))
			}
			end = mark[1]
		}
		if matched && len(marks) == 0 {
			t.Error("it matches without a mark")
		}
		long := strings.Repeat(text+" ", 1+400/(1+len(text)))
		m.Match(long)
		piece, inside := Snippet(long, m.Marks())
		for _, mark := range inside {
			if mark[0] < 0 || mark[0] >= mark[1] || mark[1] > len(piece) {
				t.Fatalf("marks %v in a piece of %d bytes", inside, len(piece))
			}
		}
	})
}

// FuzzTokens cuts any text, and cuts its tokens again, which must change nothing: what is looked for is found.
func FuzzTokens(f *testing.F) {
	for _, seed := range []string{"Where is my order?", "ÉTÉ e\u0301 ﬁ ½", "東京tower がか\u3099", "👩‍💻👍🏽🇸🇪", "\xff\x00", "\u110c\u116e\u11ab", "ǅ ŉ ẚ ﷺ"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at := 0
		var list []string
		Tokenize(text, func(token []byte, from, to int) bool {
			if from < 0 || from >= to || to > len(text) || from < at {
				t.Fatalf("a token stands at %d to %d of %d", from, to, len(text))
			}
			at = from
			if len(token) == 0 || !utf8.Valid(token) || strings.ContainsAny(string(token), " \"_*\x00") {
				t.Fatalf("token %q", token)
			}
			list = append(list, string(token))
			return true
		})
		if again := tokens(strings.Join(list, " ")); !slices.Equal(again, list) {
			t.Errorf("tokens %q, cut again %q", list, again)
		}
		if got := string(AppendIndexed(nil, "7_", text)); len(list) > 0 && got != "7_"+strings.Join(list, " 7_") {
			t.Errorf("indexed as %q", got)
		}
	})
}

func BenchmarkTokenize(b *testing.B) {
	for name, text := range map[string]string{"latin": strings.Repeat("Where is my order? I have waited for it since Monday. ", 4),
		"french": strings.Repeat("Où est ma commande ? Je l'attends depuis lundi, à côté. ", 4), "chinese": strings.Repeat("我的订单在哪里？我从星期一就开始等了。", 6)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			var buffer []byte
			for b.Loop() {
				buffer = AppendIndexed(buffer[:0], "1_", text)
			}
		})
	}
}
