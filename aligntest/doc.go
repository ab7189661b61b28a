// Package aligntest tests chat apps that record with package align, without a collector and without a network.
//
// [Client] returns a client and the collector in memory that it is wired to. Use the app, flush, and ask the [Server] what
// it was told:
//
//	func TestAnswerIsRecorded(t *testing.T) {
//		client, srv := aligntest.Client(t)
//		app := NewApp(client)
//
//		app.Ask("s1", "Where is my order?")
//		if err := client.Flush(t.Context()); err != nil {
//			t.Fatal(err)
//		}
//
//		want := "user: Where is my order?\nassistant: On its way.\n"
//		if got := srv.Session("s1").Transcript(); got != want {
//			t.Errorf("transcript = %q, want %q", got, want)
//		}
//	}
//
// An app that makes its own client takes [Server.Config]. [Server.Users], [Server.Sessions] and [Server.Events] tell what
// the server has acknowledged, each event once however often it was sent; [Server.Seen] and [Server.Requests] tell what
// came in at all.
//
// # Faults
//
// The server is healthy until told otherwise. [Server.Script] has the next requests meet one [Fault] each;
// [Server.Always] and [Server.Respond] decide what happens after that:
//
//	srv.Script(aligntest.Status(503).RetryAfter(2*time.Second), aligntest.ResetAfter())
//	srv.Always(aligntest.Hang())
//
// # Time
//
// Everything works inside a testing/synctest bubble, where waiting takes no time and the moments of retries are exact.
// Make the server and the client inside the bubble, with the bubble's t: both are closed before it ends.
//
// # The wire contract
//
// Every request is checked against the ingestion protocol, and the test fails, with t.Errorf, for each that breaks it.
// A client of package align keeps to it. The failure message names fields and lengths, and never what users wrote.
package aligntest
