package align

import (
	"cmp"
	"context"
	"maps"
	"strings"
	"time"
)

// Properties are an app's own key-value pairs. A key matches ^[a-zA-Z][a-zA-Z0-9_]{0,63}$, a value has at most 256
// Unicode code points and may be empty, and there are at most 10 of them; [Config.Limits] changes the last two.
// Nil and empty are the same. The map is read during the call and not kept.
type Properties map[string]string

// User says what is known of a user. Only ID is required; an absent field changes nothing that was said before.
type User struct {
	// ID is the app's own id of the user: 1 to 64 Unicode code points, never displayed.
	ID string `validate:"nonblank,text,max=64"`
	// DisplayName is shown on the dashboard. At most 64 Unicode code points; need not be unique.
	DisplayName string `validate:"omitempty,text,max=64"`
	// Email is an address of at most 256 Unicode code points.
	Email string `validate:"omitempty,text,max=256,email"`
	// IP is an IPv4 address, from which a country may be derived. It is not sent when CountryCode is set.
	IP string `validate:"omitempty,ipv4"`
	// CountryCode is an ISO 3166-1 alpha-2 code; case does not matter.
	CountryCode string `validate:"omitempty,iso3166_1_alpha2"`
	// CreateTime is when the user signed up. Zero means unknown; nothing is made up.
	CreateTime time.Time `validate:"timestamp"`
	// Properties merge key by key with what was said before.
	Properties Properties `validate:"properties"`
	// Company is the customer that the user belongs to. Nil means not said.
	Company *Company
	// Traits are anything else the app knows of the user: a JSON object of at most 16 KiB, which replaces the one before.
	// A text under email or name stands for Email or DisplayName, where that is empty.
	Traits map[string]any `validate:"data"`
}

// Company is a customer of the app's owner that users belong to.
type Company struct {
	// ID is the owner's own: 1 to 64 Unicode code points.
	ID string `validate:"nonblank,text,max=64"`
	// Name is shown on the dashboard. At most 256 Unicode code points.
	Name string `validate:"omitempty,text,max=256"`
	// Type is the owner's own, such as "enterprise". At most 128 Unicode code points.
	Type string `validate:"omitempty,text,max=128"`
}

// IdentifyUser records what is known of a user: at sign-up, when the profile changes, or when a session opens.
// It is optional: opening a session names a user, too.
//
// Errors: *[FieldError] for every field that breaks its limits, [ErrBufferFull], [ErrClosed].
func (c *Client) IdentifyUser(ctx context.Context, user User) error {
	return c.record(ctx, &user)
}

func (u *User) kind() EventType         { return EventIdentify }
func (u *User) lane() string            { return u.ID }
func (u *User) properties() *Properties { return &u.Properties }
func (u *User) attach(e *Event)         { e.User = u }

func (u *User) normalize() {
	u.CountryCode = strings.ToUpper(u.CountryCode)
	u.Traits = maps.Clone(u.Traits)
	u.Email = cmp.Or(u.Email, take(u.Traits, "email"))
	u.DisplayName = cmp.Or(u.DisplayName, take(u.Traits, "name"))
}

// take removes a text from data and returns it.
func take(data map[string]any, key string) string {
	text, ok := data[key].(string)
	if ok {
		delete(data, key)
	}
	return text
}

func (u *User) own() {
	u.Properties, u.Company, u.Traits = maps.Clone(u.Properties), clone(u.Company), cloneData(u.Traits)
}

func (u *User) redact(mask func(string) string) { u.Traits = redactData(u.Traits, mask) }

func (u *User) beyondBase() []string {
	return inUse("User.", fieldUse{"Company", u.Company != nil}, fieldUse{"Traits", len(u.Traits) > 0})
}

func (u *User) appendFields(b []byte) []byte {
	b = appendString(b, fieldUserID, u.ID)
	b = appendString(b, fieldUserEmail, u.Email)
	if u.CountryCode == "" { // the country is what an ip is for, and tells less
		b = appendString(b, fieldUserIP, u.IP)
	} else {
		var at mark
		b, at = beginMessage(b, fieldUserLocation, 0)
		b = appendString(b, fieldLocationCountry, u.CountryCode)
		b = endMessage(b, at)
	}
	b = appendTimestamp(b, fieldUserCreateTime, u.CreateTime)
	b = appendString(b, fieldUserDisplayName, u.DisplayName)
	if c := u.Company; c != nil {
		b = appendLength(b, fieldUserCompany, sizeString(c.ID)+sizeString(c.Name)+sizeString(c.Type))
		b = appendString(b, fieldCompanyID, c.ID)
		b = appendString(b, fieldCompanyName, c.Name)
		b = appendString(b, fieldCompanyType, c.Type)
	}
	traits, _ := encodeData(u.Traits) // was checked
	return appendString(b, fieldUserTraits, traits)
}
