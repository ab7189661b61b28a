// Package feedbackhttp takes thumbs from a browser: an [http.Handler] to mount where a page can post to.
//
//	thumbs, err := feedbackhttp.New(client, feedbackhttp.Config{})
//	…
//	mux.Handle("/feedback", thumbs)
//
// # Who may vote
//
// With a token. The app puts one into the page for each answer it shows, [align.Client.FeedbackToken], and the page sends
// it back with the vote. The token names session, message and voter, so the page cannot choose them, and no cookie is
// needed: any origin that [Config.AllowedOrigins] lists may post it.
//
// With the app's own sign-in, where [Config.Voter] is set: a request without token names session and index, and the app
// says who it is and whether that user may vote there. Such a request must come from the app's own pages. Browsers say
// where a request comes from (Sec-Fetch-Site, and Origin in older ones) and no page can forge that; a request that does
// not say it is refused, so no other site can vote with a visitor's cookie. The pages of a listed origin may do it, too,
// when they are of the same site; cookies then need credentials: "include".
//
// # The request
//
// POST, of at most 4 KiB, as application/json or application/x-www-form-urlencoded in UTF-8:
//
//	token    what Client.FeedbackToken returned
//	session  without token: the session
//	index    without token: the message, a whole number from 1; 0 or absent for the session as a whole
//	vote     up, down, or none to take the vote back
//	comment  optional, at most 2,000 Unicode code points
//	reasons  optional, at most 10 of at most 64 Unicode code points: an array in JSON, repeated in a form
//
// A field may stand once (reasons in a form aside), and no other field may: a misspelt one would be a comment lost without a
// word. What the URL says beside the path is not looked at, so that no token has to be where logs keep it. GET does not
// vote: programs that look ahead at links would.
//
// The last vote of a voter on a target is the current one, so the same request twice is one vote, and another vote changes
// it. A vote may come before its message does.
//
// # The answer
//
// 204 when the vote is recorded: accepted by the client, which delivers it. Everything else is JSON, a [Problem]:
//
//	400  malformed       the body cannot be read as what it says it is
//	400  unknown_field   or repeated_field: it has a field too many
//	401  token_invalid   or token_expired: a new token may do
//	401  token_required  or sign_in_required: nothing says who votes
//	403  origin          the page is of an origin that may not post here
//	403  not_allowed     the app does not let this user vote there
//	405  method          Allow says which may be used
//	413  too_large       the body has more than 4 KiB
//	415  media_type      Accept-Post says which may be used
//	422  invalid         the field named has a value that it may not have
//	429  too_many        Retry-After says when to come back
//	500  internal        the app's Voter or BeforeSend hook said what breaks the limits
//	503  unavailable     the client is closed, or its buffer is full
//
// With [align.Config.Strict] the client can say neither who votes, nor comment, reasons or none: a vote with such is
// answered 422, or 500 for the voter. With [align.Config.Acro] votes are taken and dropped: that protocol has no word for them.
//
// No answer is to be cached. The handler writes no log: what voters write goes to the client and nowhere else.
package feedbackhttp
