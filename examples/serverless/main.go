// Serverless is a function that may be frozen, or gone, as soon as it has answered: what it records must have arrived
// by then.
//
//	ALIGNAI_PROJECT_ID=shop ALIGNAI_API_KEY=… go run ./examples/serverless
//	curl -d 'user=u1&message=Where is my order?' http://127.0.0.1:8080/
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/openalign/align"
)

// patience is how long an answer may wait for its analytics.
const patience = 500 * time.Millisecond

func main() {
	// One client for each instance, not for each call: connections are kept between calls.
	client, err := align.New(align.Config{}) // from ALIGNAI_PROJECT_ID, ALIGNAI_API_KEY and ALIGNAI_HOST
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", handler(client)))
}

func handler(client *align.Client) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, receipt := align.WithReceipt(r.Context())

		in := client.Begin(align.InteractionStart{UserID: r.FormValue("user"), Input: r.FormValue("message")})
		answer := "You said: " + r.FormValue("message")
		if err := in.End(ctx, answer); err != nil {
			log.Print(err)
		}

		// Only what this call has recorded is waited for, and not for long. What has not arrived stays in the buffer, and
		// is sent when the instance runs again.
		waiting, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if err := receipt.Wait(waiting); err != nil {
			log.Print(err)
		}
		fmt.Fprintln(w, answer)
	}
}
