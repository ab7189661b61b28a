package live

import (
	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/internal/texts"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// eventOf returns what is shown of a fact.
func eventOf(f *collector.Fact) (Event, bool) {
	e := Event{ID: f.ID, Type: f.Event.GetType(), Time: f.Time}
	props := f.Event.GetProperties()
	switch e.Type {
	case collector.TypeSessionOpen, collector.TypeSessionClose, collector.TypeSessionUpdate:
		m := props.GetSessionProperties()
		e.Conversation, e.User, e.Title = m.GetSessionId(), m.GetUserId(), cut(m.GetSessionTitle())
		if e.Type == collector.TypeSessionClose {
			e.CloseReason = collector.CloseReason(m)
		}
	case collector.TypeMessageCreate:
		m := props.GetMessageProperties()
		e.Conversation, e.Index, e.Role, e.Text = m.GetSessionId(), m.GetMessageIndexHint(), collector.Role(m), cut(m.GetMessageContent())
		e.Latency, e.Error = max(0, m.GetLatency().AsDuration()), cut(m.GetError())
	case collector.TypeFeedbackCreate:
		m := props.GetFeedbackProperties()
		e.Conversation, e.User, e.Text = m.GetSessionId(), m.GetUserId(), cut(m.GetComment())
		if m.GetFeedbackTarget() == ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_MESSAGE {
			e.Index = m.GetMessageIndexHint()
		}
		e.Vote = map[string]collector.Vote{"thumbs_up": collector.VoteUp, "thumbs_down": collector.VoteDown}[m.GetType()]
	case collector.TypeUserRecognize:
		e.User = props.GetUserProperties().GetUserId()
	default:
		return Event{}, false
	}
	return e, true
}

// cut returns the first MaxText code points.
func cut(text string) string {
	text, _ = texts.Cut(text, MaxText)
	return text
}
