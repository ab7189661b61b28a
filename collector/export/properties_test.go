package export_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"google.golang.org/protobuf/proto"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/export"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// What each property of a row holds, one test for each point of the schema.

type intentProps = ingestionv1alpha.EventProperties_MessageProperties_Intent

// fields is a row as a client reads it.
type fields map[string]any

// rowsOf tells conversations on a day and returns what its file says of each, by platform_conversation_id, once it is final.
func rowsOf(t *testing.T, tell func(w *world)) map[string]fields {
	t.Helper()
	return rowsOfVariant(t, export.Variant{Open: true}, tell)
}

func rowsOfVariant(t *testing.T, v export.Variant, tell func(w *world)) map[string]fields {
	t.Helper()
	byID := map[string]fields{}
	inWorld(t, func(w *world) {
		tell(w)
		w.until("2026-03-02 02:00")
		v.Day = day("2026-03-01")
		var rows []fields
		if err := json.Unmarshal(w.bytesOf(v), &rows); err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			byID[row["platform_conversation_id"].(string)] = row
		}
		if len(byID) != len(rows) {
			t.Fatalf("%d rows of %d conversations", len(rows), len(byID))
		}
	})
	return byID
}

// wants compares properties of a row.
func (f fields) wants(t *testing.T, want fields) {
	t.Helper()
	for name, value := range want {
		if got, there := f[name]; !there || fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", value) {
			t.Errorf("%s: %s is %#v, want %#v", f["platform_conversation_id"], name, got, value)
		}
	}
}

func answered(by, outcome string) func(*messageProps) {
	return func(m *messageProps) { m.Model, m.Outcome = by, outcome }
}

func intended(name string, not bool) func(*messageProps) {
	return func(m *messageProps) { m.Intent = &intentProps{Name: name, NotMeaningful: not} }
}

func extended(role ingestionv1alpha.EventProperties_MessageProperties_ExtendedRole) func(*messageProps) {
	return func(m *messageProps) { m.MessageRole, m.ExtendedRole = 2, role }
}

func TestARowHasThe24PropertiesAndOursAndNoOthers(t *testing.T) {
	row := rowsOf(t, func(w *world) { w.open("s", "ada", nil) })["s"]
	want := strings.Fields(`bot_id bot_name conversation_id platform_conversation_id conversation_start_time conversation_end_time language channel
		labels conversations_data test_mode conversation_status last_resolution triggered_replies triggered_intent_replies is_llm_conversation
		llm_notUnderstood_count llm_responseGenerated_count llm_errorOccurred_count llm_escalationRequired_count llm_fallback_count
		bot_messages_count visitor_messages_count not_understood_messages_count
		episode continues thumbs_up_count thumbs_down_count session_feedback`)
	for _, name := range want {
		if _, ok := row[name]; !ok {
			t.Errorf("there is no %s", name)
		}
	}
	if len(row) != len(want) || len(want) != 24+5 {
		t.Errorf("%d properties, want %d: %v", len(row), len(want), row)
	}
}

func TestUL3ADayIsOneJSONDocumentAndTheSameAsLines(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range 3 {
			w.say(fmt.Sprint("s", i), 1, "Hello", 0)
		}
		w.until("2026-03-02 02:00")
		var document []json.RawMessage
		v := export.Variant{Day: day("2026-03-01")}
		if err := json.Unmarshal(w.bytesOf(v), &document); err != nil || len(document) != 3 {
			t.Fatalf("%d rows, %v", len(document), err)
		}
		v.Format, v.Compression = export.FormatNDJSON, export.CompressionGzip
		unzip, err := gzip.NewReader(bytes.NewReader(w.bytesOf(v)))
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(unzip)
		n := 0
		for ; lines.Scan(); n++ {
			if n >= len(document) || !bytes.Equal(lines.Bytes(), document[n]) {
				t.Errorf("line %d is %s", n, lines.Bytes())
			}
		}
		if lines.Err() != nil || n != len(document) {
			t.Errorf("%d lines, %v", n, lines.Err())
		}
	})
}

func TestUL4ARowNamesBotAndConversation(t *testing.T) {
	rows := rowsOf(t, func(w *world) {
		w.open("crm-7", "ada", nil)
		w.say("crm-7", 2, "Hello", 0, func(m *messageProps) { m.Agent = "support-7" })
		w.say("crm-7", 4, "Hello", 0, func(m *messageProps) { m.Agent = "support-8" })
		w.open("crm#7", "ada", func(s *sessionProps) { s.AssistantId = "sales" })
	})
	rows["crm-7"].wants(t, fields{"bot_id": "support", "bot_name": "support-8", "conversation_id": "crm-7", "platform_conversation_id": "crm-7"})
	rows["crm#7"].wants(t, fields{"bot_id": "sales", "bot_name": "sales", "conversation_id": "crm#7#1", "platform_conversation_id": "crm#7"})
}

func TestUL5TimesAreUTC(t *testing.T) {
	rows := rowsOf(t, func(w *world) {
		w.open("s", "ada", nil)
		time.Sleep(1500 * time.Microsecond)
		w.say("s", 1, "Hello", 0)
	})
	rows["s"].wants(t, fields{"conversation_start_time": "2026-03-01T12:00:00.000000Z", "conversation_end_time": "2026-03-01T12:00:00.001500Z"})
	for _, name := range []string{"conversation_start_time", "conversation_end_time"} {
		if at, err := time.Parse(time.RFC3339, rows["s"][name].(string)); err != nil || at.Location() != time.UTC {
			t.Errorf("%s: %v %v", name, at, err)
		}
	}
}

func TestUL6LanguageChannelAndLabels(t *testing.T) {
	channels := map[string]string{"": "chat", "chat": "chat", "whatsapp": "chat", "ticket": "ticket", "email": "ticket", "mail": "ticket", "form": "ticket"}
	rows := rowsOf(t, func(w *world) {
		for said := range channels {
			w.open("by "+said, "ada", func(s *sessionProps) { s.Channel = said })
		}
		w.open("labelled", "ada", func(s *sessionProps) { s.Language, s.Labels = "de", []string{"vip", "late order"} })
	})
	for said, want := range channels {
		rows["by "+said].wants(t, fields{"channel": want, "language": "", "labels": []any{}})
	}
	rows["labelled"].wants(t, fields{"language": "de", "labels": []any{"vip", "late order"}})
}

func TestUL7DataIsATextThatHoldsAnObjectOfWhatHasAValue(t *testing.T) {
	rows := rowsOf(t, func(w *world) {
		w.open("some", "ada", func(s *sessionProps) { s.Data = `{"plan":"pro","seats":3,"nothing":null}` })
		w.open("none", "ada", nil)
		w.open("all null", "ada", func(s *sessionProps) { s.Data = `{"nothing":null}` })
	})
	for id, want := range map[string]string{"some": "map[plan:pro seats:3]", "none": "map[]", "all null": "map[]"} {
		text, ok := rows[id]["conversations_data"].(string)
		var data map[string]any
		if err := json.Unmarshal([]byte(text), &data); !ok || err != nil || fmt.Sprint(data) != want {
			t.Errorf("%s: %#v, want a text that holds %s: %v", id, rows[id]["conversations_data"], want, err)
		}
	}
	rows["none"].wants(t, fields{"conversations_data": "{}"})
}

func TestUL8TestModeIsABoolean(t *testing.T) {
	rows := rowsOf(t, func(w *world) {
		w.open("test", "ada", func(s *sessionProps) { s.TestMode = true })
		w.open("real", "ada", nil)
	})
	rows["test"].wants(t, fields{"test_mode": true})
	rows["real"].wants(t, fields{"test_mode": false})
}

func TestUL9StatusIsOneOfSixWordsAndNeverEmpty(t *testing.T) {
	said := map[string]string{"bot_handled": "botHandled", "botHandled": "botHandled", "email": "email", "agent": "agent", "custom_escalation": "customEscalation",
		"customEscalation": "customEscalation", "Failed escalation": "failedEscalation", "noStatus": "noStatus", "NULL": "noStatus", "": "noStatus"}
	rows := rowsOf(t, func(w *world) {
		for text := range said {
			w.open("as "+text, "ada", func(s *sessionProps) { s.Outcome = text })
		}
	})
	for text, want := range said {
		rows["as "+text].wants(t, fields{"conversation_status": want})
	}
}

func TestUL10ResolutionIsOneOfFourWordsAndUndefinedIsOne(t *testing.T) {
	said := map[string]string{"informed": "informed", "resolved": "resolved", "Escalated": "escalated", "undefined": "undefined", "whatever": "undefined", "": "undefined"}
	rows := rowsOf(t, func(w *world) {
		for text := range said {
			w.open("as "+text, "ada", func(s *sessionProps) { s.LastResolution = text })
		}
	})
	for text, want := range said {
		rows["as "+text].wants(t, fields{"last_resolution": want})
	}
}

func TestUL11RepliesAreATextOfNamesAndIntentsAreObjectsInOrder(t *testing.T) {
	rows := rowsOf(t, func(w *world) {
		w.say("s", 1, "Hi", 0, intended("Greeting", false))
		time.Sleep(time.Second)
		w.say("s", 3, "Where is my order?", 0, intended("Order status", false))
		w.say("s", 5, "No.", 0, intended("Small talk", true))
		for i, name := range []string{"welcome", "order"} {
			w.tell(collector.TypeMessageCreate, 0, &props{
				ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{MessageProperties: &messageProps{SessionId: "s", MessageIndexHint: int32(2 + 2*i), MessageContent: "Well.", MessageRole: 2}},
				CustomProperties:   map[string]*ingestionv1alpha.EventProperties_CustomPropertyValue{"reply": {StringValue: name}},
			})
		}
		w.open("silent", "ada", nil)
	})
	intent := func(name, at string, not bool) any {
		return map[string]any{"intent_name": name, "intent_timestamp": at, "not_meaningful": not}
	}
	rows["s"].wants(t, fields{"triggered_replies": `["welcome","order"]`, "triggered_intent_replies": []any{
		intent("Greeting", "2026-03-01T12:00:00.000000Z", true), intent("Order status", "2026-03-01T12:00:01.000000Z", false), intent("Small talk", "2026-03-01T12:00:01.000000Z", true)}})
	rows["silent"].wants(t, fields{"triggered_replies": "[]", "triggered_intent_replies": []any{}})
}

func TestUL12AConversationIsAModelsWithOneAnswerOfAModels(t *testing.T) {
	rows := rowsOf(t, func(w *world) {
		w.say("mixed", 1, "Hello", 0)
		w.say("mixed", 2, "Hello", 0)
		w.say("mixed", 4, "Hello again", 0, answered("m1", ""))
		w.say("scripted", 1, "Hello", 0)
		w.say("scripted", 2, "Hello", 0)
		w.say("asked", 1, "Hello", 0, answered("m1", "")) // a user's message is no answer
	})
	rows["mixed"].wants(t, fields{"is_llm_conversation": true})
	rows["scripted"].wants(t, fields{"is_llm_conversation": false})
	rows["asked"].wants(t, fields{"is_llm_conversation": false})
}

var llmCounts = map[string]string{"llm_notUnderstood_count": "not_understood", "llm_responseGenerated_count": "response_generated", "llm_errorOccurred_count": "error",
	"llm_escalationRequired_count": "escalation_required", "llm_fallback_count": "fallback"}

func TestUL13AnswersOfModelsAreCountedByOutcome(t *testing.T) {
	outcomes := []string{"not_understood", "response_generated", "error", "escalation_required", "fallback"}
	rows := rowsOf(t, func(w *world) {
		index := int32(0)
		for n, outcome := range outcomes { // the first once, the second twice, and so on
			for range n + 1 {
				w.say("s", index+1, fmt.Sprint("question ", index), 0)
				w.say("s", index+2, fmt.Sprint("answer ", index), 0, answered("m1", outcome))
				index += 2
			}
		}
	})
	for name, outcome := range llmCounts {
		rows["s"].wants(t, fields{name: float64(1 + slices.Index(outcomes, outcome))})
	}
	rows["s"].wants(t, fields{"bot_messages_count": 15., "visitor_messages_count": 15.})
}

func TestUL13CompatUltimateGivesCountsAsTexts(t *testing.T) {
	row := rowsOfVariant(t, export.Variant{Ultimate: true}, func(w *world) {
		w.say("s", 1, "Where is my order?", 0)
		w.say("s", 2, "On its way.", 0, answered("m1", "fallback"))
	})["s"]
	row.wants(t, fields{"bot_messages_count": "1", "visitor_messages_count": "1", "not_understood_messages_count": "1", "llm_notUnderstood_count": "0",
		"llm_responseGenerated_count": "0", "llm_errorOccurred_count": "0", "llm_escalationRequired_count": "0", "llm_fallback_count": "1"})
}

func TestUL14VisitorsAndBotsMessagesAreCountedAndOthersAreNot(t *testing.T) {
	rows := rowsOf(t, func(w *world) {
		w.say("s", 1, "Where is my order?", 0)
		w.say("s", 2, "I did not get that.", 0, answered("", "not_understood"))
		w.say("s", 3, "And the one before?", 0)
		w.say("s", 4, "Something else, perhaps.", 0, answered("", "fallback"))
		w.say("s", 5, "The red one", 0)
		w.say("s", 6, "It comes on Monday.", 0, answered("", "response_generated"))
		w.say("s", 7, "looked up", 0, extended(ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_TOOL))
		w.say("s", 8, "be kind", 0, extended(ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_SYSTEM))
		w.say("s", 9, "What about the blue one?", 0)
		w.say("s", 10, "Eve here.", 0, extended(ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_HUMAN))
		w.say("s", 11, "Hm", 0)
		w.update("s", func(s *sessionProps) { s.Completed = proto.Bool(false) })
	})
	rows["s"].wants(t, fields{"visitor_messages_count": 5., "bot_messages_count": 3., "not_understood_messages_count": 2.})
}
