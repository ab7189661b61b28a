package feedbackhttp_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/openalign/align/aligntest"
	"github.com/openalign/align/feedbackhttp"
)

// Thumbs below an answer: the page has a token, and posts it with the vote.
func Example() {
	client, srv := aligntest.Client(nil)
	defer srv.Close()
	thumbs, err := feedbackhttp.New(client, feedbackhttp.Config{})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/feedback", thumbs)

	// When the page is made:
	token, err := client.FeedbackToken("s1", 2, "u1", 24*time.Hour)
	if err != nil {
		log.Print(err)
	}
	// What the page does, as fetch("/feedback", {method: "POST", …}):
	fmt.Println(send(mux, `{"token": "`+token+`", "vote": "down", "comment": "Which order?"}`))

	client.Close(context.Background())
	for _, f := range srv.Session("s1").Feedback {
		fmt.Println(f.UserID, f.Type, "on message", f.Index, f.Comment)
	}
	// Output:
	// 204
	// u1 thumbs_down on message 2 Which order?
}

// send posts from a page of the same origin.
func send(h http.Handler, body string) string {
	r := httptest.NewRequest(http.MethodPost, "/feedback", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return strings.TrimSpace(fmt.Sprint(w.Code, " ", w.Body))
}

// The chat is on another origin than the handler, and a proxy of the app's own stands in front.
func ExampleNew() {
	client, srv := aligntest.Client(nil)
	defer srv.Close()
	defer client.Close(context.Background())

	_, err := feedbackhttp.New(client, feedbackhttp.Config{
		AllowedOrigins: []string{"https://chat.example.com"},
		Address:        func(r *http.Request) string { return r.Header.Get("X-Real-Ip") }, // which the proxy sets, whatever came
	})
	fmt.Println(err)
	_, err = feedbackhttp.New(client, feedbackhttp.Config{AllowedOrigins: []string{"*"}})
	fmt.Println(err)
	// Output:
	// <nil>
	// align: feedbackhttp.Config.AllowedOrigins must be origins as browsers send them, such as https://chat.example.com
}

// The app knows its users by a cookie, and whose session is whose: pages need no token then.
func ExampleConfig() {
	client, srv := aligntest.Client(nil)
	defer srv.Close()
	defer client.Close(context.Background())

	userOf := func(*http.Request) string { return "ada" }  // by the cookie; empty if nobody is signed in
	owner := map[string]string{"s1": "ada", "s2": "grace"} // the app's own records
	thumbs, err := feedbackhttp.New(client, feedbackhttp.Config{
		Voter: func(r *http.Request, session string) (string, bool) {
			user := userOf(r)
			return user, owner[session] == user
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(send(thumbs, `{"session": "s1", "index": 2, "vote": "up"}`))
	fmt.Println(send(thumbs, `{"session": "s2", "index": 2, "vote": "up"}`))
	// Output:
	// 204
	// 403 {"code":"not_allowed","message":"this user may not vote here","field":"session"}
}

// What a page gets to read when a vote does not count.
func ExampleProblem() {
	client, srv := aligntest.Client(nil)
	defer srv.Close()
	defer client.Close(context.Background())
	thumbs, err := feedbackhttp.New(client, feedbackhttp.Config{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(send(thumbs, `{"token": "guess", "vote": "up"}`))
	fmt.Println(send(thumbs, `{"token": "guess", "vote": "sideways"}`))
	// Output:
	// 401 {"code":"token_invalid","message":"the token is not one of ours","field":"token"}
	// 422 {"code":"invalid","message":"vote must be one of up, down, none","field":"vote"}
}

// Three votes at once, then one a minute; as many requests as they like from one address.
func ExampleRate() {
	client, srv := aligntest.Client(nil)
	defer srv.Close()
	defer client.Close(context.Background())
	thumbs, err := feedbackhttp.New(client, feedbackhttp.Config{
		PerToken:   feedbackhttp.Rate{Burst: 3, Every: time.Minute},
		PerAddress: feedbackhttp.Rate{Burst: -1},
	})
	if err != nil {
		log.Fatal(err)
	}
	token, err := client.FeedbackToken("s1", 2, "u1", time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	for _, vote := range []string{"up", "down", "none", "up"} {
		answer := send(thumbs, `{"token": "`+token+`", "vote": "`+vote+`"}`)
		fmt.Println(answer[:3])
	}
	// Output:
	// 204
	// 204
	// 204
	// 429
}

// A GET never votes: programs follow links, too.
func ExampleHandler() {
	client, srv := aligntest.Client(nil)
	defer srv.Close()
	defer client.Close(context.Background())
	thumbs, err := feedbackhttp.New(client, feedbackhttp.Config{})
	if err != nil {
		log.Fatal(err)
	}
	w := httptest.NewRecorder()
	thumbs.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/feedback?vote=up", nil)) // a link in a mail, opened by a scanner
	fmt.Println(w.Code, w.Header().Get("Allow"))
	// Output: 405 OPTIONS, POST
}
