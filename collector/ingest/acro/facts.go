package acro

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/ingest"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

type (
	session = ingestionv1alpha.EventProperties_SessionProperties
	message = ingestionv1alpha.EventProperties_MessageProperties
	user    = ingestionv1alpha.EventProperties_UserProperties
)

type speaker struct {
	role     ingestionv1alpha.EventProperties_MessageProperties_Role
	extended ingestionv1alpha.EventProperties_MessageProperties_ExtendedRole
}

const (
	asUser      = ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER
	asAssistant = ingestionv1alpha.EventProperties_MessageProperties_ROLE_ASSISTANT
)

var roles = map[string]speaker{
	roleAIAssistant: {role: asAssistant},
	"assistant":     {role: asAssistant},
	"USER":          {role: asUser},
	"user":          {role: asUser},
	roleHUMAN:       {asAssistant, ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_HUMAN},
	"TOOL":          {asAssistant, ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_TOOL},
	"tool":          {asAssistant, ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_TOOL},
	"system":        {asAssistant, ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_SYSTEM},
}

// outcome is what transfer and completed say together:
//
//	transfer true                    agent
//	transfer not true, completed     botHandled
//	anything else                    nothing: a conversation that was not completed may have been left, or go on
func outcome(transfer, completed *bool) string {
	switch {
	case transfer != nil && *transfer:
		return "agent"
	case completed != nil && *completed:
		return "botHandled"
	}
	return ""
}

// writer makes the facts of one transcript. They share a time, that of the telling, which is what they override others by.
type writer struct {
	project string
	told    *transcript
	said    string // a digest of everything that is told
	now     time.Time
	facts   []collector.Fact
}

// facts returns what a transcript says, all of it or, with an error, nothing.
func (t *transcript) facts(project string, now time.Time) (collector.Batch, error) {
	said, err := t.digest()
	if err != nil {
		return collector.Batch{}, fmt.Errorf("the conversation cannot be read: %w", err) // years outside of JSON's are not let in
	}
	w := &writer{project: project, told: t, said: said, now: now}
	steps := []func() error{w.open, w.recognize, w.messages, w.close}
	for _, step := range steps {
		if err := step(); err != nil {
			return collector.Batch{}, err
		}
	}
	return collector.Batch{Facts: w.facts}, nil
}

// digest is the same for transcripts that say the same. Lines are hashed one by one, since as JSON they would take as much
// room again as the body.
func (t *transcript) digest() (string, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	add := func(text string) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(text)))
		sum.Write(length[:])
		for len(text) > 0 {
			n := min(len(text), 4096)
			sum.Write([]byte(text[:n]))
			text = text[n:]
		}
	}
	add(string(text))
	for _, l := range t.Lines {
		add(l.Role)
		if l.Content != nil {
			add("said")
			add(*l.Content)
		}
		if l.Time != nil {
			add("at")
			add(l.Time.Format(time.RFC3339Nano))
		}
		add("")
	}
	return string(sum.Sum(nil)), nil
}

func (w *writer) open() error {
	t := w.told
	custom := map[string]string{
		"agent_version": t.AgentVersion,
		"text_url":      t.TextURL,
		"audio_url":     t.AudioURL,
	}
	if t.Duration != nil {
		custom["duration"] = strconv.FormatInt(*t.Duration, 10)
	}
	if len(t.Lines) == 0 {
		custom["engaged"] = "false"
	}
	if t.CustomerID == "" {
		custom["customer_email"] = t.CustomerEmail
		custom["customer_phone"] = t.CustomerPhone
		custom["external_company_id"] = t.ExternalCompanyID
		custom["external_company_name"] = t.ExternalCompanyName
		custom["external_company_type"] = t.ExternalCompanyType
	}
	return w.add("open", collector.TypeSessionOpen, custom, &ingestionv1alpha.EventProperties{
		ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: &session{
			SessionId:        t.ConversationID,
			SessionStartTime: timestamppb.New(t.Start),
			UserId:           t.CustomerID,
			AssistantId:      t.AgentID,
			Source:           t.Source,
			MessageCount:     proto.Int32(int32(len(t.Lines))),
		}}})
}

func (w *writer) recognize() error {
	t := w.told
	if t.CustomerID == "" {
		return nil
	}
	who := &user{UserId: t.CustomerID, UserEmail: t.CustomerEmail}
	if t.ExternalCompanyID != "" || t.ExternalCompanyName != "" || t.ExternalCompanyType != "" {
		who.Company = &ingestionv1alpha.EventProperties_UserProperties_Company{
			Id: t.ExternalCompanyID, Name: t.ExternalCompanyName, Type: t.ExternalCompanyType}
	}
	return w.add("user", collector.TypeUserRecognize, map[string]string{"phone": t.CustomerPhone}, &ingestionv1alpha.EventProperties{
		ReservedProperties: &ingestionv1alpha.EventProperties_UserProperties_{UserProperties: who}})
}

func (w *writer) messages() error {
	before := w.told.Start
	for i, l := range w.told.Lines {
		m := &message{
			SessionId:        w.told.ConversationID,
			MessageIndexHint: int32(i + 1),
			MessageRole:      roles[l.Role].role,
			ExtendedRole:     roles[l.Role].extended,
		}
		if l.Time != nil {
			before = *l.Time
		}
		m.MessageCreateTime, m.TimeInherited = timestamppb.New(before), l.Time == nil
		if l.Content != nil {
			m.MessageContent = *l.Content
		}
		if m.MessageContent == "" {
			m.ContentLength = new(int64)
		}
		if err := w.add(strconv.Itoa(i+1), collector.TypeMessageCreate, nil, &ingestionv1alpha.EventProperties{
			ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{MessageProperties: m}}); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) close() error {
	t := w.told
	end := &session{
		SessionId:    t.ConversationID,
		Transfer:     t.Transfer,
		Completed:    t.Completed,
		Outcome:      outcome(t.Transfer, t.Completed),
		MessageCount: proto.Int32(int32(len(t.Lines))),
	}
	if t.Transfer != nil && *t.Transfer {
		end.CloseReason = ingestionv1alpha.EventProperties_SessionProperties_CLOSE_REASON_TRANSFER
	}
	if at, ok := t.ended(); ok {
		end.SessionEndTime = timestamppb.New(at)
	}
	return w.add("close", collector.TypeSessionClose, nil, &ingestionv1alpha.EventProperties{
		ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: end}})
}

// ended is when a conversation ended: at end, else after duration, else with the last line that has a time. Where both end and
// duration are told, the difference of start and end is what counts.
func (t *transcript) ended() (at time.Time, ok bool) {
	switch {
	case t.End != nil:
		return *t.End, true
	case t.Duration != nil:
		return t.Start.Add(time.Duration(*t.Duration) * time.Second), true
	}
	for i := len(t.Lines) - 1; i >= 0; i-- {
		if l := t.Lines[i]; l.Time != nil {
			return *l.Time, true
		}
	}
	return at, false
}

// add makes a fact of what is told. part says which part of the transcript it is.
func (w *writer) add(part, kind string, custom map[string]string, properties *ingestionv1alpha.EventProperties) error {
	for name, value := range custom {
		if value == "" {
			continue
		}
		if properties.CustomProperties == nil {
			properties.CustomProperties = make(map[string]*ingestionv1alpha.EventProperties_CustomPropertyValue)
		}
		properties.CustomProperties[name] = &ingestionv1alpha.EventProperties_CustomPropertyValue{StringValue: value}
	}
	fact, reason := ingest.Fact(&ingestionv1alpha.Event{
		Id:         ingest.EventID(w.told.Start, "acro", w.project, w.said, part),
		Type:       kind,
		Properties: properties,
	}, w.now)
	if reason != "" {
		return fmt.Errorf("the conversation cannot be kept: %s", reason)
	}
	fact.Time = w.now // not that of a line
	w.facts = append(w.facts, fact)
	return nil
}
