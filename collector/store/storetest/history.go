package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// histories is how many random histories a property is tested with, unless the environment says otherwise.
const histories = 200

// Histories returns how many random histories a property is to be tested with: ALIGN_TEST_HISTORIES, which CI sets to 1,000.
func Histories() int {
	if n, err := strconv.Atoi(os.Getenv("ALIGN_TEST_HISTORIES")); err == nil && n > 0 {
		return n
	}
	return histories
}

// History is a random history: facts of all types about few things at few moments, so that most of them meet.
type History struct {
	Facts  []collector.Fact // in order of time, each once
	random *rand.Rand
}

// NewHistory returns the n-th history, always the same.
func NewHistory(n uint64) *History {
	r := rand.New(rand.NewPCG(2, n))
	facts := history(r)
	slices.SortFunc(facts, func(a, b collector.Fact) int {
		return collector.Order{Time: a.Time, ID: a.ID}.Compare(collector.Order{Time: b.Time, ID: b.ID})
	})
	return &History{facts, r}
}

// Told returns the facts in any order, some more than once, in batches of any size.
func (h *History) Told() (batches [][]collector.Fact) {
	told := slices.Clone(h.Facts)
	for range h.random.IntN(len(h.Facts) + 1) {
		told = append(told, h.Facts[h.random.IntN(len(h.Facts))])
	}
	h.random.Shuffle(len(told), func(i, j int) { told[i], told[j] = told[j], told[i] })
	for len(told) > 0 {
		n := 1 + h.random.IntN(len(told))
		batches = append(batches, told[:n:n])
		told = told[n:]
	}
	return batches
}

// testViewsDoNotDependOnArrival tells random histories twice: in order and once, and shuffled, with repetitions, in
// batches of any size from several senders at a time. Both must show what the model derives from the whole.
func testViewsDoNotDependOnArrival(t *testing.T, s *store) {
	for n := range uint64(Histories()) {
		r := rand.New(rand.NewPCG(1, n))
		facts := history(r)
		want := model(facts)

		// Most histories only go the hard way: going in order as well says who is wrong when both are.
		if n%10 == 0 {
			project := fmt.Sprintf("ordered-%d", n)
			if _, err := s.Append(context.Background(), project, collector.Batch{Facts: facts}); err != nil {
				t.Fatal(err)
			}
			equal(t, fmt.Sprintf("history %d in order", n), s.views(project), want)
		}
		project := fmt.Sprintf("shuffled-%d", n)
		tell(t, s, r, project, facts)
		equal(t, fmt.Sprintf("history %d shuffled", n), s.views(project), want)
		if t.Failed() {
			return
		}
	}
}

// tell appends facts shuffled, some of them again, split at random, by several senders. It checks that each fact was new
// exactly once.
func tell(t *testing.T, s *store, r *rand.Rand, project string, facts []collector.Fact) {
	t.Helper()
	told := append([]collector.Fact(nil), facts...)
	for range r.IntN(len(facts) + 1) {
		told = append(told, facts[r.IntN(len(facts))])
	}
	r.Shuffle(len(told), func(i, j int) { told[i], told[j] = told[j], told[i] })

	var (
		senders sync.WaitGroup
		mu      sync.Mutex
		sum     collector.Appended // guarded by mu
	)
	send := func(batch []collector.Fact) {
		got, err := s.Append(context.Background(), project, collector.Batch{Facts: batch})
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		sum.Stored += got.Stored
		sum.Duplicate += got.Duplicate
	}
	for all := told; len(all) > 0; {
		n := 1 + r.IntN(len(all))
		batch := all[:n]
		all = all[n:]
		senders.Go(func() { send(batch) })
		if r.IntN(4) == 0 {
			senders.Wait()
		}
	}
	senders.Wait()
	if want := (collector.Appended{Stored: len(facts), Duplicate: len(told) - len(facts)}); sum != want {
		t.Errorf("senders were told %+v in sum, want %+v", sum, want)
	}
}

var historyUsers = []string{"ada", "bob", "eve"}

// manyProperties is as many as make the views of most histories, in which each fact has some hundreds, drop some.
const manyProperties = collector.MaxProperties + 500

// history returns facts about few things at few moments, so that most of them meet, and many have the same time.
func history(r *rand.Rand) []collector.Fact {
	facts := make([]collector.Fact, 1+r.IntN(24))
	custom := properties
	if r.IntN(20) == 0 {
		custom = lotsOfProperties
	}
	// Ids are unique, and in no order.
	for i, id := range r.Perm(len(facts)) {
		facts[i] = randomFact(r, "id-"+strconv.Itoa(id), custom(r))
	}
	return facts
}

func randomFact(r *rand.Rand, id string, custom []string) collector.Fact {
	at := r.IntN(6)
	session := pick(r, "s1", "s2", "s3")
	switch r.IntN(8) {
	case 0:
		return opened(id, at, described(r, &sessionProperties{SessionId: session, UserId: pick(r, append(historyUsers, "")...),
			SessionStartTime: moment(r), MessageCount: transcriptEnd(r)}), custom...)
	case 1:
		return closed(id, at, described(r, &sessionProperties{SessionId: session, SessionEndTime: moment(r), MessageCount: transcriptEnd(r),
			CloseReason: ingestionv1alpha.EventProperties_SessionProperties_CloseReason(r.IntN(5))}), custom...)
	case 7:
		s := described(r, &sessionProperties{SessionId: session, RunId: pick(r, "", "r1")})
		s.Cleared = some(r, "session_title", "source", "data", "whatever")
		s.TagsAdded, s.TagsRemoved = some(r, "vip", "bug", ""), some(r, "vip", "bug")
		return updated(id, at, s, custom...)
	case 2:
		return recognized(id, at, &userProperties{UserId: pick(r, historyUsers...), UserEmail: pick(r, "", "a@b", "c@d"),
			UserDisplayName: pick(r, "", "Ada", "Bob"), UserIp: pick(r, "", "192.0.2.1", "192.0.2.2"), UserCreateTime: moment(r),
			UserLocation: &ingestionv1alpha.EventProperties_UserProperties_Location{
				CountryCode: pick(r, "", "", "KR", "SE"), City: pick(r, "", "Seoul")},
			Company: &ingestionv1alpha.EventProperties_UserProperties_Company{Name: pick(r, "", "Acme")}}, custom...)
	case 3, 4:
		index, place := int32(1+r.IntN(4)), (*messagePlace)(nil)
		if r.IntN(3) == 0 {
			index, place = 0, &messagePlace{Time: moment(r), Turn: pick(r, "turn 1", "turn 2"), Part: int32(r.IntN(3))}
			place.Answer = place.Part == 2
		}
		return created(id, at, &messageProperties{SessionId: session, MessageIndexHint: index, Place: place,
			MessageRole:    1 + ingestionv1alpha.EventProperties_MessageProperties_Role(r.IntN(2)),
			ExtendedRole:   ingestionv1alpha.EventProperties_MessageProperties_ExtendedRole(max(0, r.IntN(8)-4)),
			MessageContent: pick(r, "hello", "hallo"), MessageCreateTime: moment(r),
			Error: pick(r, "", "", "timeout"), Model: pick(r, "", "m1"), RunId: pick(r, "", "r1"), Success: known(r),
			ToolCalls: pick(r, nil, []*toolCall{{Name: "search", Arguments: "{}", Result: "found"}})}, custom...)
	default:
		f := &feedbackProperties{SessionId: session, FeedbackTarget: onSession, Type: pick(r, "thumbs_up", "thumbs_down", ""),
			UserId: pick(r, "", "ada", "bob"), Comment: pick(r, "", "c1", "c2"), Reasons: some(r, "wrong", "slow")}
		if r.IntN(3) == 0 {
			f.Score, f.ScoreMin, f.ScoreMax = proto.Float64(float64(r.IntN(5))), 0, 4
		}
		if r.IntN(3) > 0 {
			f.FeedbackTarget, f.MessageIndexHint = onMessage, int32(1+r.IntN(4))
		}
		if r.IntN(4) == 0 {
			f.FeedbackTarget, f.MessageIndexHint, f.MessageTurn = onMessage, 0, pick(r, "turn 1", "turn 2")
		}
		return judged(id, at, f)
	}
}

// described says at random what a session's events may say of it.
func described(r *rand.Rand, s *sessionProperties) *sessionProperties {
	s.AssistantId, s.SessionTitle = pick(r, "", "support", "sales"), pick(r, "", "t1", "t2")
	s.Source, s.Channel, s.Language = pick(r, "", "web", "app"), pick(r, "", "chat"), pick(r, "", "sv")
	s.Outcome, s.LastResolution = pick(r, "", "agent", "botHandled"), pick(r, "", "resolved")
	s.Transfer, s.Completed, s.TestMode = known(r), known(r), r.IntN(8) == 0
	s.Labels, s.Data = some(r, "a", "b"), pick(r, "", `{"a":1}`, `{"b":2}`)
	return s
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// some returns some of a few texts.
func some(r *rand.Rand, of ...string) (list []string) {
	for _, one := range of {
		if r.IntN(4) == 0 {
			list = append(list, one)
		}
	}
	return list
}

// known returns yes, no, or that it is not known.
func known(r *rand.Rand) *bool { return pick(r, nil, nil, new(true), new(false)) }

// moment returns none, or one of a few.
func moment(r *rand.Rand) *timestamppb.Timestamp {
	if r.IntN(2) == 0 {
		return nil
	}
	return stamp(r.IntN(6))
}

// transcriptEnd says now and then how many messages there are.
func transcriptEnd(r *rand.Rand) *int32 {
	if r.IntN(2) == 0 {
		return nil
	}
	return proto.Int32(int32(r.IntN(5)))
}

func properties(r *rand.Rand) (custom []string) {
	for _, name := range []string{"a", "b"} {
		if r.IntN(3) == 0 {
			custom = append(custom, name, pick(r, "", "1", "2", "3"))
		}
	}
	return custom
}

// lotsOfProperties returns a stretch of a few hundred names, some of which no view has room for.
func lotsOfProperties(r *rand.Rand) (custom []string) {
	from := r.IntN(manyProperties)
	for n := from; n < from+400; n++ {
		custom = append(custom, strconv.Itoa(100_000+n%manyProperties), pick(r, "", "1", "2", "3"))
	}
	return custom
}
