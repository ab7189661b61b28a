package align

import (
	"math/bits"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Redaction is a set of kinds of personal data to mask in free text. The zero Redaction masks nothing.
//
// It works on the look of the text, knows no language, and is a best effort: it lowers what reaches the
// collector by accident, it is no guarantee and no replacement for consent. Names, postal addresses,
// dates of birth, and anything spelled out or disguised ("ada at example dot com", digits in words,
// digits other than 0 to 9) are not found. Where an order number looks like a phone number it is masked.
type Redaction uint8

const (
	// RedactEmail masks addresses local@domain.tld as [email]. Letters of every script are allowed, the last
	// label must be two letters or more (or xn--…), quoted local parts and domains without a dot are not found.
	RedactEmail Redaction = 1 << iota

	// RedactPhone masks telephone numbers as [phone]: + (or 00) and 7 to 15 digits; national numbers of 7
	// to 15 digits in the usual groups, separated by single spaces, dashes, dots, a slash or with the area
	// code in parentheses; and 10 to 15 digits in a row. Dates, times, amounts with a currency sign, numbers
	// grouped in thousands, ranges, lists of round numbers, and numbers that are part of a longer word, of a
	// longer chain of numbers or of a card number are left alone.
	RedactPhone

	// RedactCard masks payment card numbers as [card]: 13 to 19 digits that pass the Luhn check, in a row or
	// in at most five groups separated by single spaces or dashes. One number in ten passes that check by chance.
	RedactCard

	// RedactIP masks IPv4 addresses (four numbers from 0 to 255, so also a version 1.2.3.4) and IPv6 addresses
	// with their zone as [ip]. Ports and prefix lengths stay. An IPv6 address must hold a decimal digit, and when
	// shortened with :: three groups or one of three characters: "::1" names no one, and a[1::2] is code.
	RedactIP

	// RedactAll is every kind, including those that later versions add.
	RedactAll = RedactEmail | RedactPhone | RedactCard | RedactIP
)

// String returns the kinds of r, such as "email|phone".
func (r Redaction) String() string {
	var kinds []string
	for i, name := range [...]string{"email", "phone", "card", "ip"} {
		if r&(1<<i) != 0 {
			kinds = append(kinds, name)
		}
	}
	if kinds == nil {
		return "none"
	}
	return strings.Join(kinds, "|")
}

// Redact returns s with every piece of the kinds in r replaced by [email], [phone], [card] or [ip].
// The client does so by itself for the kinds in Config.Redact; Redact is there for a BeforeSend hook.
//
// Redacting twice changes nothing more, valid UTF-8 stays valid, the time is linear in the length of s, and
// a text in which nothing is found is returned as it is, without allocating.
func (r Redaction) Redact(s string) string {
	if r&RedactEmail != 0 && strings.IndexByte(s, '@') >= 0 {
		s = mask(s, "[email]", nextEmail)
	}
	if r&(RedactPhone|RedactCard|RedactIP) == 0 {
		return s
	}
	// Every other kind has digits. Most messages have none, or too few for anything but a price or a time.
	digits := countDigits(s)
	if digits == 0 {
		return s
	}
	// The order decides what an ambiguous text is, and makes redacting twice the same as once: a card in one
	// piece is masked whatever stands beside it, so it goes before all that look at what stands beside them.
	if r&RedactCard != 0 && digits >= minCard {
		s = mask(s, "[card]", nextCard)
	}
	if r&RedactIP != 0 {
		if strings.Count(s, ":") >= 2 {
			s = mask(s, "[ip]", nextIPv6)
		}
		if strings.Count(s, ".") >= 3 {
			s = mask(s, "[ip]", nextIPv4)
		}
	}
	if r&RedactCard != 0 && digits >= minCard {
		s = mask(s, "[card]", nextGroupedCard)
	}
	if r&RedactPhone != 0 && digits >= minPhone {
		s = mask(s, "[phone]", nextPhone)
	}
	return s
}

// mask replaces what find finds. After each find it searches the rest as a text of its own: what was masked is
// no longer a neighbour that could keep the next one from being found, just as it will not be the second time.
func mask(s, marker string, find func(string) (start, end int)) string {
	start, end := find(s)
	if start < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + len(marker))
	for start >= 0 {
		b.WriteString(s[:start])
		b.WriteString(marker)
		s = s[end:]
		start, end = find(s)
	}
	b.WriteString(s)
	return b.String()
}

// countDigits counts the ASCII digits of s, eight bytes at a time: it is what a clean message pays.
func countDigits(s string) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(s) >= 8; s = s[8:] {
		x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56 // one load
		x ^= '0' * ones                  // digits become 0 to 9
		over := x&^high + (0x80-10)*ones // the high bit says 10 or more; no byte carries into the next
		n += bits.OnesCount64(^(over | x) & high)
	}
	for i := range len(s) {
		if isDigit(s[i]) {
			n++
		}
	}
	return n
}

// Email

func nextEmail(s string) (start, end int) {
	for from := 0; ; {
		k := strings.IndexByte(s[from:], '@')
		if k < 0 {
			return -1, -1
		}
		at := from + k
		start = from + localStart(s[from:at])
		end = at + 1 + domainEnd(s[at+1:])
		if start < at && end > at+1 {
			return start, end
		}
		from = at + 1
	}
}

// localStart returns where the local part at the end of s starts, len(s) if there is none.
func localStart(s string) int {
	i := len(s)
	last, _ := utf8.DecodeLastRuneInString(s)
	unspaced := isUnspaced(last)
	for i > 0 {
		r, size := utf8.DecodeLastRuneInString(s[:i])
		// "メールはtaro@example.jp": the address starts where the script changes.
		if !isLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._%+-'~", r) || isUnspaced(r) && !unspaced {
			break
		}
		i -= size
	}
	for i < len(s) { // a quote, a dash or dots before the address
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) {
			break
		}
		i += size
	}
	return i
}

// domainEnd returns the length of the longest domain name with a top-level domain that s starts with, or 0.
func domainEnd(s string) int {
	end := 0
	for i, first := 0, true; ; first = false {
		start := i
		for i < len(s) {
			r, size := utf8.DecodeRuneInString(s[i:])
			if !isLetter(r) && !unicode.IsDigit(r) && r != '-' && r != '_' {
				break
			}
			i += size
		}
		if i == start {
			return end
		}
		if n := topLevel(s[start:i]); n > 0 && !first {
			end = start + n
			if r, _ := utf8.DecodeRuneInString(s[end:]); isUnspaced(r) {
				return end // "ada@example.com입니다.": the sentence goes on
			}
		}
		if i == len(s) || s[i] != '.' {
			return end
		}
		i++
	}
}

// topLevel returns the length of the top-level domain that label starts with, or 0. What follows it does
// not matter: in "example.com2" or "example.com-" the address before is worth masking too.
func topLevel(label string) int {
	if len(label) > 4 && strings.EqualFold(label[:4], "xn--") {
		i := 4
		for i < len(label) && (isAlnum(label[i]) || label[i] == '-') {
			i++
		}
		return len(strings.TrimRight(label[:i], "-"))
	}
	first, _ := utf8.DecodeRuneInString(label)
	unspaced := isUnspaced(first)
	letters, n := 0, 0
	for _, r := range label {
		if !isLetter(r) || isUnspaced(r) && !unspaced {
			break
		}
		letters++
		n += utf8.RuneLen(r)
	}
	if letters < 2 {
		return 0
	}
	return n
}

// IP addresses

func nextIPv6(s string) (start, end int) {
	for from := 0; ; {
		k := strings.IndexByte(s[from:], ':')
		if k < 0 {
			return -1, -1
		}
		// The longest run of what an address is made of, around the colon.
		i, j := from+k, from+k
		for i > from && isIPv6(s[i-1]) {
			i--
		}
		for j < len(s) && isIPv6(s[j]) {
			j++
		}
		if start, end := ipv6(s, i, j); end > 0 {
			return start, end
		}
		from = j
	}
}

// ipv6 returns where in the run s[i:j] an IPv6 address is, zone included, or 0, 0.
func ipv6(s string, i, j int) (start, end int) {
	// Beside a marker it would be the rest of something that is masked already.
	if i > 0 && s[i-1] == ']' || j < len(s) && s[j] == '[' {
		return 0, 0
	}
	// "IPv6:fe80::1" and "source:fe80::1": the run starts with the end of a word, or with its colon.
	if colon := i + strings.IndexByte(s[i:j], ':'); wordBefore(s, i) || strings.Contains(s[i:colon], ".") {
		i = colon
	}
	if i+1 < j && s[i] == ':' && s[i+1] != ':' {
		i++
	} else if wordBefore(s, i) {
		return 0, 0 // std::vector
	}
	run := strings.TrimRight(s[i:j], ".")
	if strings.HasSuffix(run, ":") && !strings.HasSuffix(run, "::") {
		run = run[:len(run)-1]
	}
	end = i + len(run)
	if end == j && j < len(s) && s[j] == '%' {
		zone := j + 1
		for zone < len(s) && (isAlnum(s[zone]) || strings.IndexByte("-._~", s[zone]) >= 0) {
			zone++
		}
		if !wordAfter(s, zone) {
			end = i + len(strings.TrimRight(s[i:zone], "%-.~"))
		}
	}
	if wordAfter(s, end) || !likeIPv6(run) {
		return 0, 0
	}
	if a, err := netip.ParseAddr(run); err != nil || !a.Is6() {
		return 0, 0
	}
	return i, end
}

// likeIPv6 rules out times and code before netip.ParseAddr does, which allocates an error.
func likeIPv6(run string) bool {
	compressed := strings.Contains(run, "::")
	if colons := strings.Count(run, ":"); colons > 8 || colons < 6 && !compressed || len(run) > 45 {
		return false
	}
	groups, digits, long := 0, false, false
	for group := range strings.SplitSeq(run, ":") {
		if group != "" {
			groups++
		}
		if nextDigit(group, 0) < len(group) {
			digits = true
			long = long || len(group) > 2
		}
	}
	return digits && (groups > 2 || long)
}

func nextIPv4(s string) (start, end int) {
	for i := nextDigit(s, 0); i < len(s); i = nextDigit(s, end) {
		// All numbers joined by dots: with more or fewer than four it is a version or a section.
		numbers, ok := 0, true
		for end = i; ; end++ {
			from := end
			end = digitsEnd(s, from)
			numbers++
			ok = ok && end-from <= 3 && value(s[from:end]) <= 255
			if end+1 >= len(s) || s[end] != '.' || !isDigit(s[end+1]) {
				break
			}
		}
		if ok && numbers == 4 && !wordBefore(s, i) && !wordAfter(s, end) {
			return i, end
		}
	}
	return -1, -1
}

// Cards

const (
	minCard  = 13 // digits
	maxCard  = 19
	minPhone = 7
	maxPhone = 15
)

// nextCard finds a card number without separators.
func nextCard(s string) (start, end int) {
	for i := nextDigit(s, 0); i < len(s); i = nextDigit(s, end) {
		end = digitsEnd(s, i)
		if isCard(s, i, end) {
			return i, end
		}
	}
	return -1, -1
}

// nextGroupedCard finds a card number with separators.
func nextGroupedCard(s string) (start, end int) {
	var n number
	for i := nextDigit(s, 0); i < len(s); i = nextDigit(s, i) {
		n.parse(s, i)
		if n.short(minCard) { // the common case: nothing in the chain
			i = n.end(n.n)
			continue
		}
		if k := n.card(0); k > 0 {
			return i, n.groups[k-1].to
		}
		i = wordEnd(s, i)
	}
	return -1, -1
}

// card returns of how many groups the card number that starts with group i is made, 0 if there is none.
func (n *number) card(i int) int {
	digits, found := 0, 0
	if n.groups[i].sep.tight() {
		return 0
	}
	for k := i; k < n.n && k < i+5; k++ {
		g := &n.groups[k]
		digits += g.to - g.from
		if g.paren || digits > maxCard || k == i && g.to-g.from < 4 || k > i && g.sep != sepSpace && g.sep != sepDash {
			break
		}
		if !n.next(k).tight() && isCard(n.s, n.groups[i].from, g.to) {
			found = k + 1 - i
		}
		if g.to-g.from < 3 { // only the last group may be shorter
			break
		}
	}
	return found
}

// isCard reports whether s[i:j] is a card number. Letters may touch it ("card4111…"), but not those of a word
// with more digits in it: that is an id in hexadecimal or the like.
func isCard(s string, i, j int) bool {
	digits, sum := 0, 0
	for k := j - 1; k >= i; k-- { // Luhn: from the right, every second digit counts double
		if !isDigit(s[k]) {
			continue
		}
		d := int(s[k] - '0')
		if digits++; digits%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	if digits < minCard || digits > maxCard || sum%10 != 0 {
		return false
	}
	for i > 0 && isASCIILetter(s[i-1]) {
		i--
	}
	for j < len(s) && isASCIILetter(s[j]) {
		j++
	}
	return (i == 0 || !isDigit(s[i-1])) && (j == len(s) || !isDigit(s[j]))
}

// Phone numbers

func nextPhone(s string) (start, end int) {
	var n number
	for i := nextDigit(s, 0); i < len(s); i = nextDigit(s, i) {
		n.parse(s, i)
		if n.short(minPhone) { // the common case: nothing in the chain
			i = n.end(n.n)
			continue
		}
		if k := n.card(0); k > 0 {
			i = n.end(k)
			continue
		}
		if n.date(0) && !n.plus {
			i = wordEnd(s, n.groups[2].from)
			continue
		}
		if start, end := n.phone(); end > 0 {
			return start, end
		}
		// Numbers joined by dashes or dots are one word; its tail alone is no number.
		i = wordEnd(s, i)
	}
	return -1, -1
}

// A number is a chain of groups of digits that may be a phone or card number, whole or in part.
type number struct {
	s      string
	groups [maxGroups]group
	n      int  // groups in use
	total  int  // digits in them
	tail   sep  // what follows the last of them
	plus   bool // a + stands before the first
}

type group struct {
	from, to int  // the digits
	sep      sep  // what stands before it; 0 before the first group
	paren    bool // in parentheses
}

// The longest phone number, and a date after any part of it, fit in here. The bounds keep time linear.
const (
	maxGroups      = 11
	maxChainDigits = 24
)

type sep uint8

const (
	sepNone   sep = iota // no further group
	sepParen             // only a parenthesis
	sepSpace             // one space
	sepSlash             // 089/123456
	sepSpaced            // a dash between spaces
	sepDash              // the word goes on
	sepDot               // the word goes on
)

// tight reports whether no number may start or end at p.
func (p sep) tight() bool { return p == sepDash || p == sepDot }

// parse reads the chain whose first digit is s[i].
func (n *number) parse(s string, i int) {
	n.s, n.n, n.total, n.tail = s, 0, 0, sepNone
	n.plus = i > 0 && s[i-1] == '+'
	open := i > 0 && s[i-1] == '(' || i > 1 && n.plus && s[i-2] == '('
	digits := 0
	for p := sepNone; ; {
		to := i
		for to < len(s) && isDigit(s[to]) && digits <= maxChainDigits {
			to++
			digits++
		}
		closed := to < len(s) && s[to] == ')'
		if n.n > 0 && open && !closed {
			return
		}
		if digits > maxChainDigits || n.n == maxGroups {
			n.tail = p
			return
		}
		n.groups[n.n] = group{from: i, to: to, sep: p, paren: open && closed}
		n.n++
		n.total = digits
		if p, i, open = separator(s, n.end(n.n)); p == sepNone {
			return
		}
	}
}

// short reports whether n is the whole chain and has fewer digits than limit.
func (n *number) short(limit int) bool { return n.n > 0 && n.tail == sepNone && n.total < limit }

// separator returns what separates the group that ends at i from the next, where that starts, and whether
// a parenthesis opens before it.
func separator(s string, i int) (p sep, next int, open bool) {
	r, size := utf8.DecodeRuneInString(s[i:])
	next = i + size
	switch {
	case isSpace(r):
		p = sepSpace
		if d, size := utf8.DecodeRuneInString(s[next:]); isDash(d) && strings.HasPrefix(s[next+size:], " ") {
			p, next = sepSpaced, next+size+1
		}
	case isDash(r):
		p = sepDash
	case r == '.':
		p = sepDot
	case r == '/':
		p = sepSlash
	case r == '(' || r < utf8.RuneSelf && isDigit(byte(r)): // a digit can only follow a parenthesis
		p, next = sepParen, i
	}
	if next < len(s) && s[next] == '(' && p != sepDot {
		open = true
		next++
		if p == sepDash { // 8-(495)-123-45-67
			p = sepSpaced
		}
	}
	if next >= len(s) || !isDigit(s[next]) {
		return sepNone, 0, false
	}
	return p, next, open
}

// wordEnd returns the end of the digits from i and of all that are joined to them by dashes and dots.
func wordEnd(s string, i int) int {
	for {
		end := digitsEnd(s, i)
		p, next, _ := separator(s, end)
		if !p.tight() {
			return end
		}
		i = next
	}
}

// end returns where the first k groups end.
func (n *number) end(k int) int {
	g := n.groups[k-1]
	if g.paren {
		return g.to + 1
	}
	return g.to
}

// next returns what follows group i.
func (n *number) next(i int) sep {
	if i+1 < n.n {
		return n.groups[i+1].sep
	}
	return n.tail
}

// digits returns the digits of group i.
func (n *number) digits(i int) string { return n.s[n.groups[i].from:n.groups[i].to] }

// date reports whether groups i to i+2 are a year, month and day in one of the usual orders.
func (n *number) date(i int) bool {
	if i+3 > n.n || n.groups[i+1].sep != n.groups[i+2].sep || n.groups[i+1].sep == sepParen || n.groups[i].sep.tight() {
		return false
	}
	a, b, c := n.digits(i), n.digits(i+1), n.digits(i+2)
	if len(a) == 4 {
		a, c = c, a
	}
	if len(a) > 2 || len(b) > 2 || !isYear(c) {
		return false
	}
	lo, hi := min(value(a), value(b)), max(value(a), value(b))
	return 1 <= lo && lo <= 12 && hi <= 31
}

// phone returns where the longest phone number is that starts with the first group, or 0, 0.
func (n *number) phone() (start, end int) {
	limit, word := n.n, 0 // word counts the digits joined so far
	for i := range limit {
		if !n.groups[i].sep.tight() {
			// "408-247-8880 24 hours": what could be a number by itself is its last word.
			if word >= minPhone || i > 0 && (n.date(i) || n.card(i) > 0) {
				limit = i
				break
			}
			word = 0
		}
		word += len(n.digits(i))
	}
	for k := limit; k > 0; k-- {
		if n.next(k-1).tight() || !n.shape(k) {
			continue
		}
		start, end = n.groups[0].from, n.groups[k-1].to
		if n.plus {
			start--
		}
		if n.groups[0].paren && k > 1 {
			start--
		}
		end = extension(n.s, end)
		if n.freeBefore(start) && n.freeAfter(end) {
			return start, end
		}
	}
	return 0, 0
}

// shape reports whether the first k groups are grouped like a phone number.
func (n *number) shape(k int) bool {
	first, last := n.digits(0), n.digits(k-1)
	var total, pairs, threes, round int
	var seps [sepDot + 1]int
	odd, parens := false, false // a group too short or too long, parentheses
	for i := range k {
		g := n.groups[i]
		d := n.digits(i)
		total += len(d)
		seps[g.sep]++
		parens = parens || g.paren && k > 1
		if i > 0 && !g.paren {
			odd = odd || len(d) == 1 || len(d) > 5 && i < k-1
		}
		if len(d) == 2 {
			pairs++
		}
		if i > 0 && len(d) == 3 {
			threes++
		}
		if d[len(d)-1] == '0' {
			round++
		}
	}
	if total < minPhone || total > maxPhone || k > 1 && n.groups[k-1].paren {
		return false
	}
	uniform := k == 1 || seps[n.groups[1].sep] == k-1
	thousands := k > 1 && uniform && threes == k-1 && seps[sepDash] == 0 && first[0] != '0'

	if n.plus || strings.HasPrefix(first, "00") && total >= 10 {
		// +12 345 678 is growth, +37.774929 a latitude.
		return seps[sepSlash] <= 1 && !(thousands && total < 9) && !(k == 2 && seps[sepDot] > 0)
	}
	if k == 1 {
		return total >= 10 && !isDateTime(first)
	}
	trunk := first[0] == '0'
	switch {
	case odd, len(last) > 8, len(first) > 5, total > 11 && len(first) > 3:
		return false
	case thousands && len(first) < 3:
		return false
	case round == k && !trunk && (k == 2 && !parens || seps[sepSpace] > 0 && len(last) != 4): // round numbers: ranges, lists
		return false
	case k > 2 && isYear(first) && !parens: // 2026-11-21-001
		return false
	case seps[sepDot] > 0 && !parens && (!uniform || k == 2 || total < 9): // decimals, versions
		return false
	case seps[sepSlash] > 0 && (seps[sepSlash] > 1 || !parens && !(trunk && len(first) > 2)): // fractions
		return false
	case pairs == k: // 12 34 56 78, 06 12 34 56 78; not opening hours 10.30-12.30
		return uniform && (k == 4 || k == 5 && trunk)
	case len(first) == 1 && !parens: // 1, 7 and 8 are dialled before a national number; 3 may count anything
		return strings.Contains("0178", first) || pairs == 4 && k == 5 || k == 3 && len(n.digits(1)) == 4 && len(last) == 4
	case k > 2:
		return true
	case parens:
		return len(last) >= 4
	case isRange(first, last):
		return false
	case trunk:
		return len(first) > 1 && len(last) >= 4
	case len(first) < 3:
		return false
	}
	if n.groups[1].sep == sepSpace {
		// Two numbers in a row are common in prose ("377 95128"): only what is usual.
		switch [2]int{len(first), len(last)} {
		case [2]int{3, 4}, [2]int{3, 7}, [2]int{4, 4}, [2]int{4, 6}, [2]int{5, 5}, [2]int{5, 6}:
			return true
		}
		return false
	}
	return len(last) >= 4
}

// freeBefore reports whether a phone number may start at i: not in a longer word or sum, not after a sign
// that makes it an amount or an id, and not with the minutes of 12:30, the end of 12/25 or of 2,800.
func (n *number) freeBefore(i int) bool {
	r, size := utf8.DecodeLastRuneInString(n.s[:i])
	i -= size
	switch {
	case isWord(r), r == '#', r == '№', unicode.Is(unicode.Sc, r):
		return false
	case isDash(r), r == '+':
		return !wordBefore(n.s, i) || r != '+' && n.groups[0].paren
	case r == ':', r == '/', r == '.', r == ',':
		if i == 0 || !isDigit(n.s[i-1]) || n.plus || n.groups[0].paren {
			return true
		}
		length := len(n.digits(0))
		return length > 3 || length == 3 && (r != ',' || n.next(0) != sepSpace) // $2,800 4445
	}
	return true
}

// freeAfter reports whether a phone number may end at i. It mirrors freeBefore, so that of two
// numbers that touch either both are found or none, and a second pass has nothing to add.
func (n *number) freeAfter(i int) bool {
	if i == len(n.s) {
		return true
	}
	r, size := utf8.DecodeRuneInString(n.s[i:])
	i += size
	switch {
	case isWord(r), r == '%', unicode.Is(unicode.Sc, r):
		return false
	case isDash(r), r == '+':
		return !wordAfter(n.s, i)
	case r == ':':
		digits := digitsEnd(n.s, i) - i
		return digits == 0 || digits > 2
	}
	return true
}

// extension returns the end of an extension such as x123 at i, or i. It must be short and the end of the
// chain: the x may as well be followed by a card number.
func extension(s string, i int) int {
	if i == len(s) || s[i]|0x20 != 'x' {
		return i
	}
	end := digitsEnd(s, i+1)
	if p, _, _ := separator(s, end); end-i < 2 || end-i > 7 || p.tight() {
		return i
	}
	return end
}

// isRange reports whether a and b are years, times of the day or numbers near each other, as in
// 2019-2020, 0900-1730 and 1204-1215.
func isRange(a, b string) bool {
	if isYear(a) && isYear(b) || isQuarter(a) && isQuarter(b) {
		return true
	}
	d := value(b) - value(a)
	return len(b) <= 5 && 0 < d && d <= 100
}

func isYear(s string) bool { return len(s) == 4 && (s[:2] == "19" || s[:2] == "20") }

// isQuarter reports whether s is a time such as 0945 or 1700.
func isQuarter(s string) bool {
	return len(s) == 4 && value(s[:2]) <= 24 && value(s[2:])%15 == 0 && value(s[2:]) < 60
}

// isDateTime reports whether s is a time such as 20261121093000.
func isDateTime(s string) bool {
	if len(s) != 14 || !isYear(s[:4]) {
		return false
	}
	month, day := value(s[4:6]), value(s[6:8])
	return 1 <= month && month <= 12 && 1 <= day && day <= 31 && value(s[8:10]) < 24 && value(s[10:12]) < 60 && value(s[12:]) < 60
}

// Characters

func isDigit(c byte) bool       { return c-'0' < 10 }
func isASCIILetter(c byte) bool { return c|0x20-'a' < 26 }
func isAlnum(c byte) bool       { return isDigit(c) || isASCIILetter(c) }
func isIPv6(c byte) bool        { return isDigit(c) || c|0x20-'a' < 6 || c == ':' || c == '.' }

func isSpace(r rune) bool { return r == ' ' || r == '\u00a0' || r == '\u202f' || r == '\u2009' }
func isDash(r rune) bool  { return r == '-' || '\u2010' <= r && r <= '\u2013' }

// isLetter reports whether r is a letter or a mark on one.
func isLetter(r rune) bool { return unicode.IsLetter(r) || unicode.IsMark(r) }

// isUnspaced reports whether r belongs to a script that puts no space between words, or, as Korean does,
// none between a word and its particle. There a letter beside a number does not make them one word.
func isUnspaced(r rune) bool {
	return r >= 0x0e00 && unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana,
		unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}

// isWord reports whether r beside a number makes it part of a word or an id. Of the other scripts only those
// are in it that do not glue prepositions to numbers.
func isWord(r rune) bool {
	if r < utf8.RuneSelf {
		return r == '_' || isAlnum(byte(r))
	}
	return unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic) || unicode.IsDigit(r)
}

func wordBefore(s string, i int) bool {
	r, _ := utf8.DecodeLastRuneInString(s[:i])
	return i > 0 && isWord(r)
}

func wordAfter(s string, i int) bool {
	r, _ := utf8.DecodeRuneInString(s[i:])
	return i < len(s) && isWord(r)
}

// nextDigit returns the place of the first digit from i, len(s) if there is none.
func nextDigit(s string, i int) int {
	for i < len(s) && !isDigit(s[i]) {
		i++
	}
	return i
}

func digitsEnd(s string, i int) int {
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	return i
}

// value returns the number that the digits are, which must be few.
func value(digits string) int {
	v := 0
	for i := range len(digits) {
		v = v*10 + int(digits[i]-'0')
	}
	return v
}
