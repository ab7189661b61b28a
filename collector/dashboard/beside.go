package dashboard

import (
	"context"
	"net/http"
	"path"
	"slices"

	"github.com/openalign/align/collector"
)

// Pages of others on the same host, which the same sign-in opens. The demo has one.

// Beside is such a page.
type Beside struct {
	// Name is what the navigation calls it.
	Name string
	// Path is where it is, such as /demo.
	Path string
}

func (d *Dashboard) isBeside(address string) bool {
	return slices.ContainsFunc(d.beside, func(b Beside) bool { return b.Path == path.Clean(address) })
}

// Asset is the address of a file that pages here load, such as style.css, for pages beside them that look the same. It is
// empty for what there is not.
func Asset(name string) string { return assetNames[name] }

// Visitor is a browser that is signed in.
type Visitor struct {
	// ID tells browsers apart, from one sign-in to the next: 43 letters, digits, - and _. It says nothing of the cookie.
	ID string
	// Token is what forms of this browser carry in their field "token", here as on the dashboard.
	Token string
}

// Sent reports whether a form, which must have been parsed, carries the visitor's token: whether a page made it that was made
// for this browser.
func (v *Visitor) Sent(r *http.Request) bool { return equal(r.PostForm.Get("token"), v.Token) }

// VisitorFrom returns whom [Dashboard.SignedIn] let through, nil where it did not.
func VisitorFrom(ctx context.Context) *Visitor {
	v, _ := ctx.Value(visitorKey{}).(*Visitor)
	return v
}

type visitorKey struct{}

// SignedIn lets browsers through to next that are signed in here, for the project and with the scope; next finds them with
// [VisitorFrom]. Others get the sign-in page with 401, or a refusal, and so does what pages of other origins send. Answers have
// the headers of all pages here, the strict policy among them. Forms are next's to read, and to hold against [Visitor.Sent].
func (d *Dashboard) SignedIn(project string, scope collector.Scope, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protect(w.Header())
		if err := d.origins.Check(r); err != nil {
			d.failed(w, r, nil, foreignForm)
			return
		}
		v, err := d.visitOf(r)
		if err == nil && v == nil {
			err = d.showSignIn(w, r, "")
			if err == nil {
				return
			}
		}
		switch {
		case err != nil:
			d.failed(w, r, nil, err)
		case !slices.Contains(v.Projects, project): // it may be another's; whether it is there is not said
			v.Project = v.login.Project
			d.failed(w, r, v, errNoPage)
		case !v.login.Scope.Allows(scope):
			v.Project = project
			d.failed(w, r, v, tooNarrow(scope))
		default:
			visitor := &Visitor{ID: tokenOf("visitor", v.secret), Token: v.Token()}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitorKey{}, visitor)))
		}
	})
}
