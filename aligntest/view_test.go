package aligntest_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// noon is when the tests' sessions begin.
var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// at moves an event to n minutes after noon.
func at(n int, e *Wire) *Wire {
	e.CreateTime = timestamppb.New(noon.Add(time.Duration(n) * time.Minute))
	return e
}

// with gives an event custom properties.
func with(e *Wire, pairs ...string) *Wire {
	e.Properties.CustomProperties = make(map[string]*Custom)
	for pair := range slices.Chunk(pairs, 2) {
		e.Properties.CustomProperties[pair[0]] = &Custom{StringValue: pair[1]}
	}
	return e
}

func idleClose(n, last int, session string) *Wire {
	e := at(n, closing(session))
	p := e.Properties.GetSessionProperties()
	p.CloseReason = ingestionv1alpha.EventProperties_SessionProperties_CLOSE_REASON_IDLE
	p.SessionEndTime = timestamppb.New(noon.Add(time.Duration(last) * time.Minute))
	return e
}

func TestSessionTellsWhatWasSaid(t *testing.T) {
	open := at(0, with(opening("s1", "u1"), "plan", "pro"))
	open.Properties.GetSessionProperties().SessionTitle = "An order"
	vote := at(3, thumb("s1", 2, "thumbs_down"))
	f := vote.Properties.GetFeedbackProperties()
	f.Comment, f.Reasons, f.UserId = "wrong", []string{"inaccurate"}, "u2"

	srv := aligntest.NewServer(t)
	mustSend(t, srv,
		open,
		at(1, message("s1", 1, "Where is my order?")),
		at(2, with(message("s1", 2, "On its way."), "model", "m1")),
		vote,
		at(4, thumb("s1", 0, "thumbs_up")),
		at(5, closing("s1")),
	)
	want := aligntest.Session{
		ID: "s1", UserID: "u1", AssistantID: "DEFAULT", Title: "An order", StartTime: noon, Opened: true,
		Closed: true, CloseReason: align.CloseExplicit,
		Messages: []aligntest.Message{
			{Index: 1, Role: align.RoleUser, Content: "Where is my order?", CreateTime: noon.Add(time.Minute), Versions: 1},
			{Index: 2, Role: align.RoleAssistant, Content: "On its way.", CreateTime: noon.Add(2 * time.Minute),
				Properties: align.Properties{"model": "m1"}, Versions: 1},
		},
		Feedback: []aligntest.Feedback{
			{Index: 2, Type: align.ThumbsDown, Comment: "wrong", Reasons: []string{"inaccurate"}, UserID: "u2"},
			{Type: align.ThumbsUp},
		},
		Properties: align.Properties{"plan": "pro"},
	}
	got := srv.Session("s1")
	if !reflect.DeepEqual(got, want) {
		t.Errorf("session = %+v\nwant %+v", got, want)
	}
	if got, want := got.Transcript(), "user: Where is my order?\nassistant: On its way.\n"; got != want {
		t.Errorf("transcript = %q, want %q", got, want)
	}
	if got := got.Message(2).Content; got != "On its way." {
		t.Errorf("message 2 = %q", got)
	}
	if got := got.Message(3); got.Index != 0 {
		t.Errorf("message 3 = %+v, want none", got)
	}
}

func TestUnknownIsZero(t *testing.T) {
	srv := aligntest.NewServer(t)
	if got := srv.Session("s1"); !reflect.DeepEqual(got, aligntest.Session{}) {
		t.Errorf("session = %+v, want the zero Session", got)
	}
	if got := srv.User("u1"); !reflect.DeepEqual(got, aligntest.User{}) {
		t.Errorf("user = %+v, want the zero User", got)
	}
}

func TestOnlyAcknowledgedEventsCount(t *testing.T) {
	srv := aligntest.NewServer(t)
	srv.Script(aligntest.Status(503), aligntest.ResetAfter())
	batch := batchOf(opening("s1", "u1"))
	for range 2 {
		send(t, srv, batch)
		if users, sessions := srv.Users(), srv.Sessions(); len(users)+len(sessions) > 0 {
			t.Errorf("users, sessions = %v, %v; want none", users, sessions)
		}
	}
	send(t, srv, batch)
	if users, sessions := srv.Users(), srv.Sessions(); len(users) != 1 || len(sessions) != 1 {
		t.Errorf("users, sessions = %v, %v; want one of each", users, sessions)
	}
}

func TestUserMergesFieldByField(t *testing.T) {
	srv := aligntest.NewServer(t)
	identify := func(n int, p *UserP, properties ...string) *Wire {
		p.UserId = "u1"
		return at(n, with(event(p), properties...))
	}
	korea := &ingestionv1alpha.EventProperties_UserProperties_Location{CountryCode: "KR"}
	mustSend(t, srv,
		identify(0, &UserP{UserDisplayName: "Ada", UserEmail: "ada@example.com", UserIp: "203.0.113.7"}, "plan", "free", "team", "a"),
		identify(1, &UserP{UserCreateTime: timestamppb.New(noon)}),
		identify(2, &UserP{UserDisplayName: "Ada L.", UserLocation: korea, UserCreateTime: timestamppb.Now()}, "plan", "pro"),
	)
	want := aligntest.User{
		ID: "u1", DisplayName: "Ada L.", Email: "ada@example.com", IP: "203.0.113.7", CountryCode: "KR", CreateTime: noon,
		Properties: align.Properties{"plan": "pro", "team": "a"}, Identified: true,
	}
	if got := srv.User("u1"); !reflect.DeepEqual(got, want) {
		t.Errorf("user = %+v\nwant %+v", got, want)
	}
}

func TestOpeningNamesAUser(t *testing.T) {
	srv := aligntest.NewServer(t)
	vote := thumb("s1", 1, "thumbs_up")
	vote.Properties.GetFeedbackProperties().UserId = "a voter, not a user"
	mustSend(t, srv, opening("s1", "u1"), vote)
	if got, want := srv.Users(), []aligntest.User{{ID: "u1"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("users = %+v, want %+v", got, want)
	}
}

func TestFirstUserAndLastTitleOfASessionStay(t *testing.T) {
	srv := aligntest.NewServer(t)
	again := at(1, opening("s1", "u2"))
	again.Properties.GetSessionProperties().SessionTitle = "new"
	mustSend(t, srv, at(0, opening("s1", "u1")), again, at(2, opening("s1", "u3")))
	if got := srv.Session("s1"); got.UserID != "u1" || got.Title != "new" {
		t.Errorf("user, title = %q, %q; want u1, new", got.UserID, got.Title)
	}
}

func TestLatestVersionOfAMessageIsCurrent(t *testing.T) {
	srv := aligntest.NewServer(t)
	mustSend(t, srv, at(2, message("s1", 1, "second")))
	mustSend(t, srv, at(1, message("s1", 1, "first")))
	if got := srv.Session("s1").Message(1); got.Content != "second" || got.Versions != 2 {
		t.Errorf("message = %+v, want the second of 2 versions", got)
	}
}

func TestSessionKnownFromMessagesIsNotOpened(t *testing.T) {
	srv := aligntest.NewServer(t)
	mustSend(t, srv, at(1, message("s1", 1, "hi")), at(2, closing("s2")))
	for _, s := range srv.Sessions() {
		if s.Opened {
			t.Errorf("session %s is opened", s.ID)
		}
	}
	if got := srv.Session("s1").StartTime; !got.Equal(noon.Add(time.Minute)) {
		t.Errorf("start = %v, want that of the message", got)
	}
	if !srv.Session("s2").Closed {
		t.Error("a session known from its end is not closed")
	}
}

func TestCloseLastsUntilSomethingIsSaid(t *testing.T) {
	transfer := at(2, closing("s1"))
	transfer.Properties.GetSessionProperties().CloseReason = ingestionv1alpha.EventProperties_SessionProperties_CLOSE_REASON_TRANSFER
	shutdown := at(2, closing("s1"))
	shutdown.Properties.GetSessionProperties().CloseReason = ingestionv1alpha.EventProperties_SessionProperties_CLOSE_REASON_SHUTDOWN
	for _, test := range []struct {
		name  string
		after []*Wire // an opening at 0 and a message at 1
		want  align.CloseReason
	}{
		{"open", nil, ""},
		{"closed", []*Wire{at(2, closing("s1"))}, align.CloseExplicit},
		{"closed in the same moment", []*Wire{at(1, closing("s1"))}, align.CloseExplicit},
		{"transferred", []*Wire{transfer}, align.CloseTransfer},
		{"shut down", []*Wire{shutdown}, align.CloseShutdown},
		{"feedback after", []*Wire{at(2, closing("s1")), at(3, thumb("s1", 1, "thumbs_up"))}, align.CloseExplicit},
		{"message after", []*Wire{at(2, closing("s1")), at(3, message("s1", 2, "hello"))}, ""},
		{"opened again", []*Wire{at(2, closing("s1")), at(3, opening("s1", "u1"))}, ""},
		{"closed again", []*Wire{at(2, closing("s1")), at(3, opening("s1", "u1")), at(4, closing("s1"))}, align.CloseExplicit},
		{"idle", []*Wire{idleClose(31, 1, "s1")}, align.CloseIdle},
		{"idle here, not elsewhere", []*Wire{at(20, message("s1", 2, "hello")), idleClose(31, 1, "s1")}, ""},
		{"closed, then idle elsewhere", []*Wire{at(2, closing("s1")), idleClose(31, 1, "s1")}, align.CloseExplicit},
	} {
		t.Run(test.name, func(t *testing.T) {
			srv := aligntest.NewServer(t)
			mustSend(t, srv, append([]*Wire{at(0, opening("s1", "u1")), at(1, message("s1", 1, "hi"))}, test.after...)...)
			got := srv.Session("s1")
			if got.Closed != (test.want != "") || got.CloseReason != test.want {
				t.Errorf("closed, reason = %t, %q; want %q", got.Closed, got.CloseReason, test.want)
			}
		})
	}
}

func TestExtendedRolesAreNamed(t *testing.T) {
	srv := aligntest.NewServer(t)
	var want []align.Role
	for i, name := range []align.Role{align.RoleAssistant, "system", "tool", "human"} {
		m := message("s1", int32(2*i+2), "hi")
		m.Properties.GetMessageProperties().ExtendedRole = ingestionv1alpha.EventProperties_MessageProperties_ExtendedRole(i)
		mustSend(t, srv, m)
		want = append(want, name)
	}
	var got []align.Role
	for _, m := range srv.Session("s1").Messages {
		got = append(got, m.Role)
	}
	if !slices.Equal(got, want) {
		t.Errorf("roles = %v, want %v", got, want)
	}
}

// However events come, one by one or repeated, what they add up to is the same.
func TestOrderOfArrivalChangesNothing(t *testing.T) {
	events := []*Wire{
		at(0, with(user("u1"), "plan", "free")),
		at(0, with(opening("s1", "u1"), "a", "1")),
		at(1, message("s1", 1, "hi")),
		at(2, message("s1", 2, "hello")),
		at(3, message("s1", 2, "hello!")),
		at(3, thumb("s1", 2, "thumbs_down")),
		at(4, thumb("s1", 2, "thumbs_up")),
		at(4, closing("s1")),
		at(5, with(opening("s1", "u2"), "a", "2", "b", "3")),
		at(6, with(user("u1"), "plan", "pro")),
		idleClose(35, 5, "s1"),
	}
	deliver := func(events []*Wire) (aligntest.User, aligntest.Session) {
		srv := aligntest.NewServer(t)
		for _, e := range events {
			mustSend(t, srv, e)
		}
		return srv.User("u1"), srv.Session("s1")
	}
	wantUser, wantSession := deliver(events)
	if wantSession.CloseReason != align.CloseIdle || len(wantSession.Messages) != 2 {
		t.Fatalf("session = %+v", wantSession)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		shuffled := append(slices.Clone(events), events[random.IntN(len(events))])
		random.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		user, session := deliver(shuffled)
		if !reflect.DeepEqual(user, wantUser) || !reflect.DeepEqual(session, wantSession) {
			t.Fatalf("user, session = %+v, %+v\nwant %+v, %+v", user, session, wantUser, wantSession)
		}
	}
}
