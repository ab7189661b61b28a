package aligntest_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/aligntest"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// Short names for the generated ones.
type (
	Batch     = ingestionv1alpha.CollectEventsRequest
	Wire      = ingestionv1alpha.Event
	Custom    = ingestionv1alpha.EventProperties_CustomPropertyValue
	WireProps = ingestionv1alpha.EventProperties
	SessionP  = ingestionv1alpha.EventProperties_SessionProperties
	MessageP  = ingestionv1alpha.EventProperties_MessageProperties
	UserP     = ingestionv1alpha.EventProperties_UserProperties
	FeedbackP = ingestionv1alpha.EventProperties_FeedbackProperties
)

const collectPath = "/ingestion.v1alpha.IngestionService/CollectEvents"

// failures is a testing.TB that keeps what would fail a test.
type failures struct {
	testing.TB
	mu    sync.Mutex
	lines []string
}

func (f *failures) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines = append(f.lines, fmt.Sprintf(format, args...))
}

func (f *failures) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.lines, "\n")
}

func newID() string {
	id := uuid.Must(uuid.NewV7())
	return hex.EncodeToString(id[:])
}

// event makes an event of one of the five kinds from its properties. A feedback's and a message's kind is plain; session
// properties make an opening.
func event(properties any) *Wire {
	e := &Wire{Id: newID(), ProjectId: "p1", CreateTime: timestamppb.Now(), Properties: new(WireProps)}
	switch p := properties.(type) {
	case *SessionP:
		e.Type = "session_open"
		e.Properties.ReservedProperties = &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: p}
	case *MessageP:
		e.Type = "message_create"
		e.Properties.ReservedProperties = &ingestionv1alpha.EventProperties_MessageProperties_{MessageProperties: p}
	case *UserP:
		e.Type = "user_recognize"
		e.Properties.ReservedProperties = &ingestionv1alpha.EventProperties_UserProperties_{UserProperties: p}
	case *FeedbackP:
		e.Type = "feedback_create"
		e.Properties.ReservedProperties = &ingestionv1alpha.EventProperties_FeedbackProperties_{FeedbackProperties: p}
	}
	return e
}

func user(id string) *Wire { return event(&UserP{UserId: id}) }

func opening(session, user string) *Wire {
	return event(&SessionP{SessionId: session, UserId: user, AssistantId: "DEFAULT"})
}

func closing(session string) *Wire {
	e := event(&SessionP{SessionId: session})
	e.Type = "session_close"
	return e
}

func message(session string, index int32, content string) *Wire {
	role := ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER
	if index%2 == 0 {
		role = ingestionv1alpha.EventProperties_MessageProperties_ROLE_ASSISTANT
	}
	return event(&MessageP{SessionId: session, MessageIndexHint: index, MessageRole: role, MessageContent: content})
}

// thumb makes a feedback on a message, on the whole session if index is zero.
func thumb(session string, index int32, vote string) *Wire {
	target := ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_MESSAGE
	if index == 0 {
		target = ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_SESSION
	}
	return event(&FeedbackP{SessionId: session, MessageIndexHint: index, FeedbackTarget: target, Type: vote})
}

func batchOf(events ...*Wire) *Batch { return &Batch{RequestId: newID(), Events: events} }

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// newRequest makes a request as a client of package align would.
func newRequest(t *testing.T, host string, body []byte) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, host+collectPath, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/proto")
	r.Header.Set("Connect-Protocol-Version", "1")
	r.Header.Set("Authorization", "Bearer secret-key")
	return r
}

// result is how an exchange looked to the client.
type result struct {
	status int
	header http.Header
	body   string
	err    error // of the exchange, or of reading the answer's body
}

// do makes the exchange with a client that gives up after a minute.
func do(client *http.Client, r *http.Request) result {
	client.Timeout = time.Minute
	resp, err := client.Do(r)
	if err != nil {
		return result{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return result{status: resp.StatusCode, header: resp.Header, body: string(body), err: err}
}

// send sends a batch to the server.
func send(t *testing.T, srv *aligntest.Server, batch *Batch) result {
	t.Helper()
	return do(srv.HTTPClient(), newRequest(t, srv.URL, marshal(t, batch)))
}

// mustSend fails the test unless the batch is answered with 200.
func mustSend(t *testing.T, srv *aligntest.Server, events ...*Wire) {
	t.Helper()
	if got := send(t, srv, batchOf(events...)); got.status != http.StatusOK || got.err != nil {
		t.Fatalf("answer = %d, %v; want 200", got.status, got.err)
	}
}

func ids(events []aligntest.Event) []string {
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.ID
	}
	return ids
}

func idsOf(events ...*Wire) []string {
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.GetId()
	}
	return ids
}

// stored returns the events that the server keeps.
func stored(srv *aligntest.Server) []aligntest.Event {
	var kept []aligntest.Event
	for _, e := range srv.Seen() {
		if e.Stored {
			kept = append(kept, e)
		}
	}
	return kept
}
