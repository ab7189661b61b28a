package rpc

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

func TestStrictJSONSaysWhereAndRepeatsNothing(t *testing.T) {
	for text, want := range map[string]string{
		`{"text":"private"}`: "",
		`{"userId":"private","limit":"3","vote":"VOTE_UP"}`:                "",
		`{"user_id":"private","metadata":{"private":"x"}}`:                 "",
		`{"user_name":"private"}`:                                          "line 1, column 2: the schema has no such field",
		`{"private":1}`:                                                    "line 1, column 2: the schema has no such field",
		`{"state":"private"}`:                                              "line 1, column 10: state has a value that it cannot have",
		`{"limit":"private"}`:                                              "line 1, column 10: limit has a value that it cannot have",
		"{\n\"text\":5}":                                                   "line 2, column 8: text has a value that it cannot have",
		`{"metadata":"private"}`:                                           "line 1, column 13: this is not what the schema says",
		`{"text":private}`:                                                 "line 1, column 9: this is not what the schema says",
		`{"start_from":"private"}`:                                         "line 1, column 15: this is not what the schema says",
		`{"metadata":{"private":"1","private":"2"}}`:                       "line 1, column 28: this is not what the schema says",
		`{"text":"(line 7:7): unknown field \""`:                           "this is not what the schema says",
		`{"text":"(line 7:7): invalid value for string field private: "x}`: "line 1, column 63: this is not what the schema says",
		`private`: "line 1, column 1: this is not what the schema says",
		``:        "there is nothing; an empty request is {}",
	} {
		err := strictJSON{}.Unmarshal([]byte(text), new(alignv1.SearchConversationsRequest))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || err.Error() != want || strings.Contains(err.Error(), "private")):
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// However a request is broken, what it says is not in the error.
func FuzzStrictJSON(f *testing.F) {
	f.Add(`{"messages":[{"content":"`, `"}]}`)
	f.Add(`{"messages":`, `}`)
	f.Add(`{"messages":[{"`, `":1}]}`)
	f.Add(``, `{}`)
	f.Fuzz(func(t *testing.T, before, after string) {
		const words = "zqxj7 zqxj8"
		m := new(alignv1.ChatRequest)
		err := strictJSON{}.Unmarshal([]byte(before+words+after), m)
		if err != nil {
			if strings.Contains(err.Error(), "zqxj") {
				t.Errorf("%v", err)
			}
			return
		}
		text, err := strictJSON{}.Marshal(m)
		again := new(alignv1.ChatRequest)
		if err != nil || (strictJSON{}).Unmarshal(text, again) != nil || !proto.Equal(m, again) {
			t.Errorf("%s is not read as it was written (%v)", text, err)
		}
	})
}
