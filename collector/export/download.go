package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"connectrpc.com/connect"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/reply"
)

// KeyFinder finds keys by project; a [collector.Store] does.
type KeyFinder interface {
	Keys(ctx context.Context, project string) ([]collector.Key, error)
}

// Download serves files at [LinkPath]: to who has a link, and through withKey, which asks for a read key, to who has that.
// Ranges work, and so do If-Range and If-None-Match with the ETag, which is of the file's bytes and so stays the same.
func Download(e *Exporter, finder KeyFinder, log *slog.Logger, withKey func(http.Handler) http.Handler) http.Handler {
	d := &download{e, finder, log}
	keyed := withKey(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, _ := keys.FromContext(r.Context())
		v, err := ParseName(r.PathValue("name"))
		if err != nil || key.Project == "" {
			reply.Error(w, http.StatusNotFound, connect.CodeNotFound, "there is no such file")
			return
		}
		v.Bot = r.URL.Query().Get("bot")
		d.serve(w, r, key.Project, v)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			reply.Error(w, http.StatusMethodNotAllowed, connect.CodeUnimplemented, "use GET")
			return
		}
		if r.URL.Query().Get("signature") == "" {
			keyed.ServeHTTP(w, r)
			return
		}
		d.linked(w, r)
	})
}

type download struct {
	*Exporter
	finder KeyFinder
	log    *slog.Logger
}

// linked serves who has a link.
func (d *download) linked(w http.ResponseWriter, r *http.Request) {
	l, err := d.follow(r.Context(), r.PathValue("name"), r.URL.Query())
	if err == nil {
		err = d.works(r.Context(), &l)
	}
	var v Variant
	if err == nil {
		v, err = ParseName(l.name)
	}
	switch {
	case errors.Is(err, errLink) || errors.Is(err, ErrVariant):
		reply.Error(w, http.StatusForbidden, connect.CodePermissionDenied, "this link has expired, or is none: ask for another")
		return
	case err != nil:
		d.failed(w, r, err)
		return
	}
	v.Bot = l.bot
	d.serve(w, r, l.project, v)
}

// works returns errLink unless the key works still that a link was made with.
func (d *download) works(ctx context.Context, l *link) error {
	list, err := d.finder.Keys(ctx, l.project)
	if err != nil {
		return err
	}
	for i := range list {
		if list[i].ID() == l.key && !list[i].Expired(time.Now()) {
			return nil
		}
	}
	return errLink
}

// serve answers with a file. It is made on the disk first: its length and ETag come before its bytes, and a client may ask
// for any part of it, as slowly as it likes.
func (d *download) serve(w http.ResponseWriter, r *http.Request, project string, v Variant) {
	file, err := os.CreateTemp("", "align-export-")
	if err != nil {
		d.failed(w, r, err)
		return
	}
	defer file.Close()
	// Where files that are open can be removed nobody else gets to see it, whatever becomes of this process.
	removed := os.Remove(file.Name()) == nil
	if !removed {
		defer os.Remove(file.Name())
	}
	sum := sha256.New()
	if _, err := d.Write(r.Context(), io.MultiWriter(file, sum), project, v); err != nil {
		d.failed(w, r, err)
		return
	}
	if v.StartsOn {
		span, err := d.StartsOn(r.Context(), project, v.Day)
		if err != nil {
			d.failed(w, r, err)
			return
		}
		w.Header().Set("Align-Days-After", strconv.Itoa(span.After))
		w.Header().Set("Align-Complete", strconv.FormatBool(span.Complete))
	}
	w.Header().Set("Content-Type", v.MediaType())
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", v.Name()))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "private, no-cache") // whose copy is the same is told so
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum.Sum(nil))+`"`)
	http.ServeContent(w, r, "", time.Time{}, file)
}

// failed answers a request for which there is no file.
func (d *download) failed(w http.ResponseWriter, r *http.Request, err error) {
	early, ok := errors.AsType[*NotFinalError](err)
	switch {
	case ok:
		RetryAt(w, early)
		reply.Error(w, http.StatusConflict, connect.CodeFailedPrecondition, early.Error())
	case errors.Is(err, ErrNoFiles):
		reply.Error(w, http.StatusNotFound, connect.CodeNotFound, err.Error())
	case r.Context().Err() != nil: // nobody reads it
		reply.Error(w, http.StatusServiceUnavailable, connect.CodeCanceled, "the request was given up")
	default:
		d.log.ErrorContext(r.Context(), "export failed", "error", err)
		reply.Error(w, http.StatusServiceUnavailable, connect.CodeUnavailable, "files cannot be made or read right now; try again")
	}
}

// RetryAt says when files will be there.
func RetryAt(w http.ResponseWriter, early *NotFinalError) {
	w.Header().Set("Retry-After", strconv.FormatInt(int64(time.Until(early.Final)/time.Second)+1, 10))
}
