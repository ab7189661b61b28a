package server

import (
	"net/http"
	"net/url"
	"strings"
)

// onePath makes a run of slashes in the path one: clients whose host ends with a slash post to "//ingestion…".
func onePath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "//") {
			next.ServeHTTP(w, r)
			return
		}
		var path strings.Builder
		for i := range len(r.URL.Path) {
			if c := r.URL.Path[i]; c != '/' || i == 0 || r.URL.Path[i-1] != '/' {
				path.WriteByte(c)
			}
		}
		plain := r.WithContext(r.Context())
		plain.URL = &url.URL{Path: path.String(), RawQuery: r.URL.RawQuery}
		next.ServeHTTP(w, plain)
	})
}
