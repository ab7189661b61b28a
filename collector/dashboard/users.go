package dashboard

import (
	"context"
	"net/http"
	"time"

	"github.com/openalign/align/collector"
)

// Users, what is known of one, and erasing.

type userList struct {
	Text string
	Rows []collector.UserRow
	Next string
}

func (d *Dashboard) users(w http.ResponseWriter, r *http.Request, v *visit) error {
	q := r.URL.Query()
	list := userList{Text: q.Get("q")}
	if len(list.Text) > maxFilterBytes {
		return &refusal{http.StatusBadRequest, "What is looked for is too long."}
	}
	rows, next, err := d.store.Users(r.Context(), v.Project, list.Text, collector.Page{Size: listSize, Token: q.Get("page")})
	if err != nil {
		return err
	}
	list.Rows = rows
	if next != "" {
		list.Next = v.With("page", next)
	}
	return d.show(w, "users", v, &view{Title: "Users", Here: "users", Data: &list})
}

type userPage struct {
	collector.User
	Rows    []conversationRow
	Next    string
	Fields  []field
	Omitted int
	Problem string
}

func (d *Dashboard) user(w http.ResponseWriter, r *http.Request, v *visit) error {
	return d.userPage(w, r, v, http.StatusOK, r.URL.Query().Get("id"), "")
}

func (d *Dashboard) userPage(w http.ResponseWriter, r *http.Request, v *visit, status int, id, problem string) error {
	user, err := d.store.User(r.Context(), v.Project, id)
	if err != nil {
		return err
	}
	page := userPage{User: user, Problem: problem}
	room := maxTranscriptBytes
	page.Fields, page.Omitted = fieldsOf(user.Properties, &room)
	hits, next, err := d.store.Search(r.Context(), v.Project, collector.Query{UserID: id}, collector.Page{Size: listSize, Token: r.URL.Query().Get("page")}, 0)
	if err != nil {
		return err
	}
	if page.Rows, err = d.rowsOf(r, v, hits, time.Now()); err != nil {
		return err
	}
	if next != "" {
		page.Next = v.With("page", next)
	}
	return d.render(w, status, "user", v, &view{Title: "User", Here: "users", Data: &page})
}

// eraseUser erases a user, whose id must be typed in once more.
func (d *Dashboard) eraseUser(w http.ResponseWriter, r *http.Request, v *visit) error {
	id := r.PostForm.Get("id")
	if id == "" || r.PostForm.Get("confirm") != id {
		return d.userPage(w, r, v, http.StatusUnprocessableEntity, id, "Nothing was erased: what you typed is not this user's id.")
	}
	// Once begun it is brought to its end, whether or not the browser waits.
	erased, err := d.store.Erase(context.WithoutCancel(r.Context()), v.Project, id, v.Actor())
	if err != nil {
		return err
	}
	d.log.InfoContext(r.Context(), "user erased", "project", v.Project, "by", v.Actor(), "sessions", erased.Sessions, "messages", erased.Messages, "facts", erased.Facts)
	return d.show(w, "erased", v, &view{Title: "User erased", Here: "users", Data: erased})
}
