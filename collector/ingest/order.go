package ingest

import (
	"strconv"
	"time"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// inOrder keeps the order inside a request where nothing else would. Facts override each other by time, then by id; events
// of a batch often share one create_time (clients stamp milliseconds) and have random ids, so a thumb up and the thumb
// down after it would be settled by a coin. Of facts about the same thing at the same time, each is put one nanosecond
// after the one before: less than any public client can tell, and no fact that overrides nothing is touched.
//
// It cannot do more than that. Events of one create_time that arrive in different requests are ordered by id, which for
// random ids is a coin: which request came first is not known to replicas, nor after a retry. And an event sent again in a
// request with other company may be given another time there; the store keeps the first it saw.
func inOrder(facts []collector.Fact) {
	if len(facts) < 2 {
		return
	}
	type moment struct {
		subject subject
		time    time.Time
	}
	last := make(map[moment]time.Time, len(facts))
	seen := make(map[string]bool, len(facts))
	for i := range facts {
		fact := &facts[i]
		if seen[fact.ID] { // the same event again: it is stored once, as it stood first
			continue
		}
		seen[fact.ID] = true
		at := moment{subjectOf(fact.Event), fact.Time.UTC()}
		if before, ok := last[at]; ok {
			fact.Time = before.Add(time.Nanosecond)
		}
		last[at] = fact.Time
	}
}

// subject is what a fact is about: facts with the same subject override each other.
type subject struct{ kind, session, part string }

func subjectOf(event *ingestionv1alpha.Event) subject {
	properties := event.GetProperties()
	switch event.GetType() {
	case collector.TypeUserRecognize:
		return subject{kind: "user", part: properties.GetUserProperties().GetUserId()}
	case collector.TypeMessageCreate:
		message := properties.GetMessageProperties()
		if place := message.GetPlace(); message.GetMessageIndexHint() < 1 && place != nil {
			return subject{"place", message.GetSessionId(), strconv.Itoa(int(place.GetPart())) + " of " + place.GetTurn()}
		}
		return subject{"message", message.GetSessionId(), strconv.Itoa(int(message.GetMessageIndexHint()))}
	case collector.TypeFeedbackCreate:
		feedback := properties.GetFeedbackProperties()
		part := "session"
		if feedback.GetFeedbackTarget() == ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_MESSAGE {
			part = strconv.Itoa(int(feedback.GetMessageIndexHint())) + feedback.GetMessageTurn()
		}
		return subject{"feedback", feedback.GetSessionId(), part}
	default: // opened, closed, opened again
		return subject{kind: "session", session: properties.GetSessionProperties().GetSessionId()}
	}
}
