package dashboard

import (
	"context"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/keys"
)

// Projects and keys. A key is shown once, in the answer to the form that made it.

const (
	// maxProjectRunes bounds the names of projects that are made here.
	maxProjectRunes = 64
	// maxOverlap is how long a key that was rotated may work on.
	maxOverlap = 30 * 24 * time.Hour
)

type settingsPage struct {
	Keys    []keyRow
	Secret  string // of a key that was just made
	Made    collector.Key
	Problem string
	Done    string
	Audit   []collector.AuditLine
	Agents  []string // that can be chatted with
}

type keyRow struct {
	collector.Key
	Ended bool
}

func (d *Dashboard) settings(w http.ResponseWriter, r *http.Request, v *visit) error {
	return d.settingsPage(w, r, v, http.StatusOK, settingsPage{})
}

func (d *Dashboard) settingsPage(w http.ResponseWriter, r *http.Request, v *visit, status int, page settingsPage) error {
	page.Agents = d.agents
	if v.Project != "" {
		list, err := d.store.Keys(r.Context(), v.Project)
		if err != nil {
			return err
		}
		now := time.Now()
		for _, key := range list {
			page.Keys = append(page.Keys, keyRow{key, key.Expired(now)})
		}
		if v.Admin() {
			if page.Audit, err = d.store.Audit(r.Context(), v.Project); err != nil {
				return err
			}
			if n := len(page.Audit) - listSize; n > 0 {
				page.Audit = page.Audit[n:]
			}
		}
	}
	return d.render(w, status, "settings", v, &view{Title: "Settings", Here: "settings", Data: &page})
}

func (d *Dashboard) createKey(w http.ResponseWriter, r *http.Request, v *visit) error {
	project := v.Project
	if name := strings.TrimSpace(r.PostForm.Get("name")); name != "" {
		if !v.AllProjects() {
			return &refusal{http.StatusForbidden, "New projects are made by whoever came by link, or on the command line."}
		}
		project = name
	}
	if project == "" || !utf8.ValidString(project) || utf8.RuneCountInString(project) > maxProjectRunes {
		return d.settingsPage(w, r, v, http.StatusUnprocessableEntity, settingsPage{Problem: "A project has a name of 1 to 64 characters."})
	}
	secret, key, err := keys.New(project, collector.Scope(r.PostForm.Get("scope")))
	if err != nil {
		return d.settingsPage(w, r, v, http.StatusUnprocessableEntity, settingsPage{Problem: "A key has one of the scopes ingest, read, chat and admin."})
	}
	if err := d.store.CreateKey(r.Context(), key); err != nil {
		return err
	}
	d.log.InfoContext(r.Context(), "key made", "key", key.ID(), "project", project, "scope", key.Scope, "by", v.Actor())
	return d.shown(w, r, v, project, secret, key)
}

// shown shows a key that was just made.
func (d *Dashboard) shown(w http.ResponseWriter, r *http.Request, v *visit, project, secret string, key collector.Key) (err error) {
	v.Project = project
	if v.Projects, err = d.projects(r.Context(), v.login.Project); err != nil {
		return err
	}
	return d.settingsPage(w, r, v, http.StatusOK, settingsPage{Secret: secret, Made: key})
}

func (d *Dashboard) rotateKey(w http.ResponseWriter, r *http.Request, v *visit) error {
	old, err := d.workingKey(r.Context(), v, r.PostForm.Get("key"))
	if err != nil {
		return err
	}
	overlap, err := time.ParseDuration(r.PostForm.Get("overlap"))
	if err != nil || overlap < 0 || overlap > maxOverlap {
		return d.settingsPage(w, r, v, http.StatusUnprocessableEntity, settingsPage{Problem: "The old key can work on for 0 to 30 days."})
	}
	secret, key, err := keys.New(old.Project, old.Scope)
	if err != nil {
		return err
	}
	if err := d.store.RotateKey(r.Context(), old.Hash, key, time.Now().Add(overlap)); err != nil {
		return err
	}
	d.log.InfoContext(r.Context(), "key rotated", "key", old.ID(), "new", key.ID(), "project", old.Project, "by", v.Actor())
	return d.shown(w, r, v, old.Project, secret, key)
}

func (d *Dashboard) revokeKey(w http.ResponseWriter, r *http.Request, v *visit) error {
	key, err := d.workingKey(r.Context(), v, r.PostForm.Get("key"))
	if err != nil {
		return err
	}
	if err := d.store.ExpireKey(r.Context(), key.Hash, time.Now()); err != nil {
		return err
	}
	d.log.InfoContext(r.Context(), "key revoked", "key", key.ID(), "project", key.Project, "by", v.Actor())
	return d.settingsPage(w, r, v, http.StatusOK, settingsPage{Done: "Key " + key.ID() + " works no more."})
}

// workingKey returns the key of the project with that id, if it still works.
func (d *Dashboard) workingKey(ctx context.Context, v *visit, id string) (collector.Key, error) {
	if v.Project == "" {
		return collector.Key{}, collector.ErrNotFound
	}
	list, err := d.store.Keys(ctx, v.Project)
	if err != nil {
		return collector.Key{}, err
	}
	for _, key := range list {
		if key.ID() == id && !key.Expired(time.Now()) {
			return key, nil
		}
	}
	return collector.Key{}, collector.ErrNotFound
}
