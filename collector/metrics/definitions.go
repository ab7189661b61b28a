package metrics

import (
	"fmt"
	"slices"
)

// Kind says how a metric is made of what it counts.
type Kind string

const (
	Count        Kind = "count"        // the sum of numerators; the denominator is how many conversations count
	Rate         Kind = "rate"         // a share: numerator by denominator, 0 to 1 but where its formula says otherwise
	Mean         Kind = "mean"         // an amount for each: numerator by denominator
	Distribution Kind = "distribution" // of samples; the value is the median
)

// Definition is a metric, as data: what the API computes, what it explains, and what docs/metrics.md says.
type Definition struct {
	Name, Title string
	// Formula is in words.
	Formula string
	Unit    string
	Kind    Kind
	// Numerator and Denominator are SQL over the view conversations of sql.go, and sum up; see expr.go. Of distributions,
	// Numerator is the sample of a conversation, or of many, the name of a list of them.
	Numerator, Denominator string
	// Scale is what the sum of numerators is divided by, so that sums are of whole numbers; 0 is 1.
	Scale float64
	// Where says which conversations count, in SQL; empty is all in scope.
	Where string
	// Statement is the whole SQL of a metric that counts users over time; see users.go.
	Statement string
	// WholeDays says that it counts users by UTC days, and so has a number only where the window is of whole ones.
	WholeDays bool
	// Excludes says in words what Where leaves out. Test mode is left out of all, unless asked for.
	Excludes string
	// Source names the definition that this is, in the collection it was taken from.
	Source string
	// Interval asks for the Wilson interval.
	Interval bool
	// Version counts changes of what the number means.
	Version int
}

const (
	escalated = "status IN ('email', 'agent', 'customEscalation')"

	// Of hours_saved, by minutes.
	savedFormula = "assistant messages × %d minutes"
	savedSQL     = "assistant_messages * %d"
)

// Definitions are all metrics, in the order in which they are shown.
var Definitions = versioned([]Definition{
	{Name: "total_conversations", Title: "Conversations", Formula: "conversations in the window", Unit: "conversations", Kind: Count, Numerator: "1", Denominator: "1", Source: "M1"},
	{Name: "bot_handled_conversations", Title: "Handled by the bot", Formula: "conversations whose status is botHandled", Unit: "conversations", Kind: Count, Numerator: "status = 'botHandled'", Denominator: "1", Source: "M2"},
	{Name: "bot_handled_rate", Title: "Bot handled rate", Formula: "conversations whose status is botHandled / conversations", Unit: "share", Kind: Rate, Numerator: "status = 'botHandled'", Denominator: "1", Source: "M2"},
	{Name: "deflection_rate", Title: "Deflection rate", Formula: "conversations that were not handed on (status neither email, agent nor customEscalation, so noStatus and failedEscalation count) / conversations", Unit: "share", Kind: Rate, Numerator: "NOT " + escalated, Denominator: "1", Source: "M3"},
	{Name: "escalation_rate", Title: "Escalation rate", Formula: "conversations with status email, agent or customEscalation / conversations", Unit: "share", Kind: Rate, Numerator: escalated, Denominator: "1", Source: "M4"},
	{Name: "failed_escalation_rate", Title: "Failed escalation rate", Formula: "conversations with status failedEscalation / conversations", Unit: "share", Kind: Rate, Numerator: "status = 'failedEscalation'", Denominator: "1", Source: "M5"},
	{Name: "informed_rate", Title: "Informed rate", Formula: "conversations whose last resolution is informed / conversations", Unit: "share", Kind: Rate, Numerator: "resolution = 'informed'", Denominator: "1", Source: "M6"},
	{Name: "automation_rate", Title: "Automation rate", Formula: "conversations whose last resolution is informed or resolved / conversations", Unit: "share", Kind: Rate, Numerator: "resolution IN ('informed', 'resolved')", Denominator: "1", Source: "M7"},
	{Name: "messages_understood_rate", Title: "Messages understood", Formula: "user messages that were understood / user messages; long conversations weigh more", Unit: "share", Kind: Rate, Numerator: "user_messages - not_understood", Denominator: "user_messages", Source: "M8"},
	{Name: "conversations_with_first_intent", Title: "Conversations with an intent", Formula: "conversations in which an intent was triggered; the view digests has the first and the last of each", Unit: "conversations", Kind: Count, Numerator: "intents > 0", Denominator: "1", Source: "M9"},
	{Name: "conversations_with_meaningful_intent", Title: "Conversations with a meaningful intent", Formula: "conversations with an intent that is neither marked as not meaningful nor a greeting, thanks, goodbye or a call for a human; by time, the first of them is what group intent groups by, and those without are the group that has no name", Unit: "conversations", Kind: Count, Numerator: "meaningful_intent", Denominator: "1", Source: "M10"},
	{Name: "bot_summary_conversations", Title: "Conversations with a bot message", Formula: "conversations with at least one assistant message: what the bot summary counts", Unit: "conversations", Kind: Count, Numerator: "assistant_messages > 0", Denominator: "1", Source: "M12"},

	{Name: "engaged_conversations", Title: "Engaged conversations", Formula: "conversations with at least one user message", Unit: "conversations", Kind: Count, Numerator: "engaged", Denominator: "1", Source: "engaged sessions"},
	{Name: "engaged_rate", Title: "Engaged rate", Formula: "conversations with at least one user message / conversations", Unit: "share", Kind: Rate, Numerator: "engaged", Denominator: "1", Source: "engaged sessions"},
	{Name: "containment_rate", Title: "Containment", Formula: "conversations that were not handed to people / engaged conversations that have ended; says nothing of success", Unit: "share", Kind: Rate, Numerator: "NOT transferred", Denominator: "1", Where: "engaged AND ended", Excludes: "conversations without a user message, and those that go on", Source: "containment"},
	{Name: "containment_no_callback_rate", Title: "Containment without call-back", Formula: "contained conversations whose user started no other within 24 hours / engaged conversations of known users that ended more than 24 hours ago", Unit: "share", Kind: Rate, Numerator: "NOT transferred AND NOT called_back", Denominator: "1", Where: "engaged AND ended AND called_back IS NOT NULL", Excludes: "conversations without a user message or a known user, and those that go on or ended less than 24 hours ago", Source: "containment, no call-back"},
	{Name: "handoff_rate", Title: "Handed to people", Formula: "conversations handed to people / engaged conversations", Unit: "share", Kind: Rate, Numerator: "transferred", Denominator: "1", Where: "engaged", Excludes: "conversations without a user message", Source: "handoff / escalation"},
	{Name: "confirmed_resolution_rate", Title: "Resolution, confirmed", Formula: "ended conversations whose last vote is up, or where the user's last word was thanks or agreement and neither the last answer nor the whole was voted down / ended conversations with an answer; what follows a greeting is none", Unit: "share", Kind: Rate, Numerator: "confirmed", Denominator: "1", Where: "answered AND ended", Excludes: "conversations without an answer to a request, and those that go on", Source: "resolution (confirmed)", Version: 2},
	{Name: "assumed_resolution_rate", Title: "Resolution, assumed", Formula: "ended conversations in which nobody called for a human, and whose last question was understood and answered, with no vote down on that answer or the whole / ended conversations with an answer; a call for a human anywhere counts, as such a conversation is a failed escalation", Unit: "share", Kind: Rate, Numerator: "assumed", Denominator: "1", Where: "answered AND ended", Excludes: "conversations without an answer to a request, and those that go on", Source: "resolution (assumed)", Version: 2},
	{Name: "fin_automation_rate", Title: "Automation, as involvement × resolution", Formula: "ended conversations that the assistant resolved alone / ended conversations with a user message: involvement rate times resolution rate; not automation_rate", Unit: "share", Kind: Rate, Numerator: "autonomous AND answered", Denominator: "1", Where: "engaged AND ended", Excludes: "conversations without a user message, and those that go on", Source: "automation (Fin)", Version: 2},
	{Name: "durable_resolution_rate", Title: "Durable resolution", Formula: "conversations whose first resolution by the assistant alone was followed by no new episode within 7 days / those resolved so more than 7 days ago; an episode ends with the idle time", Unit: "share", Kind: Rate, Numerator: "durable", Denominator: "1", Where: "durable IS NOT NULL", Excludes: "conversations that the assistant did not resolve alone, or did less than 7 days ago", Source: "durable resolution"},
	{Name: "reopen_rate", Title: "Reopened", Formula: "conversations whose first resolution by the assistant alone was followed by another episode / conversations with such a resolution", Unit: "share", Kind: Rate, Numerator: "reopened", Denominator: "1", Where: "reopened IS NOT NULL", Excludes: "conversations that the assistant did not resolve alone", Source: "reopen rate"},
	{Name: "involvement_rate", Title: "Involvement", Formula: "conversations in which the assistant replied or handed on / engaged conversations", Unit: "share", Kind: Rate, Numerator: "assistant_messages > 0 OR transferred", Denominator: "1", Where: "engaged", Excludes: "conversations without a user message", Source: "coverage / involvement"},
	{Name: "abandonment_rate", Title: "Abandoned", Formula: "conversations that were handed to nobody and closed idle with the user unanswered, or with a question or fallback of the assistant's as the last word, or of which the app recorded that the purpose was not met / engaged conversations", Unit: "share", Kind: Rate, Numerator: "abandoned", Denominator: "1", Where: "engaged", Excludes: "conversations without a user message", Source: "abandonment"},
	{Name: "bounce_rate", Title: "Bounced", Formula: "conversations with exactly one user message and no vote in favour / engaged conversations; one perfect answer is no failure, so read it beside thumbs", Unit: "share", Kind: Rate, Numerator: "user_messages = 1 AND votes_up = 0 AND session_positive = 0", Denominator: "1", Where: "engaged", Excludes: "conversations without a user message", Source: "bounce"},
	{Name: "understood_rate_macro", Title: "Understood, by conversation", Formula: "mean over engaged conversations of user messages that were understood / user messages", Unit: "share", Kind: Rate, Numerator: "understood_share", Denominator: "1", Scale: 1e6, Where: "engaged", Excludes: "conversations without a user message", Source: "understood rate (macro)"},
	{Name: "detected_share", Title: "Misunderstandings only detected", Formula: "user messages that nobody but the detector says were not understood / user messages that were not understood", Unit: "share", Kind: Rate, Numerator: "detected", Denominator: "not_understood", Source: "the detector's share"},
	{Name: "recorded_status_share", Title: "Status recorded by the app", Formula: "conversations whose status the app recorded / conversations; the others' are by rule", Unit: "share", Kind: Rate, Numerator: "status_recorded", Denominator: "1", Source: "status rule"},
	{Name: "fallback_rate", Title: "Fallbacks", Formula: "assistant messages recorded as fallback / assistant messages", Unit: "share", Kind: Rate, Numerator: "fallbacks", Denominator: "assistant_messages", Source: "fallback rate"},
	{Name: "llm_conversations", Title: "Conversations with a model's answer", Formula: "conversations with at least one answer of a model", Unit: "conversations", Kind: Count, Numerator: "is_llm", Denominator: "1", Source: "is_llm_conversation"},
	{Name: "llm_not_understood", Title: "Answers: not understood", Formula: "answers of models that did not understand, as recorded, or else as detected", Unit: "messages", Kind: Count, Numerator: "llm_not_understood", Denominator: "1", Source: "llm_notUnderstood_count"},
	{Name: "llm_response_generated", Title: "Answers: generated", Formula: "answers of models that answer", Unit: "messages", Kind: Count, Numerator: "llm_response_generated", Denominator: "1", Source: "llm_responseGenerated_count"},
	{Name: "llm_error_occurred", Title: "Answers: errors", Formula: "answers of models that failed", Unit: "messages", Kind: Count, Numerator: "llm_error_occurred", Denominator: "1", Source: "llm_errorOccurred_count"},
	{Name: "llm_escalation_required", Title: "Answers: a human needed", Formula: "answers of models that asked for a human", Unit: "messages", Kind: Count, Numerator: "llm_escalation_required", Denominator: "1", Source: "llm_escalationRequired_count"},
	{Name: "llm_fallback", Title: "Answers: fallback", Formula: "answers of models recorded as fallback", Unit: "messages", Kind: Count, Numerator: "llm_fallback", Denominator: "1", Source: "llm_fallback_count"},

	{Name: "thumbs_up_rate", Title: "Thumbs up", Formula: "thumbs up / thumbs up and down: on assistant messages, one current vote for each voter and message; read it beside feedback_rate", Unit: "share", Kind: Rate, Numerator: "votes_up", Denominator: "votes_up + votes_down", Interval: true, Source: "thumbs-up rate (CSAT-thumbs)"},
	{Name: "feedback_rate", Title: "Feedback rate", Formula: "assistant messages with a vote / assistant messages", Unit: "share", Kind: Rate, Numerator: "rated", Denominator: "assistant_messages", Source: "feedback rate"},
	{Name: "net_thumbs", Title: "Net thumbs", Formula: "(thumbs up − thumbs down) / thumbs up and down; from −1 to 1", Unit: "share", Kind: Rate, Numerator: "votes_up - votes_down", Denominator: "votes_up + votes_down", Source: "net thumbs"},
	{Name: "session_csat", Title: "Conversation CSAT", Formula: "votes on whole conversations that are up, or at least three quarters up their scale (4 and 5 of 1 to 5) / votes on whole conversations", Unit: "share", Kind: Rate, Numerator: "session_positive", Denominator: "session_votes", Interval: true, Source: "session CSAT"},

	{Name: "messages_per_session", Title: "Messages a conversation", Formula: "user and assistant messages / conversations; humans, tools and system are left out", Unit: "messages", Kind: Mean, Numerator: "user_messages + assistant_messages", Denominator: "1", Source: "messages per session"},
	{Name: "messages_per_session_median", Title: "Messages a conversation, median", Formula: "user and assistant messages of each conversation", Unit: "messages", Kind: Distribution, Numerator: "user_messages + assistant_messages", Source: "messages per session"},
	{Name: "turns_per_session", Title: "Turns a conversation", Formula: "user messages / conversations", Unit: "messages", Kind: Mean, Numerator: "user_messages", Denominator: "1", Source: "messages per session"},
	{Name: "session_duration", Title: "Duration", Formula: "last activity − start, of ended conversations with two messages or more; without the idle time that ended them", Unit: "ms", Kind: Distribution, Numerator: "duration", Where: "ended AND user_messages + assistant_messages + human_messages >= 2", Excludes: "conversations that go on, and those with fewer than two messages", Source: "session duration"},
	{Name: "first_response_time", Title: "Time to first response", Formula: "first assistant message after the first user message − that user message, of each conversation that has both", Unit: "ms", Kind: Distribution, Numerator: "first_response", Excludes: "conversations without an answer; greetings that come before the user", Source: "time to first response"},
	{Name: "response_latency", Title: "Response latency", Formula: "of each answer that did not fail: the latency that was told, else its time − that of the user message it answers", Unit: "ms", Kind: Distribution, Numerator: "latencies", Excludes: "failed answers, people's, and those whose latency is unknown", Source: "response latency"},
	{Name: "failed_response_latency", Title: "Latency of failed answers", Formula: "the same of answers that failed", Unit: "ms", Kind: Distribution, Numerator: "failed_latencies", Source: "response latency"},
	{Name: "human_response_latency", Title: "Latency of people", Formula: "people's message − the user message before it that nobody had answered", Unit: "ms", Kind: Distribution, Numerator: "human_latencies", Source: "response latency"},
	{Name: "time_to_first_token", Title: "Time to first token", Formula: "request to first token, of answers that were streamed", Unit: "ms", Kind: Distribution, Numerator: "ttfts", Excludes: "answers that were not streamed", Source: "TTFT"},
	{Name: "error_rate", Title: "Errors", Formula: "answers that failed / answers of which it is known whether they did: the app said so, or recorded an outcome of them", Unit: "share", Kind: Rate, Numerator: "failed_turns", Denominator: "known_turns", Source: "error rate", Version: 2},
	{Name: "regeneration_rate", Title: "Regenerated", Formula: "assistant messages with more than one version / assistant messages", Unit: "share", Kind: Rate, Numerator: "regenerated", Denominator: "assistant_messages", Source: "regeneration / edit / copy rate"},
	{Name: "edit_rate", Title: "Edited", Formula: "user messages with more than one version / user messages", Unit: "share", Kind: Rate, Numerator: "edited", Denominator: "user_messages", Source: "regeneration / edit / copy rate"},
	{Name: "rephrase_rate", Title: "Rephrased", Formula: "user messages that nearly repeat the user's message before / user messages with one before", Unit: "share", Kind: Rate, Numerator: "rephrased", Denominator: "rephrasable", Source: "rephrase rate"},

	{Name: "total_cost", Title: "Cost", Formula: "sum of the costs that were told", Unit: "USD", Scale: 1e9, Kind: Count, Numerator: "cost", Denominator: "1", Where: "cost IS NOT NULL", Excludes: "conversations whose cost is unknown", Source: "tokens, cost per session"},
	{Name: "cost_per_session", Title: "Cost a conversation", Formula: "sum of the costs that were told / conversations whose cost is known", Unit: "USD", Scale: 1e9, Kind: Mean, Numerator: "cost", Denominator: "1", Where: "cost IS NOT NULL", Excludes: "conversations whose cost is unknown", Source: "tokens, cost per session"},
	{Name: "cost_per_resolved_session", Title: "Cost a durable resolution", Formula: "sum of the costs of conversations old enough to tell / durable resolutions among them", Unit: "USD", Scale: 1e9, Kind: Mean, Numerator: "cost", Denominator: "durable IS NOT NULL AND durable", Where: "cost IS NOT NULL AND older_than_week", Excludes: "conversations whose cost is unknown, and those of the last 7 days", Source: "cost per resolved session"},
	{Name: "tokens_per_session", Title: "Tokens a conversation", Formula: "tokens read and written / conversations where both are known", Unit: "tokens", Kind: Mean, Numerator: "input_tokens + output_tokens", Denominator: "1", Where: "input_tokens IS NOT NULL AND output_tokens IS NOT NULL", Excludes: "conversations whose tokens are unknown", Source: "tokens, cost per session"},
	{Name: "hours_saved", Title: "Hours saved", Formula: fmt.Sprintf(savedFormula, DefaultMinutesSaved) + ", or as many as you ask with", Unit: "hours", Kind: Count, Numerator: fmt.Sprintf(savedSQL, DefaultMinutesSaved), Scale: 60, Denominator: "1", Source: "hours saved"},

	{Name: "active_users", Title: "Active users", Formula: "users who wrote at least one message in the window", Unit: "users", Kind: Count, Statement: "active_users", WholeDays: true, Excludes: "conversations whose user is unknown", Source: "DAU / WAU / MAU"},
	{Name: "dau", Title: "Daily active users", Formula: "users who wrote on a UTC day, mean over the days of the window; a conversation over midnight counts on both days", Unit: "users", Kind: Mean, Statement: "dau", WholeDays: true, Excludes: "conversations whose user is unknown", Source: "DAU / WAU / MAU"},
	{Name: "wau", Title: "Weekly active users", Formula: "users who wrote on the last day of the window or the 6 days before it", Unit: "users", Kind: Count, Statement: "wau", WholeDays: true, Excludes: "conversations whose user is unknown", Source: "DAU / WAU / MAU"},
	{Name: "mau", Title: "Monthly active users", Formula: "users who wrote on the last day of the window or the 29 days before it", Unit: "users", Kind: Count, Statement: "mau", WholeDays: true, Excludes: "conversations whose user is unknown", Source: "DAU / WAU / MAU"},
	{Name: "stickiness", Title: "Stickiness", Formula: "daily active users, mean over the days of the window / monthly active users; many new users mask those who leave", Unit: "share", Kind: Rate, Statement: "stickiness", WholeDays: true, Excludes: "conversations whose user is unknown", Source: "stickiness"},
	{Name: "new_users", Title: "New users", Formula: "users whose first conversation ever started in the window", Unit: "users", Kind: Count, Statement: "new_users", Excludes: "conversations whose user is unknown", Source: "new / returning users"},
	{Name: "returning_users", Title: "Returning users", Formula: "users with a conversation that started in the window and one before it", Unit: "users", Kind: Count, Statement: "returning_users", Excludes: "conversations whose user is unknown", Source: "new / returning users"},
	{Name: "sessions_per_user", Title: "Conversations a user", Formula: "conversations of known users / their users", Unit: "conversations", Kind: Mean, Statement: "sessions_per_user", Excludes: "conversations whose user is unknown", Source: "sessions per user"},
	{Name: "retention_d1", Title: "Retention, day 1", Formula: "users who wrote again on the 1st UTC day after the one on which they first wrote / users who first wrote on a day of the window that is long enough ago", Unit: "share", Kind: Rate, Statement: "retention_d1", WholeDays: true, Excludes: "days whose 1st day after is not over", Source: "retention D-n (n-day)"},
	{Name: "retention_d7", Title: "Retention, day 7", Formula: "the same of the 7th day after", Unit: "share", Kind: Rate, Statement: "retention_d7", WholeDays: true, Excludes: "days whose 7th day after is not over", Source: "retention D-n (n-day)"},
	{Name: "retention_d30", Title: "Retention, day 30", Formula: "the same of the 30th day after", Unit: "share", Kind: Rate, Statement: "retention_d30", WholeDays: true, Excludes: "days whose 30th day after is not over", Source: "retention D-n (n-day)"},
})

// Unavailable are metrics of the collection that our data cannot give, and why.
var Unavailable = []struct{ Name, Why string }{
	{"copy rate", "no client tells that an answer was copied"},
	{"funnel", "its steps are an app's own; `align sql` counts them over the views conversations and messages"},
	{"mean rating", "scales differ from app to app; session_csat puts them on one, and the view votes has every score"},
	{"positive deflection tag", "an app's own label: filter by label"},
}

func versioned(list []Definition) []Definition {
	for i := range list {
		if list[i].Version == 0 {
			list[i].Version = 1
		}
	}
	return list
}

// Find returns the definition of a metric, or nil.
func Find(name string) *Definition {
	i := slices.IndexFunc(Definitions, func(d Definition) bool { return d.Name == name })
	if i < 0 {
		return nil
	}
	return &Definitions[i]
}

// in is the definition as it is asked for.
func (d *Definition) in(s *Scope) *Definition {
	if d.Name != "hours_saved" || s.MinutesSaved == DefaultMinutesSaved {
		return d
	}
	own := *d
	own.Formula, own.Numerator = fmt.Sprintf(savedFormula, s.MinutesSaved), fmt.Sprintf(savedSQL, s.MinutesSaved)
	return &own
}
