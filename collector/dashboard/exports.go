package dashboard

import (
	"net/http"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/export"
)

// The files of the daily export. They are final: what is shown of a day never changes.

type exportsPage struct {
	Days []exportDay
	Next string // address of the days before these; empty when there are none
}

type exportDay struct {
	*export.Manifest
	At    time.Time
	Files []exportFile
}

type exportFile struct {
	export.ManifestFile
	Name, Link string
	Late       bool
}

const exportsAtOnce = 31

func (d *Dashboard) exportsPage(w http.ResponseWriter, r *http.Request, v *visit) error {
	to := collector.DayOf(time.Now())
	if wish := r.URL.Query().Get("to"); wish != "" {
		var err error
		if to, err = collector.ParseDay(wish); err != nil {
			return &refusal{http.StatusBadRequest, "A day is written like 2026-03-31."}
		}
	}
	days, err := d.exports.Days(r.Context(), v.Project, 0, to, -exportsAtOnce-1)
	if err != nil {
		return err
	}
	var page exportsPage
	if len(days) > exportsAtOnce {
		days = days[len(days)-exportsAtOnce:]
		first, err := collector.ParseDay(days[0].Day)
		if err != nil {
			return err
		}
		page.Next = v.To("exports", "to", (first - 1).String())
	}
	for i := len(days) - 1; i >= 0; i-- {
		day, err := collector.ParseDay(days[i].Day)
		if err != nil {
			return err
		}
		one := exportDay{Manifest: days[i], At: day.Start()}
		for _, file := range days[i].Files {
			variant, err := export.ParseName(file.Name)
			if err != nil || variant.Late && days[i].LateRows == 0 {
				continue
			}
			one.Files = append(one.Files, exportFile{ManifestFile: file, Name: string(variant.Format), Late: variant.Late, Link: v.To("exports/file", "name", file.Name)})
		}
		page.Days = append(page.Days, one)
	}
	return d.show(w, "exports", v, &view{Title: "Exports", Here: "exports", Data: &page})
}

// exportFile sends a file. The server's own limit is for answers that are made at once, so every piece has one of its own.
func (d *Dashboard) exportFile(w http.ResponseWriter, r *http.Request, v *visit) error {
	variant, err := export.ParseName(r.URL.Query().Get("name"))
	if err != nil {
		return collector.ErrNotFound
	}
	// Whether there is one already: asking for it makes a day final, and to look must change nothing.
	switch there, err := d.exports.Days(r.Context(), v.Project, variant.Day, variant.Day, 1); {
	case err != nil:
		return err
	case len(there) == 0:
		return &refusal{http.StatusNotFound, "There is no such file, or not yet."}
	}
	w.Header().Set("Content-Type", variant.MediaType())
	w.Header().Set("Content-Disposition", `attachment; filename="`+variant.Name()+`"`)
	if _, err := d.exports.Write(r.Context(), patient{w, http.NewResponseController(w)}, v.Project, variant); err != nil {
		d.log.ErrorContext(r.Context(), "a file could not be sent to its end", "error", err)
		panic(http.ErrAbortHandler) // so that nobody takes half of it for all of it
	}
	return nil
}

// patient gives a browser time for each piece.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (p patient) Write(b []byte) (int, error) {
	if err := p.control.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	return p.ResponseWriter.Write(b)
}
