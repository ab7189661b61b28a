package export_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/export"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/server"
	"github.com/openalign/align/collector/store/sqlite"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

const signedURLs = "/data-export/v2/get-signed-urls"

func (w *world) key(scope collector.Scope) (secret string, key collector.Key) {
	w.t.Helper()
	secret, key, err := keys.New(project, scope)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.store.CreateKey(context.Background(), key); err != nil {
		w.t.Fatal(err)
	}
	return secret, key
}

// web is the world's server.
func (w *world) web() http.Handler {
	w.pinned = true
	return server.New(w.store, server.Options{Exports: w.Exporter, Logger: slog.New(slog.DiscardHandler)})
}

func ask(h http.Handler, method, path, body string, header map[string]string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://collector.example"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	return answer
}

// linked asks for a link as a client of Ultimate's export does, and returns its path.
func linked(t *testing.T, h http.Handler, body string, header map[string]string) string {
	t.Helper()
	answer := ask(h, http.MethodPost, signedURLs, body, header)
	var got struct {
		Date string   `json:"date"`
		URLs []string `json:"urls"`
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &got); err != nil || answer.Code != http.StatusOK || len(got.URLs) != 1 {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	path, ok := strings.CutPrefix(got.URLs[0], "http://collector.example")
	if !ok {
		t.Fatal(got.URLs)
	}
	return path
}

func TestUL1ATokenIsShownOnceAndRegeneratingItRevokesTheOldAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.say("s", 1, "Hello", 0)
		w.until("2026-03-02 01:00")
		h := w.web()
		old, kept := w.key(collector.ScopeRead)
		list, err := w.store.Keys(context.Background(), project)
		if err != nil || len(list) != 1 || strings.Contains(string(must(json.Marshal(list))), old) || strings.Contains(old, list[0].ID()) {
			t.Errorf("a list shows the token: %v %v", list, err)
		}
		header := map[string]string{"Authorization": old, "Organizationid": "org", "Botid": "*"}
		link := linked(t, h, `{"date":"2026-03-01"}`, header)
		if answer := ask(h, http.MethodGet, link, "", nil); answer.Code != http.StatusOK {
			t.Fatalf("%d %s", answer.Code, answer.Body)
		}
		fresh, key, err := keys.New(project, collector.ScopeRead)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.store.RotateKey(context.Background(), kept.Hash, key, time.Now()); err != nil {
			t.Fatal(err)
		}
		if answer := ask(h, http.MethodPost, signedURLs, `{"date":"2026-03-01"}`, header); answer.Code != http.StatusUnauthorized {
			t.Errorf("the old token: %d %s", answer.Code, answer.Body)
		}
		if answer := ask(h, http.MethodGet, link, "", nil); answer.Code != http.StatusForbidden {
			t.Errorf("a link that the old token was given: %d", answer.Code)
		}
		header["Authorization"] = fresh
		if answer := ask(h, http.MethodGet, linked(t, h, `{"date":"2026-03-01"}`, header), "", nil); answer.Code != http.StatusOK {
			t.Errorf("the new token: %d", answer.Code)
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestUL2SignedURLsAreGivenOutForADayAndWork(t *testing.T) {
	inWorld(t, func(w *world) {
		w.open("s", "ada", func(s *sessionProps) { s.Labels = []string{"vip"} })
		w.open("other bot", "ada", func(s *sessionProps) { s.AssistantId = "sales" })
		w.until("2026-03-02 01:00")
		h := w.web()
		read, _ := w.key(collector.ScopeRead)
		sends, _ := w.key(collector.ScopeIngest)
		good := map[string]string{"authorization": read, "organizationid": "org", "botid": "support"}
		but := func(name, value string) map[string]string {
			header := map[string]string{}
			for n, v := range good {
				header[n] = v
			}
			header[name] = value
			return header
		}
		for _, c := range []struct {
			name   string
			header map[string]string
			body   string
			status int
			want   string
		}{
			{"as documented", good, `{"date":"2026-03-01"}`, 200, `{"date":"2026-03-01","urls":["http`},
			{"with the scheme", but("authorization", "Bearer "+read), `{"date":"2026-03-01"}`, 200, `"urls"`},
			{"for some minutes", good, `{"date":"2026-03-01","ttl":10}`, 200, `"urls"`},
			{"no token", but("authorization", ""), `{"date":"2026-03-01"}`, 401, "unauthenticated"},
			{"a wrong token", but("authorization", "nonsense"), `{"date":"2026-03-01"}`, 401, "unauthenticated"},
			{"a token that only sends", but("authorization", sends), `{"date":"2026-03-01"}`, 403, "permission_denied"},
			{"no organisation", but("organizationid", ""), `{"date":"2026-03-01"}`, 401, "unauthorized"},
			{"no bot", but("botid", ""), `{"date":"2026-03-01"}`, 401, "unauthorized"},
			{"no date", good, `{}`, 400, "bad_request"},
			{"no JSON", good, `date`, 400, "bad_request"},
			{"no day", good, `{"date":"2026-02-30"}`, 400, "bad_request"},
			{"31 days back", good, `{"date":"2026-01-30"}`, 400, "too far back"},
			{"30 days back", good, `{"date":"2026-01-31"}`, 200, `"urls"`},
			{"no minutes", good, `{"date":"2026-03-01","ttl":0}`, 400, "ttl"},
			{"not over", good, `{"date":"2026-03-02"}`, 500, "not_final"},
		} {
			answer := ask(h, http.MethodPost, signedURLs, c.body, c.header)
			if answer.Code != c.status || !strings.Contains(answer.Body.String(), c.want) {
				t.Errorf("%s: %d %s, want %d %s", c.name, answer.Code, answer.Body, c.status, c.want)
			}
			if strings.Contains(answer.Body.String(), read) {
				t.Errorf("%s: the answer holds the token", c.name)
			}
		}
		link := linked(t, h, `{"date":"2026-03-01"}`, good)
		answer := ask(h, http.MethodGet, link, "", nil)
		if body := answer.Body.String(); answer.Code != 200 || !strings.Contains(body, `"labels":["vip"]`) || !strings.Contains(body, `"visitor_messages_count":"0"`) || strings.Contains(body, "sales") {
			t.Errorf("%d %s: want the bot's conversations, open, with counts as texts", answer.Code, body)
		}
		for name, forged := range map[string]string{
			"another day":    strings.Replace(link, "2026-03-01", "2026-02-28", 1),
			"another form":   strings.Replace(link, ".json", ".csv", 1),
			"another bot":    strings.Replace(link, "bot=support", "bot=sales", 1),
			"another time":   strings.Replace(link, "expires=1", "expires=2", 1),
			"another sum":    strings.Replace(link, "signature=", "signature=AAAA", 1),
			"no sum":         strings.Split(link, "&signature=")[0],
			"another's name": strings.Replace(link, "project=shop", "project=other", 1),
		} {
			if answer := ask(h, http.MethodGet, forged, "", nil); answer.Code != http.StatusForbidden && answer.Code != http.StatusUnauthorized {
				t.Errorf("%s: %d %s", name, answer.Code, answer.Body)
			}
		}
		short := linked(t, h, `{"date":"2026-03-01","ttl":10}`, good)
		time.Sleep(10*time.Minute + time.Second)
		if answer := ask(h, http.MethodGet, short, "", nil); answer.Code != http.StatusForbidden {
			t.Errorf("after its time: %d", answer.Code)
		}
		if answer := ask(h, http.MethodGet, link, "", nil); answer.Code != http.StatusOK {
			t.Errorf("within a day: %d", answer.Code)
		}
		time.Sleep(24 * time.Hour)
		if answer := ask(h, http.MethodGet, link, "", nil); answer.Code != http.StatusForbidden {
			t.Errorf("after a day: %d", answer.Code)
		}
	})
}

func TestExportServiceListsGetsAndVerifies(t *testing.T) {
	inWorld(t, func(w *world) {
		w.say("s", 1, "Hello", 0)
		w.until("2026-03-04 01:00")
		h := w.web()
		read, _ := w.key(collector.ScopeRead)
		bearer := map[string]string{"Authorization": "Bearer " + read}
		call := func(method, body string) (int, map[string]any) {
			answer := ask(h, http.MethodPost, "/align.v1.ExportService/"+method, body, bearer)
			var got map[string]any
			if err := json.Unmarshal(answer.Body.Bytes(), &got); err != nil {
				t.Fatal(method, answer.Body, err)
			}
			return answer.Code, got
		}
		if status, got := call("GetExport", `{"day":"2026-03-04"}`); status != http.StatusBadRequest && status != http.StatusPreconditionFailed || got["code"] != "failed_precondition" || !strings.Contains(got["message"].(string), "not_final") || !strings.Contains(got["message"].(string), "2026-03-05T01:00:00Z") {
			t.Errorf("%d %v", status, got)
		}
		if answer := ask(h, http.MethodGet, "/exports/v1/2026-03-04.json", "", bearer); answer.Code != http.StatusConflict || answer.Header().Get("Retry-After") != "86401" {
			t.Errorf("not final: %d %v", answer.Code, answer.Header())
		}
		status, got := call("GetExport", `{"day":"2026-03-03","format":"ndjson","compression":"gzip"}`)
		if status != 200 || got["manifest"].(map[string]any)["day"] != "2026-03-03" {
			t.Fatalf("%d %v", status, got)
		}
		if answer := ask(h, http.MethodGet, got["path"].(string), "", nil); answer.Code != 200 || answer.Header().Get("Content-Type") != "application/gzip" {
			t.Errorf("%d %v", answer.Code, answer.Header())
		}
		for _, body := range []string{`{"day":"yesterday"}`, `{"day":"2026-03-01","format":"xml"}`, `{"day":"2026-03-01","compat":"acro"}`, `{"day":"2026-03-01","late":true,"startsOn":true}`} {
			if status, got := call("GetExport", body); status != 400 || got["code"] != "invalid_argument" {
				t.Errorf("%s: %d %v", body, status, got)
			}
		}
		status, got = call("ListExports", `{"pageSize":2}`)
		if list := got["exports"].([]any); status != 200 || len(list) != 2 || got["nextPageToken"] != "2026-03-03" {
			t.Errorf("%d %v", status, got)
		}
		if _, got = call("ListExports", `{"pageToken":"2026-03-03"}`); len(got["exports"].([]any)) != 1 || got["nextPageToken"] != nil {
			t.Errorf("%v", got)
		}
		if status, got = call("VerifyExport", `{"day":"2026-03-01"}`); status != 200 || got["ok"] != true {
			t.Errorf("%d %v", status, got)
		}
		if status, got = call("GetExport", `{"day":"2026-03-01","startsOn":true}`); status != 200 || got["complete"] != true {
			t.Errorf("%d %v", status, got)
		}
		bearer["Authorization"] = "Bearer wrong"
		if answer := ask(h, http.MethodGet, "/exports/v1/2026-03-01.json", "", bearer); answer.Code != http.StatusUnauthorized {
			t.Errorf("a wrong key: %d", answer.Code)
		}
	})
}

// Whoever may read gets what is final, and what is due as time goes by. No question makes another day final, which would turn
// the history that an app imports later into late data.
func TestReadingMakesNoDayFinalWhoseTurnHasNotCome(t *testing.T) {
	inWorld(t, func(w *world) {
		w.say("today", 1, "Hello", 0)
		h := w.web()
		read, _ := w.key(collector.ScopeRead)
		bearer := map[string]string{"Authorization": "Bearer " + read}
		ultimate := map[string]string{"authorization": read, "organizationid": "org", "botid": "*"}
		check := func(when, date string, status int, word, links string) {
			t.Helper()
			for path, body := range map[string]string{"GetExport": `{"day":"` + date + `"}`, "VerifyExport": `{"day":"` + date + `"}`} {
				if answer := ask(h, http.MethodPost, "/align.v1.ExportService/"+path, body, bearer); (answer.Code == 200) != (status == 200) || status != 200 && !strings.Contains(answer.Body.String(), word) {
					t.Errorf("%s, %s of %s: %d %s, want %s", when, path, date, answer.Code, answer.Body, word)
				}
			}
			for _, name := range []string{".json", ".late.csv", ".starts_on.ndjson"} {
				if answer := ask(h, http.MethodGet, "/exports/v1/"+date+name, "", bearer); answer.Code != status {
					t.Errorf("%s, %s%s: %d %s, want %d", when, date, name, answer.Code, answer.Body, status)
				}
			}
			if answer := ask(h, http.MethodPost, signedURLs, `{"date":"`+date+`"}`, ultimate); !strings.Contains(answer.Body.String(), links) {
				t.Errorf("%s, links of %s: %d %s, want %s", when, date, answer.Code, answer.Body, links)
			}
		}
		final := func() (days []string) {
			list, err := w.Days(context.Background(), project, -1<<31, 1<<31-1, 1000)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range list {
				days = append(days, m.Day)
			}
			return days
		}
		for _, date := range []string{"2026-02-28", "2026-02-10", "2025-03-01"} {
			check("before the first day is over", date, 404, "no_files", map[bool]string{true: `"urls":[]`, false: "bad_request"}[date > "2026"])
		}
		check("before the first day is over", "2026-03-01", 409, "not_final", "not_final")
		if days := final(); days != nil {
			t.Fatalf("reading made %v final", days)
		}
		w.say("imported", 1, "Hello", 20*24*time.Hour)
		w.until("2026-03-02 01:00")
		h = w.web()
		check("after an import", "2026-02-08", 404, "no_files", `"urls":[]`)
		check("after an import", "2026-02-09", 200, "", `"urls":["http`)
		if got := ids(w.rows("2026-02-09")); got != "imported" {
			t.Errorf("the file of the day that was imported has %q", got)
		}
		check("on time", "2026-03-01", 200, "", `"urls":["http`)
		if days := final(); len(days) != 21 || days[0] != "2026-02-09" || days[20] != "2026-03-01" {
			t.Errorf("final: %v", days)
		}
		// The operator can.
		if err := w.Finalize(context.Background(), project, day("2026-02-01")); err != nil {
			t.Fatal(err)
		}
		check("by the operator", "2026-02-01", 200, "", `"urls":["http`)
	})
}

// Over a socket: ranges, conditions, and the same ETag from another process.
func TestUL20DownloadsHaveOneETagForEverAndCanBeResumed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "align.db")
	store, err := sqlite.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	ended := time.Now().AddDate(0, 0, -3)
	for i := range 300 {
		id := strings.Repeat("s", i+1)
		event := &ingestionv1alpha.Event{Id: id, Type: collector.TypeSessionOpen, CreateTime: timestamppb.New(ended), Properties: &props{
			ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: &sessionProps{SessionId: id}}}}
		if _, err := store.Append(t.Context(), project, collector.Batch{Facts: []collector.Fact{{ID: id, Event: event, Time: ended, ReceiveTime: ended}}}); err != nil {
			t.Fatal(err)
		}
	}
	secret, key, err := keys.New(project, collector.ScopeRead)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.CreateKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	var etags, bodies []string
	for range 2 {
		log := slog.New(slog.DiscardHandler)
		web := httptest.NewServer(server.New(store, server.Options{Exports: export.New(store, export.Config{Logger: log}), Logger: log}))
		url := web.URL + "/exports/v1/" + collector.DayOf(ended).String() + ".csv.gz"
		get := func(header ...string) *http.Response {
			t.Helper()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+secret)
			for i := 0; i < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
			answer, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			return answer
		}
		read := func(answer *http.Response) []byte {
			t.Helper()
			defer answer.Body.Close()
			return must(io.ReadAll(answer.Body))
		}
		answer := get()
		whole := read(answer)
		etag := answer.Header.Get("ETag")
		plain := must(io.ReadAll(must(gzip.NewReader(bytes.NewReader(whole)))))
		if answer.StatusCode != 200 || etag == "" || bytes.Count(plain, []byte("\n")) != 301 || answer.Header.Get("Content-Disposition") == "" {
			t.Fatalf("%s %v, %d lines", answer.Status, answer.Header, bytes.Count(plain, []byte("\n")))
		}
		rest := get("Range", "bytes=1000-", "If-Range", etag)
		if got := append(bytes.Clone(whole[:1000]), read(rest)...); rest.StatusCode != http.StatusPartialContent || !bytes.Equal(got, whole) {
			t.Errorf("the rest of it: %s", rest.Status)
		}
		same := get("If-None-Match", etag)
		if body := read(same); same.StatusCode != http.StatusNotModified || len(body) > 0 {
			t.Errorf("who has it: %s", same.Status)
		}
		other := get("Range", "bytes=1000-", "If-Range", `"another"`)
		if body := read(other); other.StatusCode != 200 || len(body) != len(whole) {
			t.Errorf("the rest of another: %s", other.Status)
		}
		etags, bodies = append(etags, etag), append(bodies, string(whole))
		web.Close()
	}
	if etags[0] != etags[1] || bodies[0] != bodies[1] {
		t.Errorf("ETags %v", etags)
	}
}
