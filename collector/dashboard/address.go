package dashboard

import "net/url"

// To is the address of a page about the project that is looked at. What follows are names and values by turns; empty values
// are left out.
func (v *visit) To(page string, pairs ...string) string {
	q := url.Values{}
	if v.Project != "" {
		q.Set("project", v.Project)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return Path + page
	}
	return Path + page + "?" + q.Encode()
}

// With is the address of the page that is looked at with some values in place of others; empty ones are left out.
func (v *visit) With(pairs ...string) string {
	q := v.Address.Query()
	q.Del("page")
	if v.Project != "" {
		q.Set("project", v.Project)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if q.Del(pairs[i]); pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return v.Address.Path
	}
	return v.Address.Path + "?" + q.Encode()
}
