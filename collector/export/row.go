package export

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// SchemaVersion is that of [Row]. It rises when a field changes its meaning, its type or its name.
const SchemaVersion = 1

// TimeFormat is how files write moments: RFC 3339 in UTC, to the microsecond, so that texts sort as times do.
const TimeFormat = "2006-01-02T15:04:05.000000Z"

// Row is one conversation as a file tells it.
type Row = RowOf[int64]

// RowOf is a row whose counts are numbers, or texts as in Ultimate's export: its 24 properties by their names, then ours.
// docs/export.md says what each means.
type RowOf[Count int64 | string] struct {
	BotID                     string   `json:"bot_id" parquet:"bot_id"`
	BotName                   string   `json:"bot_name" parquet:"bot_name"`
	ConversationID            string   `json:"conversation_id" parquet:"conversation_id"`
	PlatformConversationID    string   `json:"platform_conversation_id" parquet:"platform_conversation_id"`
	ConversationStartTime     Moment   `json:"conversation_start_time" parquet:"conversation_start_time,timestamp(microsecond)"`
	ConversationEndTime       Moment   `json:"conversation_end_time" parquet:"conversation_end_time,timestamp(microsecond)"`
	Language                  string   `json:"language" parquet:"language"`
	Channel                   string   `json:"channel" parquet:"channel"`
	Labels                    []string `json:"labels" parquet:"labels,list"`
	ConversationsData         string   `json:"conversations_data" parquet:"conversations_data"`
	TestMode                  bool     `json:"test_mode" parquet:"test_mode"`
	ConversationStatus        string   `json:"conversation_status" parquet:"conversation_status"`
	LastResolution            string   `json:"last_resolution" parquet:"last_resolution"`
	TriggeredReplies          string   `json:"triggered_replies" parquet:"triggered_replies"`
	TriggeredIntentReplies    []Intent `json:"triggered_intent_replies" parquet:"triggered_intent_replies,list"`
	IsLLMConversation         bool     `json:"is_llm_conversation" parquet:"is_llm_conversation"`
	LLMNotUnderstoodCount     Count    `json:"llm_notUnderstood_count" parquet:"llm_notUnderstood_count"`
	LLMResponseGeneratedCount Count    `json:"llm_responseGenerated_count" parquet:"llm_responseGenerated_count"`
	LLMErrorOccurredCount     Count    `json:"llm_errorOccurred_count" parquet:"llm_errorOccurred_count"`
	LLMEscalationCount        Count    `json:"llm_escalationRequired_count" parquet:"llm_escalationRequired_count"`
	LLMFallbackCount          Count    `json:"llm_fallback_count" parquet:"llm_fallback_count"`
	BotMessagesCount          Count    `json:"bot_messages_count" parquet:"bot_messages_count"`
	VisitorMessagesCount      Count    `json:"visitor_messages_count" parquet:"visitor_messages_count"`
	NotUnderstoodCount        Count    `json:"not_understood_messages_count" parquet:"not_understood_messages_count"`

	// Episode counts the days on which the conversation ended, from 1; Continues names the episode before, as id#number.
	Episode       int64  `json:"episode" parquet:"episode"`
	Continues     string `json:"continues" parquet:"continues"`
	ThumbsUp      Count  `json:"thumbs_up_count" parquet:"thumbs_up_count"`     // messages with such a vote
	ThumbsDown    Count  `json:"thumbs_down_count" parquet:"thumbs_down_count"` // likewise
	SessionRating string `json:"session_feedback" parquet:"session_feedback"`   // thumbs_up, thumbs_down or empty
}

// LateRow is a row of a late file.
type LateRow = LateRowOf[int64]

// LateRowOf is what became known of a conversation after the file it belongs to was final. It replaces what any file before
// says of the same conversation_id.
type LateRowOf[Count int64 | string] struct {
	Day     string   `json:"day" parquet:"day"` // of the file it belongs to
	Reasons []string `json:"reasons" parquet:"reasons,list"`
	RowOf[Count]
}

// Reasons of a [LateRow].
const (
	ReasonArrivedLate = "arrived_late"     // no file told of it: it was told of after its day was final
	ReasonMessages    = "messages_changed" // messages came late, or were replaced
	ReasonOutcome     = "outcome_changed"  // status, resolution, or what is counted of answers
	ReasonFeedback    = "feedback_changed" // votes
	ReasonDetails     = "details_changed"  // bot, language, channel, labels, data or test mode
)

// Intent is one element of triggered_intent_replies, in the order of the messages.
type Intent struct {
	Name          string `json:"intent_name" parquet:"intent_name"`
	Time          Moment `json:"intent_timestamp" parquet:"intent_timestamp,timestamp(microsecond)"`
	NotMeaningful bool   `json:"not_meaningful" parquet:"not_meaningful"`
}

// Moment is microseconds since 1970 UTC; files of text write it as [TimeFormat].
type Moment int64

// MomentOf returns the microsecond that t is in.
func MomentOf(t time.Time) Moment { return Moment(t.UnixMicro()) }

// Time returns the moment.
func (m Moment) Time() time.Time { return time.UnixMicro(int64(m)).UTC() }

// String returns the moment as files write it.
func (m Moment) String() string { return m.Time().Format(TimeFormat) }

// MarshalJSON implements [json.Marshaler].
func (m Moment) MarshalJSON() ([]byte, error) { return []byte(`"` + m.String() + `"`), nil }

// UnmarshalJSON implements [json.Unmarshaler].
func (m *Moment) UnmarshalJSON(text []byte) error {
	t, err := time.Parse(`"`+TimeFormat+`"`, string(text))
	*m = MomentOf(t)
	return err
}

// ConversationID returns the conversation_id of an episode: the app's own id for the first, and id#number for those after
// it. The first of an app's id that itself ends so is written with #1, so that no two have the same.
func ConversationID(id string, episode int) string {
	if episode == 1 && !numbered(id) {
		return id
	}
	return id + "#" + strconv.Itoa(episode)
}

// numbered reports whether a text ends in # and digits.
func numbered(id string) bool {
	rest := strings.TrimRight(id, "0123456789")
	return len(rest) < len(id) && strings.HasSuffix(rest, "#")
}

// line returns a row as a line of NDJSON. Texts are as they are: files are no HTML.
func line(row any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(row)
	return b.Bytes(), err
}

// texts returns a row with its counts as texts.
func (r *RowOf[Count]) texts() RowOf[string] {
	text := func(n Count) string { return fmt.Sprint(n) }
	return RowOf[string]{
		BotID: r.BotID, BotName: r.BotName, ConversationID: r.ConversationID, PlatformConversationID: r.PlatformConversationID,
		ConversationStartTime: r.ConversationStartTime, ConversationEndTime: r.ConversationEndTime,
		Language: r.Language, Channel: r.Channel, Labels: r.Labels, ConversationsData: r.ConversationsData, TestMode: r.TestMode,
		ConversationStatus: r.ConversationStatus, LastResolution: r.LastResolution,
		TriggeredReplies: r.TriggeredReplies, TriggeredIntentReplies: r.TriggeredIntentReplies, IsLLMConversation: r.IsLLMConversation,
		LLMNotUnderstoodCount: text(r.LLMNotUnderstoodCount), LLMResponseGeneratedCount: text(r.LLMResponseGeneratedCount),
		LLMErrorOccurredCount: text(r.LLMErrorOccurredCount), LLMEscalationCount: text(r.LLMEscalationCount), LLMFallbackCount: text(r.LLMFallbackCount),
		BotMessagesCount: text(r.BotMessagesCount), VisitorMessagesCount: text(r.VisitorMessagesCount), NotUnderstoodCount: text(r.NotUnderstoodCount),
		Episode: r.Episode, Continues: r.Continues, ThumbsUp: text(r.ThumbsUp), ThumbsDown: text(r.ThumbsDown), SessionRating: r.SessionRating,
	}
}

// texts returns a row with its counts as texts.
func (r *LateRowOf[Count]) texts() LateRowOf[string] {
	return LateRowOf[string]{Day: r.Day, Reasons: r.Reasons, RowOf: r.RowOf.texts()}
}
