package sqlite

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// The tables in CONTRIBUTING.md were made with
//
//	go test ./store/sqlite -run '^$' -bench 'Search|IngestWhile|IndexLag' -benchtime 1x -events 200000 -messages 1000000 -timeout 1h

// benchDialogues are real ones where they are at hand, else made up: the texts of their messages.
func benchDialogues(b *testing.B) (list [][]string) {
	b.Helper()
	f, err := os.Open("../../../../shared/data/dialogues.jsonl.gz")
	if err != nil {
		for n := range 500 {
			var texts []string
			for i := range 12 {
				texts = append(texts, fmt.Sprintf("Where is my order %d? I have waited for it since the %dth, and the tracking page has not moved at all.", n, i))
			}
			list = append(list, texts)
		}
		return list
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewScanner(unzipped)
	for lines.Buffer(nil, 1<<20); lines.Scan(); {
		var one struct{ Turns []struct{ Text string } }
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			b.Fatal(err)
		}
		var texts []string
		for _, turn := range one.Turns {
			texts = append(texts, turn.Text)
		}
		list = append(list, texts)
	}
	if err := lines.Err(); err != nil {
		b.Fatal(err)
	}
	return list
}

// varied changes a text such that no two are the same: its numbers are others, and now and then it has a word more, of which
// most are rare.
func varied(r *rand.Rand, text string) string {
	text = strings.Map(func(c rune) rune {
		if '0' <= c && c <= '9' {
			return rune('0' + r.IntN(10))
		}
		return c
	}, text)
	if r.IntN(4) > 0 {
		return text
	}
	return fmt.Sprintf("%s Ref word%d.", text, int(1e5*r.Float64()*r.Float64()*r.Float64()*r.Float64()))
}

// conversationFacts is the n-th conversation.
func conversationFacts(dialogues [][]string, n int) []collector.Fact {
	r := rand.New(rand.NewPCG(4, uint64(n)))
	at := time.Unix(1_700_000_000, 0).Add(time.Duration(n) * 7 * time.Second)
	session := fmt.Sprintf("session-%d", n)
	var facts []collector.Fact
	add := func(kind string, props *ingestionv1alpha.EventProperties) {
		at = at.Add(time.Second)
		id := fmt.Sprintf("%012x7000%08x%08x", at.UnixMilli(), n, len(facts))
		e := &ingestionv1alpha.Event{Id: id, Type: kind, CreateTime: timestamppb.New(at), Properties: props}
		facts = append(facts, collector.Fact{ID: id, Event: e, Time: at, ReceiveTime: at})
	}
	add(collector.TypeSessionOpen, &ingestionv1alpha.EventProperties{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{
		SessionProperties: &ingestionv1alpha.EventProperties_SessionProperties{SessionId: session, UserId: fmt.Sprintf("user-%d", n%1000), AssistantId: "support"}}})
	for i, text := range dialogues[n%len(dialogues)] {
		add(collector.TypeMessageCreate, &ingestionv1alpha.EventProperties{ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{
			MessageProperties: &ingestionv1alpha.EventProperties_MessageProperties{SessionId: session, MessageIndexHint: int32(i + 1), MessageRole: 1, MessageContent: varied(r, text)}}})
	}
	return facts
}

// BenchmarkSearchText searches a million messages. It reports medians in milliseconds: the first page of 50 for words that
// many messages have, for some, few and none; page 1,000 of the first; ranked; a page beside a filter; a count; and how
// fast the index was filled and is scrubbed.
func BenchmarkSearchText(b *testing.B) {
	dialogues := benchDialogues(b)
	for range b.N {
		s, err := Open(b.Context(), filepath.Join(b.TempDir(), "align.db"))
		if err != nil {
			b.Fatal(err)
		}
		s.words.mu.Lock() // filled later, to see how fast that is
		messages, n := 0, 0
		for messages < *benchMessages {
			var batches [][]collector.Fact
			for range 500 {
				facts := conversationFacts(dialogues, n)
				batches = append(batches, facts)
				messages += len(facts) - 1
				n++
			}
			appendAll(b, s, batches)
		}
		s.words.mu.Unlock()
		start := time.Now()
		if err := s.CatchUp(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(messages)/time.Since(start).Seconds(), "filled/s")
		if info, err := os.Stat(s.words.file); err == nil {
			b.ReportMetric(float64(info.Size())/float64(messages), "index-B/message")
		}
		ms := func(name string, query collector.Query, page collector.Page) (next string) {
			b.ReportMetric(micros(b, func(int) (err error) {
				_, next, err = s.Search(b.Context(), "shop", query, page, 0)
				return err
			})/1e3, name+"-ms")
			return next
		}
		page := collector.Page{Size: 50}
		ms("no-text", collector.Query{}, page)
		ms("user", collector.Query{UserID: "user-7"}, page)
		ms("the", collector.Query{Text: "the"}, page)
		ms("two", collector.Query{Text: "restaurant reservation"}, page)
		ms("phrase", collector.Query{Text: `"in the morning"`}, page)
		ms("rare", collector.Query{Text: "word99999 OR word77777"}, page)
		ms("none", collector.Query{Text: "nobodysaysso"}, page)
		ms("prefix", collector.Query{Text: "restau*"}, page)
		ms("prefix2", collector.Query{Text: "th*"}, page)
		ms("prefix3", collector.Query{Text: "the*"}, page)
		ms("not", collector.Query{Text: "the -you"}, page)
		ms("ranked", collector.Query{Text: "restaurant reservation", Ranked: true}, page)
		ms("ranked-the", collector.Query{Text: "the OR reservation", Ranked: true}, page)
		ms("user-the", collector.Query{Text: "the", UserID: "user-7"}, page)
		for text, name := range map[string]string{"the": "the-page1000", "restaurant reservation": "two-page1000", "": "no-text-page1000"} {
			deep := page
			for range min(999, n/50-2) {
				if _, deep.Token, err = s.Search(b.Context(), "shop", collector.Query{Text: text}, deep, 0); err != nil {
					b.Fatal(err)
				}
				if deep.Token == "" {
					break
				}
			}
			ms(name, collector.Query{Text: text}, deep)
		}
		from := time.Now()
		if _, _, err := s.Search(b.Context(), "shop", collector.Query{Text: "the"}, page, min(collector.MaxOffset, n/2)); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(from).Seconds()*1e3, "offset10000-ms")
		from = time.Now()
		if _, _, err := s.Count(b.Context(), "shop", collector.Query{Text: "the"}); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(from).Seconds()*1e3, "count-ms")
		from = time.Now()
		if err := s.words.merge(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(from).Seconds(), "merge-s")
		ms("the-merged", collector.Query{Text: "the"}, page)
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIngestWhileIndexing stores events from 64 clients by turns with the filling of the index on and off; on, there is
// always something to fill in. It reports the median of events a second, on in percent of off.
func BenchmarkIngestWhileIndexing(b *testing.B) {
	const turns = 20
	dialogues := benchDialogues(b)
	for range b.N {
		s, err := Open(b.Context(), filepath.Join(b.TempDir(), "align.db"))
		if err != nil {
			b.Fatal(err)
		}
		var took [2][]time.Duration // an event
		n := 0
		for turn := range 2 * turns {
			var batches [][]collector.Fact
			size := 0
			for size < *benchEvents/turns {
				var batch []collector.Fact
				for len(batch) < benchBatch {
					batch = append(batch, conversationFacts(dialogues, n)...)
					n++
				}
				batches = append(batches, batch)
				size += len(batch)
			}
			off := turn % 2
			if off == 1 {
				s.words.mu.Lock()
			}
			d, _ := appendAll(b, s, batches)
			if off == 1 {
				s.words.mu.Unlock()
			}
			took[off] = append(took[off], d/time.Duration(size))
		}
		on, off := quantile(took[0], .5), quantile(took[1], .5)
		b.ReportMetric(1/off.Seconds(), "events/s-off")
		b.ReportMetric(100*off.Seconds()/on.Seconds(), "%off")
		b.ReportMetric(float64(s.Stats().UnindexedMessages), "unindexed")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIndexLag stores 5,000 messages a second for a while, and reports how far the index was behind at most.
func BenchmarkIndexLag(b *testing.B) {
	dialogues := benchDialogues(b)
	for range b.N {
		s, err := Open(b.Context(), filepath.Join(b.TempDir(), "align.db"))
		if err != nil {
			b.Fatal(err)
		}
		most, waiting, sent, n := time.Duration(0), 0, 0, 0
		tick := time.NewTicker(10 * time.Millisecond)
		for start := time.Now(); sent < *benchEvents; <-tick.C {
			for due := int(5000 * time.Since(start).Seconds()); sent < due; n++ {
				facts := conversationFacts(dialogues, n)
				if _, err := s.Append(context.Background(), "shop", collector.Batch{Facts: facts}); err != nil {
					b.Fatal(err)
				}
				sent += len(facts) - 1
			}
			stats := s.Stats()
			most, waiting = max(most, stats.IndexLag), max(waiting, stats.UnindexedMessages)
		}
		tick.Stop()
		b.ReportMetric(most.Seconds(), "lag-s")
		b.ReportMetric(float64(waiting), "unindexed")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
