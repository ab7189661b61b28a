// Package align records what happens in a chat app (users, sessions, messages, thumbs) and delivers it to a collector
// that turns it into conversations and metrics. Recording costs about a microsecond, never waits for the network, and
// what was accepted is either delivered or accounted for.
//
// # Quick start
//
//	client, err := align.New(align.Config{ProjectID: "shop", APIKey: os.Getenv("ALIGNAI_API_KEY")})
//	if err != nil {
//		log.Fatal(err)
//	}
//	defer client.Close(context.Background())
//
//	client.OpenSession(ctx, align.Session{ID: "s1", UserID: "u1"})
//	client.CreateMessage(ctx, align.Message{SessionID: "s1", Index: 1, Role: align.RoleUser, Content: "Where is my order?"})
//	client.CreateMessage(ctx, align.Message{SessionID: "s1", Index: 2, Role: align.RoleAssistant, Content: "On its way."})
//	client.CreateMessageFeedback(ctx, align.MessageFeedback{SessionID: "s1", Index: 2, Type: align.ThumbsUp})
//	client.CloseSession(ctx, align.SessionEnd{SessionID: "s1"})
//
// # Ways to record
//
// The plain calls above leave the counting to the app. A [SessionHandle] does it for them: [Client.StartSession] and
// [Client.Session] return one, [NewContext] carries it to where the answer is made.
//
//	s := client.Session("s1")
//	s.User(ctx, "Where is my order?")
//	s.Assistant(ctx, "On its way.")
//	s.ThumbsUp(ctx)
//
// An [Interaction] is a question and its answer with latency, time to first token and success, measured from
// [Client.Begin] to [Interaction.End]; the answer may be streamed into it. [Client.Track] records one that is over. Those
// that nobody ends are recorded as incomplete.
//
//	in := client.Begin(align.InteractionStart{UserID: "u1", ConversationID: "s1", Input: "Where is my order?"})
//	fmt.Fprint(in, "On its way.") // as the tokens come
//	in.End(ctx, "")
//
// [Client.Converse] goes around a function of the app's that calls its model: it records the user's messages, calls the
// function with what was said so far ([History]), records its answer or failure, and puts calls on one conversation in order.
//
//	answer, err := client.Converse(ctx, conversation, []string{"Where is my order?"}, agent)
//
// # What a call does
//
// A recording call checks its argument against the limits, encodes the event once into the bytes that will go on the
// wire, appends them to a bounded buffer and returns. Nothing of the argument is kept. The call's context carries values
// only (see [WithReceipt] and [WithTime]); that it ends does not take back what was recorded, unless the call waits for room under
// [OverflowBlock].
//
// A mistake in the argument is returned as one error that joins a *[FieldError] for every problem. Nothing was recorded
// then. Lengths are Unicode code points throughout.
//
// # Delivery
//
// Events leave in batches: 500 events, or 512 KiB, or 3 s after the first ([Config] has the knobs). The events of one
// session leave in the order they were recorded, also across retries.
//
// A batch that does not get through for a reason that passes (network errors, 408, 425, 429, 5xx) is sent again, the same
// bytes under the same request id, with full jitter between 0.1 s and 30 s or when the collector's Retry-After says. A
// refused key, a wrong path and the like are asked about every few minutes; [Client.Health] says what is wrong. When the
// collector refuses a batch as it is (400, 413, 422), it is halved until the event at fault is alone; that one is
// dropped, the others are delivered. A collector that refuses everything is noticed, by a request without events, and
// asked rarely: nothing is dropped for its fault.
//
// At any moment, in [Stats]:
//
//	Accepted = Delivered + Dropped (by reason) + Pending
//
// [Config.OnDrop] is told of every event that is dropped. Delivery is at least once; the collector keeps an event id once.
//
// # When the collector is away
//
// The buffer holds up to 100,000 events and 24 MiB, waiting and in flight. When it is full, recording returns
// [ErrBufferFull] at once, or waits, or drops the oldest: [Config.Overflow]. When the collector returns, one probe goes
// first, then one batch for each sender, then everything.
//
// # Surviving a crash
//
// With [Config.SpoolDir] events wait in files instead of memory, in the very bytes that will be sent. When a recording call
// returns its event outlives the process, kill -9 included, at about the speed of memory where files can be mapped (Linux,
// macOS, the BSDs; elsewhere each event is written). [Config.SpoolSync] bounds what a loss of power can take: a second's
// events, or with [SyncAlways] none.
//
// The next client with the same directory delivers what is left first, in order, each request that was under way under the
// same request id, and closes sessions that went quiet meanwhile. [Stats.Recovered] counts it. A torn or changed record
// ends its file: what is behind it is dropped under [DropCorrupt]. One client at a time may have a directory; a second one
// gets [ErrSpoolLocked].
//
// [Config.SpoolMaxBytes] bounds the disk, and then Overflow says what happens. A disk that is full, read-only or broken
// stops nothing once the client has the directory: new events go to memory, within the limits of the buffer, [Client.Health]
// and the log say so, and the spool is tried again with the next event, a second later. SyncAlways, too, then promises no
// more than memory does. Close leaves in the spool what it could not deliver. [InspectSpool] looks at what is there.
//
// # Sessions that nobody closes
//
// A session without opening or message for 30 minutes is closed by the client, with the reason idle and the time of its
// last activity as its end. Feedback is no activity. Other processes may have seen later messages: the collector lets
// later activity win, so closing is never a race.
//
// # Transcripts, and Acro-compatible endpoints
//
// [Client.RecordTranscript] records a conversation that is over, in one call: all of it or nothing. A [Transcript] has the
// fields of the Acro conversation document, which [ParseTranscript] reads; examples/import imports a file of them.
//
// With [Config.Acro] the recording calls are the same, but the client delivers to an endpoint that takes that document: it
// assembles each session in memory and posts it when it ends. [AcroConfig] says what that means for events, memory and
// what the document has no word for.
//
// # Shutdown
//
// [Client.Flush] is a barrier: it returns when everything accepted before it is acknowledged. [Client.Close] spends its
// deadline delivering what is left and then stops for good: no goroutine, timer or connection remains. Both return a
// *[DeliveryError] when something is left, which with a spool is there for the next client.
//
// # Privacy
//
// The default host is a collector on the same machine; plain http to any other needs [Config.Insecure]. [Config.Redact]
// masks kinds of personal data, [Config.BeforeSend] sees every event and may change or drop it, [Config.NoContent] keeps
// every word in the process. Neither content nor keys appear in errors and logs; what a collector's answer says is in
// [StatusError.Message] alone.
//
// # Thumbs from a browser
//
// [Client.FeedbackToken] signs, without asking anyone, what lets one voter vote on one message until it expires. Package
// feedbackhttp has the handler that takes it back, with limits and checks of where a request comes from.
//
// # Testing your app
//
// Package aligntest has a collector in memory that records what your app sent, and plays any fault you ask for.
package align
