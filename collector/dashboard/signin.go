package dashboard

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/keys"
)

// Who may look. A browser signs in with a key of scope read or admin, or with a link that works once, and gets a cookie of 256
// random bits, of which the store keeps the hash. What it may see is read off that and its key at every request, so that a
// key that is revoked ends its sessions. This machine is no exception.

const (
	// LinkLifetime is how long a link waits to be used.
	LinkLifetime = time.Hour
	// loginLifetime is how long a browser stays signed in.
	loginLifetime = 7 * 24 * time.Hour
	// maxFormBytes bounds the body of a form.
	maxFormBytes = 64 << 10
	// maxSecretBytes bounds what is hashed for a stranger.
	maxSecretBytes = 256

	sessionCookie = "align_session"
	formCookie    = "align_form"
)

// visit is a request of a browser that is signed in.
type visit struct {
	login   collector.Login
	key     string // id of the key it signed in with; empty for a link
	secret  string // of its cookie
	Project string // that is looked at; empty while there is none
	// Projects are those that can be looked at.
	Projects []string
	Address  *url.URL
}

// Admin reports whether the browser may change things.
func (v *visit) Admin() bool { return v.login.Scope.Allows(collector.ScopeAdmin) }

// AllProjects reports whether it may look at every project, and make new ones.
func (v *visit) AllProjects() bool { return v.login.Project == "" }

// Token is what forms of this browser carry. It cannot be made without the cookie's secret, nor the other way around.
func (v *visit) Token() string { return tokenOf("form", v.secret) }

// Actor names who does something, for the audit.
func (v *visit) Actor() string {
	if v.key != "" {
		return "dashboard, key " + v.key
	}
	return "dashboard, link"
}

// Link makes a link that signs one browser in, once, within [LinkLifetime], and returns its address without scheme and host.
// An empty project is all of them.
func Link(ctx context.Context, store collector.SignIns, project string, scope collector.Scope) (address string, err error) {
	secret := newSecret()
	err = store.CreateLink(ctx, collector.Link{
		Hash: sha256.Sum256([]byte(secret)), Project: project, Scope: scope, ExpireTime: time.Now().Add(LinkLifetime),
	})
	return Path + "enter?link=" + secret, err
}

func newSecret() string {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	return base64.RawURLEncoding.EncodeToString(random[:])
}

// tokenOf is what can be shown of a secret, for one purpose.
func tokenOf(purpose, secret string) string {
	sum := sha256.Sum256([]byte(purpose + ":" + secret))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// visited calls a page's handler for a browser that is signed in and may see it; others get the sign-in page, or a refusal.
// Forms must carry their token.
func (d *Dashboard) visited(w http.ResponseWriter, r *http.Request, scope collector.Scope, h func(http.ResponseWriter, *http.Request, *visit) error) error {
	v, err := d.visitOf(r)
	if err != nil {
		return err
	}
	if v == nil {
		return d.showSignIn(w, r, "")
	}
	if err := d.mayVisit(w, r, v, scope); err != nil {
		d.failed(w, r, v, err)
		return nil
	}
	if err := h(w, r, v); err != nil {
		d.failed(w, r, v, err)
	}
	return nil
}

func (d *Dashboard) mayVisit(w http.ResponseWriter, r *http.Request, v *visit, scope collector.Scope) error {
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
		if err := r.ParseForm(); err != nil {
			return &refusal{http.StatusBadRequest, "This form cannot be read."}
		}
		if !equal(r.PostForm.Get("token"), v.Token()) {
			return &refusal{http.StatusForbidden, "This form is from another session. Open the page again."}
		}
	}
	if !v.login.Scope.Allows(scope) {
		return tooNarrow(scope)
	}
	project := r.FormValue("project")
	switch {
	case project == "" && len(v.Projects) > 0:
		v.Project = v.Projects[0]
	case project == "" || slices.Contains(v.Projects, project):
		v.Project = project
	default: // there is none, or it is another's; which of the two is not said
		v.Project = v.login.Project
		return &refusal{http.StatusNotFound, "There is no such project, or your key is not for it."}
	}
	return nil
}

// tooNarrow refuses what takes a key of another scope.
func tooNarrow(scope collector.Scope) *refusal {
	return &refusal{http.StatusForbidden, "The key you signed in with may only look. This needs one of scope " + string(scope) + "."}
}

// visitOf returns who a request is from, nil when nobody is signed in.
func (d *Dashboard) visitOf(r *http.Request) (*visit, error) {
	cookie, err := r.Cookie(d.cookieName(r, sessionCookie))
	if err != nil || len(cookie.Value) > maxSecretBytes {
		return nil, nil
	}
	login, err := d.store.LoginByHash(r.Context(), sha256.Sum256([]byte(cookie.Value)))
	if errors.Is(err, collector.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if !now.Before(login.ExpireTime) {
		return nil, nil
	}
	v := &visit{login: login, secret: cookie.Value, Address: r.URL}
	if login.Key != [32]byte{} {
		key, err := d.store.KeyByHash(r.Context(), login.Key)
		switch {
		case errors.Is(err, collector.ErrNotFound):
			return nil, nil
		case err != nil:
			return nil, err
		case key.Expired(now) || key.Project != login.Project || key.Scope != login.Scope:
			return nil, nil
		}
		v.key = key.ID()
	}
	v.Projects, err = d.projects(r.Context(), login.Project)
	return v, err
}

// projects lists those that there are keys of, or the one given.
func (d *Dashboard) projects(ctx context.Context, only string) (list []string, err error) {
	if only != "" {
		return []string{only}, nil
	}
	all, err := d.store.Keys(ctx, "")
	for _, key := range all {
		list = append(list, key.Project)
	}
	slices.Sort(list)
	return slices.Compact(list), err
}

// signInForm is what the sign-in page shows.
type signInForm struct {
	Token   string
	Link    string // what stands in the link it was opened with; empty for a key
	Next    string // where to go then
	Problem string
}

// showSignIn answers with the sign-in page. Whoever is not signed in gets no other.
func (d *Dashboard) showSignIn(w http.ResponseWriter, r *http.Request, problem string) error {
	next := Path
	if r.Method == http.MethodGet && !strings.HasPrefix(r.URL.Path, Path+"live/") {
		next = r.URL.RequestURI()
	}
	return d.signInPage(w, r, http.StatusUnauthorized, signInForm{Next: next, Problem: problem})
}

// signInPage answers with a form to sign in. Its token is told apart from others' by a cookie, because there is no session yet
// that it could belong to: without it another site could sign a browser in as somebody else.
func (d *Dashboard) signInPage(w http.ResponseWriter, r *http.Request, status int, form signInForm) error {
	secret := ""
	if cookie, err := r.Cookie(d.cookieName(r, formCookie)); err == nil && len(cookie.Value) == base64.RawURLEncoding.EncodedLen(32) {
		secret = cookie.Value
	} else {
		secret = newSecret()
		d.setCookie(w, r, formCookie, secret, 0)
	}
	form.Token = tokenOf("signin", secret)
	return d.render(w, status, "signin", nil, &view{Title: "Sign in", Data: form})
}

// showLink asks whoever opens a link to press a button: programs that look at links before people do must not use them up.
func (d *Dashboard) showLink(w http.ResponseWriter, r *http.Request) error {
	return d.signInPage(w, r, http.StatusOK, signInForm{Link: r.URL.Query().Get("link"), Next: Path})
}

// readSignIn reads a sign-in form, or answers with another.
func (d *Dashboard) readSignIn(w http.ResponseWriter, r *http.Request) (ok bool, err error) {
	if wait := d.attempts.wait(r.RemoteAddr, time.Now()); wait > 0 {
		w.Header().Set("Retry-After", seconds(wait))
		return false, d.signInPage(w, r, http.StatusTooManyRequests, signInForm{Next: Path, Problem: "Too many attempts from your address. Try again in a minute."})
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	if err := r.ParseForm(); err != nil {
		return false, &refusal{http.StatusBadRequest, "This form cannot be read."}
	}
	cookie, err := r.Cookie(d.cookieName(r, formCookie))
	if err != nil || !equal(r.PostForm.Get("token"), tokenOf("signin", cookie.Value)) {
		d.attempts.failed(r.RemoteAddr, time.Now())
		return false, d.signInPage(w, r, http.StatusForbidden, signInForm{Next: Path, Problem: "This form had expired, or your browser takes no cookies. Try again."})
	}
	return true, nil
}

// enterByLink signs a browser in with a link.
func (d *Dashboard) enterByLink(w http.ResponseWriter, r *http.Request) error {
	if ok, err := d.readSignIn(w, r); !ok {
		return err
	}
	secret := newSecret()
	link := sha256.Sum256([]byte(r.PostForm.Get("link")))
	login, err := d.store.RedeemLink(r.Context(), link, newLogin(secret))
	if errors.Is(err, collector.ErrNotFound) {
		d.attempts.failed(r.RemoteAddr, time.Now())
		d.log.WarnContext(r.Context(), "sign-in refused", "by", "link", "remote", r.RemoteAddr)
		return d.signInPage(w, r, http.StatusUnauthorized, signInForm{Next: Path,
			Problem: "This link was used already, or has expired. “align link” makes another."})
	}
	if err != nil {
		return err
	}
	d.log.InfoContext(r.Context(), "signed in", "by", "link", "scope", login.Scope, "remote", r.RemoteAddr)
	d.setCookie(w, r, sessionCookie, secret, loginLifetime)
	http.Redirect(w, r, Path, http.StatusSeeOther)
	return nil
}

// enterByKey signs a browser in with a key.
func (d *Dashboard) enterByKey(w http.ResponseWriter, r *http.Request) error {
	if ok, err := d.readSignIn(w, r); !ok {
		return err
	}
	next := d.localPath(r.PostForm.Get("next"))
	refused := func(problem string) error {
		d.attempts.failed(r.RemoteAddr, time.Now())
		d.log.WarnContext(r.Context(), "sign-in refused", "by", "key", "remote", r.RemoteAddr)
		return d.signInPage(w, r, http.StatusUnauthorized, signInForm{Next: next, Problem: problem})
	}
	given := strings.TrimSpace(r.PostForm.Get("key"))
	if given == "" || len(given) > maxSecretBytes {
		return refused("Give a key: it begins with " + keys.Prefix + "read_ or " + keys.Prefix + "admin_.")
	}
	key, err := d.store.KeyByHash(r.Context(), keys.Hash(given))
	switch {
	case errors.Is(err, collector.ErrNotFound):
		return refused("This key is not known here.")
	case err != nil:
		return err
	case key.Expired(time.Now()):
		return refused("This key has expired or was revoked.")
	case !key.Scope.Allows(collector.ScopeRead):
		return refused("This key may only send events. To look at them takes one of scope read or admin.")
	}
	secret := newSecret()
	login := newLogin(secret)
	login.Project, login.Scope, login.Key = key.Project, key.Scope, key.Hash
	if err := d.store.CreateLogin(r.Context(), login); err != nil {
		return err
	}
	d.store.UseKey(key.Hash, time.Now())
	d.log.InfoContext(r.Context(), "signed in", "by", "key", "key", key.ID(), "project", key.Project, "scope", key.Scope, "remote", r.RemoteAddr)
	d.setCookie(w, r, sessionCookie, secret, loginLifetime)
	http.Redirect(w, r, next, http.StatusSeeOther)
	return nil
}

func newLogin(secret string) collector.Login {
	now := time.Now()
	return collector.Login{Hash: sha256.Sum256([]byte(secret)), CreateTime: now, ExpireTime: now.Add(loginLifetime)}
}

// localPath is where a browser goes after it signed in: a page of ours, or beside ours, wherever it was told to go.
func (d *Dashboard) localPath(wish string) string {
	u, err := url.Parse(wish)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || strings.ContainsAny(wish, "\\\r\n") {
		return Path
	}
	if !strings.HasPrefix(path.Clean(u.Path)+"/", Path) && !d.isBeside(u.Path) {
		return Path
	}
	return u.RequestURI()
}

// signOut ends the session.
func (d *Dashboard) signOut(w http.ResponseWriter, r *http.Request, v *visit) error {
	if err := d.store.EndLogin(r.Context(), v.login.Hash); err != nil {
		return err
	}
	d.setCookie(w, r, sessionCookie, "", -time.Second)
	http.Redirect(w, r, Path, http.StatusSeeOther)
	return nil
}

// secure reports whether the browser's connection is encrypted as far as it knows.
func (d *Dashboard) secure(r *http.Request) bool {
	return r.TLS != nil || d.public != nil && d.public.Scheme == "https"
}

// cookieName has the prefix that keeps other hosts of the domain, and plain connections, from setting our cookie.
func (d *Dashboard) cookieName(r *http.Request, name string) string {
	if d.secure(r) {
		return "__Host-" + name
	}
	return name
}

// setCookie sets a cookie. Lifetime 0 is until the browser ends; below 0 takes it away. It comes along when a link elsewhere
// leads here, or no page could be sent to others, but not with forms from there.
func (d *Dashboard) setCookie(w http.ResponseWriter, r *http.Request, name, value string, lifetime time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: d.cookieName(r, name), Value: value, Path: "/", MaxAge: int(lifetime / time.Second),
		HttpOnly: true, Secure: d.secure(r), SameSite: http.SameSiteLaxMode,
	})
}
