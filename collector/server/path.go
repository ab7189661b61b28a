package server

import (
	"net/http"
	"net/url"
	"path"
	"strings"
)

// onePath makes a path plain: a run of slashes becomes one, because clients whose host ends with a slash post to
// "//ingestion…", and "." and ".." are resolved. The mux would answer either with a redirect, before any key is checked.
func onePath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		clean := path.Clean("/" + r.URL.Path)
		if strings.HasSuffix(r.URL.Path, "/") && clean != "/" {
			clean += "/"
		}
		if clean == r.URL.Path && r.URL.RawPath == "" {
			next.ServeHTTP(w, r)
			return
		}
		plain := r.WithContext(r.Context())
		plain.URL = &url.URL{Path: clean, RawQuery: r.URL.RawQuery}
		next.ServeHTTP(w, plain)
	})
}
