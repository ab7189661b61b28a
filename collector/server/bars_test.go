package server_test

import (
	"bytes"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/server"
	"github.com/openalign/align/collector/store/sqlite"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// benchEvents is how large the benchmark gets; CI only looks whether it works.
var benchEvents = flag.Int("events", 10_000, "events of BenchmarkIngestOverHTTPAgainstBareLoop")

const benchBatch, benchClients = 50, 64

// benchRequest is one request of 50 messages of 240 bytes in two sessions.
func benchRequest(n int) *ingestionv1alpha.CollectEventsRequest {
	text := string(bytes.Repeat([]byte("Where is my order? "), 13))[:240]
	now := time.Now()
	req := &ingestionv1alpha.CollectEventsRequest{}
	for i := range benchBatch {
		e := evt(fmt.Sprintf("%012x7000%08x%08x", now.UnixMilli(), uint32(n*2654435761), i), timestamppb.New(now),
			says(fmt.Sprintf("session-%d-%d", n, i%2), int32(i+1), 1, text), nil)
		req.Events = append(req.Events, e)
	}
	return req
}

// BenchmarkIngestOverHTTPAgainstBareLoop sends requests of 50 events from 64 clients, over sockets and with the clients on
// the same machine, and by turns inserts the rows that this stores in a bare loop, 500 events a transaction, with the same
// driver, schema and durability. It reports
//
//	events/s  over HTTP
//	%facts    that, in percent of the bare loop's, when it inserts facts alone
//	%rows     the same when it inserts the messages too, and so the same rows
//	p99/p99   the 99th percentile of answers, over that of the bare loop's commits of the same rows
func BenchmarkIngestOverHTTPAgainstBareLoop(b *testing.B) {
	const turns = 5
	store, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "align.db"))
	if err != nil {
		b.Fatal(err)
	}
	key, kept, err := keys.New(project, collector.ScopeIngest)
	if err != nil {
		b.Fatal(err)
	}
	if err := store.CreateKey(b.Context(), kept); err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	web := httptest.NewUnstartedServer(server.New(store, server.Options{Logger: log}))
	web.Config = server.HTTP(web.Config.Handler, log)
	web.Start()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: benchClients}}
	facts, rows := bareTables(b), bareTables(b)
	requests := max(*benchEvents/benchBatch/turns, benchClients)
	for n := range b.N {
		var sent, insertedFacts, insertedRows time.Duration
		var answers, commits []time.Duration
		for turn := range turns {
			bodies := make([][]byte, requests)
			reqs := make([]*ingestionv1alpha.CollectEventsRequest, requests)
			for i := range bodies {
				reqs[i] = benchRequest((n*turns+turn)*requests + i)
				if bodies[i], err = proto.Marshal(reqs[i]); err != nil {
					b.Fatal(err)
				}
			}
			start := time.Now()
			answers = append(answers, sendAll(b, client, web.URL, key, bodies)...)
			sent += time.Since(start)
			start = time.Now()
			insertAll(b, facts, reqs, false)
			insertedFacts += time.Since(start)
			start = time.Now()
			commits = append(commits, insertAll(b, rows, reqs, true)...)
			insertedRows += time.Since(start)
		}
		slices.Sort(answers)
		slices.Sort(commits)
		b.ReportMetric(float64(turns*requests*benchBatch)/sent.Seconds(), "events/s")
		b.ReportMetric(100*insertedFacts.Seconds()/sent.Seconds(), "%facts")
		b.ReportMetric(100*insertedRows.Seconds()/sent.Seconds(), "%rows")
		b.ReportMetric(answers[len(answers)*99/100].Seconds()/commits[len(commits)*99/100].Seconds(), "p99/p99")
	}
	client.CloseIdleConnections()
	web.Close()
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

func sendAll(b *testing.B, client *http.Client, url, key string, bodies [][]byte) []time.Duration {
	work := make(chan int, len(bodies))
	for i := range bodies {
		work <- i
	}
	close(work)
	each := make([]time.Duration, len(bodies))
	var clients sync.WaitGroup
	for range benchClients {
		clients.Go(func() {
			for i := range work {
				start := time.Now()
				r, err := http.NewRequest(http.MethodPost, url+procedure, bytes.NewReader(bodies[i]))
				if err != nil {
					b.Error(err)
					return
				}
				r.Header.Set("Content-Type", typeProto)
				r.Header.Set("Authorization", "Bearer "+key)
				resp, err := client.Do(r)
				if err != nil {
					b.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK {
					b.Errorf("%s %v", resp.Status, err)
				}
				each[i] = time.Since(start)
			}
		})
	}
	clients.Wait()
	return each
}

// bareTables are the store's tables, with nothing around them.
func bareTables(b *testing.B) *sql.DB {
	file := filepath.Join(b.TempDir(), "bare.db")
	store, err := sqlite.Open(b.Context(), file)
	if err != nil {
		b.Fatal(err)
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+file+
		"?_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=cache_size(-65536)&_pragma=wal_autocheckpoint(4000)&_txlock=immediate")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	return db
}

func insertAll(b *testing.B, db *sql.DB, reqs []*ingestionv1alpha.CollectEventsRequest, messages bool) (commits []time.Duration) {
	fact, err := db.Prepare(`INSERT INTO facts (project, id, type, time, receive_time, event) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`)
	if err != nil {
		b.Fatal(err)
	}
	defer fact.Close()
	message, err := db.Prepare(`INSERT INTO messages (project, session_id, idx, role, content, time, properties, versions, event_time, event_id)
		VALUES (?, ?, ?, 'user', ?, ?, '', 1, ?, ?) ON CONFLICT DO NOTHING`)
	if err != nil {
		b.Fatal(err)
	}
	defer message.Close()
	for len(reqs) > 0 {
		n := min(500/benchBatch, len(reqs))
		start := time.Now()
		tx, err := db.Begin()
		if err != nil {
			b.Fatal(err)
		}
		fact, message := tx.Stmt(fact), tx.Stmt(message)
		for _, req := range reqs[:n] {
			for _, e := range req.Events {
				raw, err := proto.Marshal(e)
				if err != nil {
					b.Fatal(err)
				}
				at := e.CreateTime.AsTime().UnixNano()
				if _, err := fact.Exec("shop", e.Id, e.Type, at, at, raw); err != nil {
					b.Fatal(err)
				}
				if m := e.GetProperties().GetMessageProperties(); messages {
					if _, err := message.Exec("shop", m.SessionId, m.MessageIndexHint, m.MessageContent, at, at, e.Id); err != nil {
						b.Fatal(err)
					}
				}
			}
		}
		if err := tx.Commit(); err != nil {
			b.Fatal(err)
		}
		commits = append(commits, time.Since(start))
		reqs = reqs[n:]
	}
	return commits
}
