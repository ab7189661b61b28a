package align

import (
	"encoding/json"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"unicode/utf8"
)

func TestRedact(t *testing.T) {
	for _, test := range []struct {
		kind     Redaction
		in, want string // want is empty where nothing may change, in any kind
	}{
		// Email
		{RedactEmail, "Write to ada@example.com.", "Write to [email]."},
		{RedactEmail, "ada@example.com, bob@example.co.uk; <eve@mail.example.org>", "[email], [email]; <[email]>"},
		{RedactEmail, "My mail is Ada.Lovelace+orders@Mail.Example.CO.UK!", "My mail is [email]!"},
		{RedactEmail, "(o'brien_99@xn--bcher-kva.example)", "([email])"},
		{RedactEmail, "mailto:ada%test@example.com?subject=hi", "mailto:[email]?subject=hi"},
		{RedactEmail, "'ada@example.com' **bob@example.com**", "'[email]' **[email]**"},
		{RedactEmail, "Meine Adresse: jörg.müller@bücher.de, danke", "Meine Adresse: [email], danke"},
		{RedactEmail, "пишите на пример@почта.рф пожалуйста", "пишите на [email] пожалуйста"},
		{RedactEmail, "请发到用户@例子.中国", "[email]"}, // no space, same script: too much rather than too little
		{RedactEmail, "メールはtaro@example.co.jpです。", "メールは[email]です。"},
		{RedactEmail, "제 메일은 minji@example.com입니다.감사합니다", "제 메일은 [email]입니다.감사합니다"},
		{RedactEmail, "ส่งไปที่somchai@example.comครับ", "ส่งไปที่[email]ครับ"},
		{RedactEmail, "x@пример.xn--p1ai y", "[email] y"},
		{RedactEmail, "ada@example.com2 bob@example.com-", "[email]2 [email]-"},
		{RedactEmail, "123-456@example.com and 10.0.0.1@example.com", "[email] and [email]"},
		{RedactEmail, "a@b.com@c.org", "[email]@c.org"},
		{RedactEmail, "https://ada:secret@example.com/", "https://ada:[email]/"},
		{RedactEmail, "@ada thanks, see you @ 5, a@b, user@localhost, x@.com, @example.com", ""},
		{RedactEmail, "npm i @scope/pkg@1.2.3 and pkg@^2.0", ""},
		{RedactEmail, "Hotel @ New Delhi is 3 stars", ""},

		// Phone
		{RedactPhone, "Their number is 408-247-8880.", "Their number is [phone]."},
		{RedactPhone, "Call (212) 415-5788 or (212)415-5789.", "Call [phone] or [phone]."},
		{RedactPhone, "Call +1 604-697-0202, +1 (604) 697-0202 or +16046970202!", "Call [phone], [phone] or [phone]!"},
		{RedactPhone, "650-940-7000 is the number, 1-800-555-3535 toll free", "[phone] is the number, [phone] toll free"},
		{RedactPhone, "408.247.8880, 408 247 8880 and 4082478880", "[phone], [phone] and [phone]"},
		{RedactPhone, "408-247-8880x123 or 408-247-8880 ext. 12", "[phone] or [phone] ext. 12"},
		{RedactPhone, "local: 555-1234", "local: [phone]"},
		{RedactPhone, "(call 408-247-8880)", "(call [phone])"},
		{RedactPhone, "(4082478880), (+14082478880)", "([phone]), ([phone])"},
		{RedactPhone, "tel:408-247-8880,408-247-8881/408-247-8882", "tel:[phone],[phone]/[phone]"},
		{RedactPhone, "Reach us:408-247-8880.Thanks", "Reach us:[phone].Thanks"},
		{RedactPhone, "on 2026-11-21 408-247-8880 at 11:30", "on 2026-11-21 [phone] at 11:30"},
		{RedactPhone, "12:30 408-247-8880 12/25 408-247-8880", "12:30 [phone] 12/25 [phone]"},
		{RedactPhone, "San Jose 95128 408-247-8880", "San Jose 95128 [phone]"},
		{RedactPhone, "408 – 247 – 8880, 408\u2011247\u20118880, 408\u00a0247\u00a08880", "[phone], [phone], [phone]"},
		{RedactPhone, "UK: 020 7946 0958, 07700 900123, +44 (0)20 7946 0958, 0044 20 7946 0958", "UK: [phone], [phone], [phone], [phone]"},
		{RedactPhone, "Appelez le 06 12 34 56 78, 01.42.60.31.25 ou le +33 1 49 52 99 70.", "Appelez le [phone], [phone] ou le [phone]."},
		{RedactPhone, "Ruf an: 089/1234567, 0171 1234567, 030 12345678, +49 89 123456-78", "Ruf an: [phone], [phone], [phone], [phone]"},
		{RedactPhone, "Llámame al 612 345 678 o al +34 612 345 678", "Llámame al [phone] o al [phone]"},
		{RedactPhone, "Me liga: (11) 91234-5678, 11 91234-5678", "Me liga: [phone], [phone]"},
		{RedactPhone, "Ring 12 34 56 78 eller 912 34 567", "Ring [phone] eller [phone]"},
		{RedactPhone, "Позвоните 8 (495) 123-45-67, 8-916-123-45-67 или +7 916 123 45 67", "Позвоните [phone], [phone] или [phone]"},
		{RedactPhone, "전화번호는 010-1234-5678입니다. 대표번호 1588-1234", "전화번호는 [phone]입니다. 대표번호 [phone]"},
		{RedactPhone, "我的电话13812345678，微信同号", "我的电话[phone]，微信同号"},
		{RedactPhone, "電話は03-1234-5678、携帯は090-1234-5678です", "電話は[phone]、携帯は[phone]です"},
		{RedactPhone, "मेरा नंबर 98765 43210 है, +91 98765 43210", "मेरा नंबर [phone] है, [phone]"},
		{RedactPhone, "טלפון: 050-1234567, ב-052-1234567", "טלפון: [phone], ב-[phone]"},
		{RedactPhone, "اتصل على 0501234567 أو +966 50 123 4567", "اتصل على [phone] أو [phone]"},
		{RedactPhone, "+254 709 716000, +61 1300 633 462, +372 512 3456, 2 8765 2000", "[phone], [phone], [phone], [phone]"},
		{RedactPhone, "Room 1204, 2026-11-21, 21/11/2026, 21.11.2026, 11-21-2026, 21 11 2026, 2026/11/21", ""},
		{RedactPhone, "2026-11-21T12:30:45, 2026-11-21 12:30:45, 20261121, 20261121123045", ""},
		{RedactPhone, "11:30 am, 12:30:45, from 0900-1730, 10.30-12.30 10.30", ""},
		{RedactPhone, "$1,234.56, $1000-2000, €1234567890, 1234567890€, ₩1,234,567,890", ""},
		{RedactPhone, "1 234 567, 12 345 678, 1.234.567,89 €, +12 345 678", ""},
		{RedactPhone, "seasons 2019-2020, 1016-1098 North Center Court, pages 1204-1215, 1000-2000 people", ""},
		{RedactPhone, "3.14159265358979, 37.774929,-122.419416, +37.774929, 1234.5678, 100 200 300, 10 20 30 40", ""},
		{RedactPhone, "version 1.2.3, Chrome 115.0.5790, build 10.15.7891", ""},
		{RedactPhone, "order ABC-2024-1234567, AB1234567890, SKU_1234567890, order #1234567890, 112-3456789-1234567", ""},
		{RedactPhone, "550e8400-e29b-41d4-a716-446655440000, 2026-11-21-001", ""},
		{RedactPhone, "ISBN 978-3-16-148410-0, 1 2 3 4 5 6 7 8 9, 1500000+2500000", ""},
		{RedactPhone, "rent $2,800 4445 stevenson, 2 baths, 377 Santana Row #1000, 95128", ""},
		{RedactPhone, "4111 1111 1111 1111 and 378282246310005 are cards", "4111 1111 1111 1111 and 378282246310005 are cards"},

		// Card
		{RedactCard, "My card is 4111 1111 1111 1111, exp 12/28.", "My card is [card], exp 12/28."},
		{RedactCard, "4111111111111111 4111-1111-1111-1111", "[card] [card]"},
		{RedactCard, "amex 3782 822463 10005, 378282246310005", "amex [card], [card]"},
		{RedactCard, "4222222222222 (13), 6304 0000 0000 0000 000 (19)", "[card] (13), [card] (19)"},
		{RedactCard, "카드번호는5555-5555-5555-4444입니다", "카드번호는[card]입니다"},
		{RedactCard, "card4111111111111111exp", "card[card]exp"},
		{RedactCard, "12 4111 1111 1111 1111", "12 [card]"},
		{RedactCard, "a4111111111111111b2, 1234-4111-1111-1111-1111-1111", ""},
		{RedactCard, "4111 1111 1111 1112, 411111111111111 14 digits", "4111 1111 1111 1112, 411111111111111 14 digits"},
		{RedactCard, "4111  1111  1111  1111", "4111  1111  1111  1111"},

		// IP
		{RedactIP, "ping 192.168.1.10, 8.8.8.8:53 and 10.0.0.0/8.", "ping [ip], [ip]:53 and [ip]/8."},
		{RedactIP, "from 1.2.3.4...", "from [ip]..."},
		{RedactIP, "10.0.0.1-10.0.0.9, http://127.0.0.1/x", "[ip]-[ip], http://[ip]/x"},
		{RedactIP, "服务器203.0.113.7挂了", "服务器[ip]挂了"},
		{RedactIP, "2001:db8::1, fe80::1%eth0. [2001:db8::1]:443, 2001:db8::/32", "[ip], [ip]. [[ip]]:443, [ip]/32"},
		{RedactIP, "2001:0db8:85a3:0000:0000:8a2e:0370:7334: unreachable", "[ip]: unreachable"},
		{RedactIP, "::ffff:192.0.2.1 and 64:ff9b::192.0.2.33", "[ip] and [ip]"},
		{RedactIP, "IPv6:fe80::1 source:2001:db8::1", "IPv6:[ip] source:[ip]"},
		{RedactIP, "1.2.3.4.5, 1.2.3, 256.1.1.1, v1.2.3.4, 1.2.3.4a", ""},
		{RedactIP, "std::vector<int>, a[1::2], a[::3], ::1, ::, Ada::B1, u8::from, f32::MAX, a::before", ""},
		{RedactIP, "12:30, 12:30:45, 00:1a:2b:3c:4d:5e, arn:aws:s3:::bucket, 12::30", ""},

		// Together
		{RedactAll, "Ada, ada@example.com, 408-247-8880, 4111 1111 1111 1111, 203.0.113.7",
			"Ada, [email], [phone], [card], [ip]"},
		{RedactAll, "[email] [phone] [card] [ip]", ""},
		{RedactAll, "", ""},
	} {
		want := test.want
		kinds := test.kind
		if want == "" {
			want, kinds = test.in, RedactAll
		}
		if got := kinds.Redact(test.in); got != want {
			t.Errorf("%v.Redact(%q)\n got %q\nwant %q", kinds, test.in, got, want)
		}
		if got := Redaction(0).Redact(test.in); got != test.in {
			t.Errorf("the zero Redaction changed %q to %q", test.in, got)
		}
	}
}

func TestRedactLooksIntoDataOfEveryKind(t *testing.T) {
	type contact struct {
		Mail string
		Age  int
	}
	type address string
	data := map[string]any{
		"list": []string{"ada@example.com"}, "map": map[string]string{"x": "ada@example.com"}, "struct": contact{"ada@example.com", 7},
		"pointer": new("ada@example.com"), "named": address("ada@example.com"), "raw": json.RawMessage(`"ada@example.com"`),
		"deep": []any{map[string]any{"x": []contact{{Mail: "ada@example.com"}}}}, "count": int64(1) << 60, "nil": []string(nil),
	}
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, func(cfg *Config) { cfg.Redact = RedactEmail })
		ok(t, c.OpenSession(bg, Session{ID: "s1", UserID: "u1", Data: data}), c.IdentifyUser(bg, User{ID: "u1", Traits: data}))
		finish(t, c)
		const want = `{"count":1152921504606846976,"deep":[{"x":[{"Age":0,"Mail":"[email]"}]}],"list":["[email]"],"map":{"x":"[email]"},` +
			`"named":"[email]","nil":null,"pointer":"[email]","raw":"[email]","struct":{"Age":7,"Mail":"[email]"}}`
		for _, e := range rec.delivered() {
			p := e.Properties
			if got := p.GetSessionProperties().GetData() + p.GetUserProperties().GetTraits(); got != want {
				t.Errorf("%s: %s", e.Type, got)
			}
		}
	})
	if l, _ := data["list"].([]string); l[0] != "ada@example.com" {
		t.Error("the caller's was changed")
	}
}

func TestRedactionString(t *testing.T) {
	for r, want := range map[Redaction]string{
		0:                        "none",
		RedactEmail | RedactIP:   "email|ip",
		RedactAll:                "email|phone|card|ip",
		RedactPhone | RedactCard: "phone|card",
	} {
		if got := r.String(); got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
}

var bareCard = regexp.MustCompile(`(?:^|[^0-9A-Za-z])([0-9]{13,19})(?:$|[^0-9A-Za-z])`)

// checkRedact checks what must hold for every text.
func checkRedact(t *testing.T, s string, r Redaction) {
	t.Helper()
	got := r.Redact(s)
	if again := r.Redact(got); again != got {
		t.Errorf("%v.Redact(%q)\n once %q\ntwice %q", r, s, got, again)
	}
	if utf8.ValidString(s) && !utf8.ValidString(got) {
		t.Errorf("%v.Redact(%q) = %q, not valid UTF-8", r, s, got)
	}
	if got != s && !strings.ContainsAny(s, "@0123456789") {
		t.Errorf("%v.Redact(%q) = %q, want no change", r, s, got)
	}
	if r&RedactCard == 0 {
		return
	}
	for _, m := range bareCard.FindAllStringSubmatch(got, -1) {
		if luhn(m[1]) {
			t.Errorf("%v.Redact(%q) = %q leaves a card", r, s, got)
		}
	}
}

// luhn is the check as its definition has it, an oracle for isCard.
func luhn(digits string) bool {
	sum := 0
	for i := range len(digits) {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 1 {
			d = d*2/10 + d*2%10
		}
		sum += d
	}
	return sum%10 == 0
}

// TestRedactPieces puts together what the scanners look for and what they look at around it: where two
// finds touch, the second pass must agree with the first.
func TestRedactPieces(t *testing.T) {
	pieces := strings.Split("4111111111111111 378282246310005 4111\u00a01111\u00a01111\u00a01111 4111-1111-1111-1111 "+
		"408-247-8880 (408)247-8880 408.247.8880 +82\u00a010-1234-5678 4082478880 555-1234 1.2.3.4 fe80::1 2001:db8::1 "+
		"::ffff:1.2.3.4 ada@example.com user@b b.co com 2026-11-21 21/11/2026 21\u00a011\u00a02026 12:30 1204 123 12 7 0 "+
		"eth0 x a é の ж @ . .. - + ( ) / : :: % $ # , _ – ' ~ [ ] \u00a0 \u00a0-\u00a0 [ip] [phone] \xff", " ")
	for i, p := range pieces { // a no-break space in the list stands for a space
		pieces[i] = strings.ReplaceAll(p, "\u00a0", " ")
	}
	schedules := 200_000
	if testing.Short() {
		schedules = 20_000
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range schedules {
		var b strings.Builder
		for range 1 + rnd.IntN(8) {
			b.WriteString(pieces[rnd.IntN(len(pieces))])
		}
		checkRedact(t, b.String(), RedactAll)
		checkRedact(t, b.String(), Redaction(1+rnd.IntN(int(RedactAll))))
		if t.Failed() {
			return
		}
	}
}

func FuzzRedact(f *testing.F) {
	for _, s := range []string{
		cleanText, dirtyText, "ada@example.com2", "4111 1111 1111 1111-4111111111111111", "fe80::1%eth0", "::ffff:1.2.3.4.5",
		"(408)247-8880x12", "+82 10-1234-5678", "21 11 2026 408-247-8880", "メールはtaro@example.jpです", "\xff1.2.3.4",
	} {
		f.Add(s, uint8(RedactAll))
	}
	f.Fuzz(func(t *testing.T, s string, kinds uint8) {
		checkRedact(t, s, Redaction(kinds)&RedactAll)
	})
}

// TestRedactIsLinear feeds what makes a scanner look back or ahead again and again.
func TestRedactIsLinear(t *testing.T) {
	const size = 1 << 18
	for _, piece := range []string{
		"@", "a", "a@", "a.", "a@a.", "1", "1 ", "11 ", "1234 ", "1.", "1-", "12-34-", "(1)", "(1", "+", ":", "1:", "a:", "::", "fe80:", "1.2.3.4:",
		"4111111111111111a", "4111 1111 ", "fe80::1%a", "408-247-8880 ", "の", "\xff", "2026-11-21-", "21 11 2026 ",
	} {
		RedactAll.Redact(strings.Repeat(piece, size/len(piece))) // quadratic time would be hours
	}
}

const (
	cleanText = "I would like to change the delivery address of my last order, please. The parcel has not left the warehouse yet, " +
		"has it? If that is no longer possible, I would rather cancel it and order it again, thanks!!"
	pricedText = "A table for 2 on 2026-11-21 at 11:30 am comes to $1,234.56 in room 1204; the flight takes 12:30:45 with version 1.2.3."
	dirtyText  = "Sure: write to ada.lovelace@example.com or call +1 408-247-8880 (office (212) 415-5788). The card 4111 1111 1111 1111 " +
		"was refused from 203.0.113.7 and from 2001:db8::1, on 2026-11-21 at 11:30."
)

func TestRedactAllocatesOnlyForFinds(t *testing.T) {
	for _, s := range []string{cleanText, pricedText, "std::vector and 1:2:3:4 a@b", "1.2.3.4.5 4111 1111 1111 1112 x"} {
		if got := testing.AllocsPerRun(100, func() { (RedactEmail | RedactCard | RedactIP).Redact(s) }); got != 0 {
			t.Errorf("Redact(%q) allocates %v times, want 0", s, got)
		}
	}
	if got := testing.AllocsPerRun(100, func() { RedactAll.Redact(pricedText) }); got != 0 {
		t.Errorf("Redact(%q) allocates %v times, want 0", pricedText, got)
	}
}

func BenchmarkRedact(b *testing.B) {
	for _, bench := range []struct{ name, text string }{{"clean", cleanText}, {"priced", pricedText}, {"dirty", dirtyText}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(bench.text)))
			for b.Loop() {
				RedactAll.Redact(bench.text)
			}
		})
	}
}
