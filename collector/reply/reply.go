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
	JSON(w, status, struct {
		Code    connect.Code `json:"code"`
		Message string       `json:"message"`
	}{code, message})
}

// JSON answers with a value of which every field marshals: texts, numbers and booleans do.
func JSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client has gone; nobody is left to tell
}
