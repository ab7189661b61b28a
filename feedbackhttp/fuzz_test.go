package feedbackhttp

import (
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// FuzzReadBallot: what is read from a body is what the standard library reads from it, and what is refused is refused with
// one of the documented answers.
func FuzzReadBallot(f *testing.F) {
	for _, s := range []string{
		`{"token":"t","vote":"up"}`, `{"vote":"none","comment":"\ud83d\ude00\u0000","reasons":["a","b"],"session":"s","index":2}`,
		`{"vote":"up","vote":"down"}`, `{"Vote":"up"}`, `{"vote":"up"}{}`, `{"vote":"up","reasons":[[1]]}`, `[]`, `{`, `{"vote":null}`,
	} {
		f.Add(s, true)
	}
	for _, s := range []string{"vote=up&token=t", "vote=down&comment=a+b%20%C3%A9&reasons=a&reasons=b&session=s&index=2", "vote=up&vote=up", "&", "=", "vote", "%zz", "index=1e3"} {
		f.Add(s, false)
	}
	documented := map[string][]int{"malformed": {400}, "unknown_field": {400}, "repeated_field": {400}, "too_large": {413}, "invalid": {422}}
	f.Fuzz(func(t *testing.T, body string, isJSON bool) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", map[bool]string{true: "application/json", false: "application/x-www-form-urlencoded"}[isJSON])
		got, p := readBallot(httptest.NewRecorder(), r)
		if p != nil {
			if !slices.Contains(documented[p.Code], p.status) {
				t.Fatalf("%q: %+v", body, p)
			}
			return
		}
		want := ballot{vote: got.vote}
		if isJSON {
			if err := json.Unmarshal([]byte(body), &want); err != nil {
				t.Fatalf("%q is no JSON: %v", body, err)
			}
		} else {
			values, err := url.ParseQuery(strings.ReplaceAll(body, ";", "%3B"))
			if err != nil {
				t.Fatalf("%q is no form: %v", body, err)
			}
			want.Token, want.Session, want.Vote, want.Comment, want.Reasons = values.Get("token"), values.Get("session"), values.Get("vote"), values.Get("comment"), values["reasons"]
			want.Index, _ = strconv.Atoi(values.Get("index"))
		}
		if !reflect.DeepEqual(*got, want) || votes[got.Vote] != got.vote || len(body) > MaxBodyBytes {
			t.Fatalf("%q: got %+v, want %+v", body, *got, want)
		}
	})
}
