package month

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/openalign/align"
)

// This file makes up who talks: people in some countries, a few of them at work for companies.

// country is where somebody lives.
type country struct {
	code, language, tag string
	share               int           // of all people, in relation to the others
	offset              time.Duration // of its clocks from UTC, about
	money               string        // how a price is written
	rate                float64       // of its money for a euro, about
	decimals            string        // what stands before cents; empty where there are none
}

var countries = []country{
	{"GB", "en", "en-GB", 16, 0, "£%s", 0.85, "."},
	{"US", "en", "en-US", 15, -6 * time.Hour, "$%s", 1.1, "."},
	{"CA", "en", "en-CA", 5, -5 * time.Hour, "CA$%s", 1.5, "."},
	{"AU", "en", "en-AU", 4, 10 * time.Hour, "A$%s", 1.6, "."},
	{"IN", "en", "en-IN", 4, 5*time.Hour + 30*time.Minute, "₹%s", 90, ""},
	{"NG", "en", "en-NG", 3, time.Hour, "₦%s", 1600, ""},
	{"DE", "de", "de-DE", 14, time.Hour, "%s €", 1, ","},
	{"AT", "de", "de-AT", 4, time.Hour, "%s €", 1, ","},
	{"CH", "de", "de-CH", 3, time.Hour, "Fr. %s", 0.95, "."},
	{"FR", "fr", "fr-FR", 8, time.Hour, "%s €", 1, ","},
	{"BE", "fr", "fr-BE", 2, time.Hour, "%s €", 1, ","},
	{"ES", "es", "es-ES", 6, time.Hour, "%s €", 1, ","},
	{"MX", "es", "es-MX", 4, -6 * time.Hour, "$%s", 20, ""},
	{"AR", "es", "es-AR", 2, -3 * time.Hour, "$%s", 1100, ""},
	{"KR", "ko", "ko-KR", 5, 9 * time.Hour, "%s원", 1500, ""},
	{"JP", "ja", "ja-JP", 4, 9 * time.Hour, "%s円", 160, ""},
	{"EG", "ar", "ar-EG", 2, 2 * time.Hour, "%s جنيه", 50, ""},
	{"AE", "ar", "ar-AE", 2, 4 * time.Hour, "%s درهم", 4, ""},
}

// price writes an amount of euros in the country's money.
func (c *country) price(euros float64) string {
	amount := euros * c.rate
	if c.decimals != "" {
		return fmt.Sprintf(c.money, strings.Replace(strconv.FormatFloat(float64(int(amount))+0.9, 'f', 2, 64), ".", c.decimals, 1))
	}
	unit := 10
	if amount > 1000 {
		unit = 100
	}
	text := strconv.Itoa(max(int(amount)/unit, 1) * unit)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return fmt.Sprintf(c.money, text)
}

// person is one user.
type person struct {
	user    align.User
	country *country
	called  string  // how an assistant addresses them
	patient float64 // how much it takes until they give up, 0 to 1
	source  string
}

var companies = []align.Company{
	{ID: "co-hale", Name: "Hale & Pike Ltd", Type: "retail"},
	{ID: "co-vogt", Name: "Vogt & Roth GmbH", Type: "hospitality"},
	{ID: "co-moulin", Name: "Moulin & Vidal SARL", Type: "retail"},
	{ID: "co-quay", Name: "Quay Street Coworking", Type: "offices"},
	{ID: "co-hanbit", Name: "한빛상사", Type: "retail"},
	{ID: "co-alpenhof", Name: "Hotel Alpenhof", Type: "hospitality"},
}

var sources = []string{"shop.tidewell.example", "shop.tidewell.example", "shop.tidewell.example", "ios app", "android app", "android app", "help desk"}

// newPerson makes up the nth person of a month that begins at from.
func newPerson(r *rand.Rand, n int, from, to time.Time) *person {
	total := 0
	for _, c := range countries {
		total += c.share
	}
	p := &person{patient: r.Float64(), source: pick(r, sources)}
	for i, at := 0, r.IntN(total); ; i++ {
		if at -= countries[i].share; at < 0 {
			p.country = &countries[i]
			break
		}
	}
	words := scripts[p.country.language]
	first, last := pick(r, words.list("first")), pick(r, words.list("last"))
	name := first + " " + last
	p.called = first
	switch p.country.language {
	case "ja":
		name, p.called = last+" "+first, last
	case "ko":
		name = last + first
		p.called = name
	}
	created := from.Add(-time.Duration(r.ExpFloat64() * float64(200*24*time.Hour)))
	if r.Float64() < 0.3 { // new this month
		created = from.Add(time.Duration(r.Float64() * float64(to.Sub(from)) * 0.97))
	}
	p.user = align.User{
		ID:          fmt.Sprintf("user-%04d", n+1),
		DisplayName: name,
		Email:       fmt.Sprintf("user%04d@mail.example", n+1),
		CountryCode: p.country.code,
		CreateTime:  created.Truncate(time.Millisecond),
		Properties:  align.Properties{"plan": pick(r, []string{"basic", "basic", "basic", "plus", "plus", "vip"}), "newsletter": strconv.FormatBool(r.IntN(3) == 0)},
	}
	if r.Float64() < 0.12 {
		company := pick(r, companies)
		p.user.Company = &company
		p.source = "help desk"
		p.user.Properties["plan"] = "business"
	}
	if r.Float64() < 0.2 {
		p.user.Traits = map[string]any{"orders": r.IntN(30) + 1, "favourite_size": pick(r, sizes)}
	}
	return p
}
