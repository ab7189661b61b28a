// Package reply writes errors the way every client of the collector reads them.
package reply

import (
	"encoding/json"
	"net/http"

	"connectrpc.com/connect"
)

// Error answers with a Connect error: status, "Content-Type: application/json" and {"code","message"}. It is for what is
// decided outside Connect's own handlers, which write the same form, and for the statuses Connect has no code for (413,
// 415). The message goes to the sender as it is: it must not quote keys or content.
func Error(w http.ResponseWriter, status int, code connect.Code, message string) {
	body, err := json.Marshal(struct {
		Code    connect.Code `json:"code"`
		Message string       `json:"message"`
	}{code, message})
	if err != nil { // a code and a string always marshal
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client has gone; nobody is left to tell
}
