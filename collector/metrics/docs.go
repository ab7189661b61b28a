package metrics

import (
	"fmt"
	"strings"
)

// Document returns docs/metrics.md: what the definitions say, for people.
func Document() string {
	var b strings.Builder
	b.WriteString(`# Metrics

<!-- Made of collector/metrics/definitions.go: go test ./collector/metrics -run Document -update-docs -->

What each number of ` + "`MetricsService`, `align metrics` and the dashboard" + ` means. The definitions are data, in
` + "`collector/metrics/definitions.go`" + `; the SQL here is what ` + "`align metrics --explain NAME`" + ` runs.

## Rules
- A rate is {numerator, denominator, value}. Where the denominator is 0 the value is unknown (null), never 0 and never NaN.
- A window is half-open, in UTC: from ≤ t < to. One cohort for all metrics of an answer: conversations that **started** in the
  window or, with ` + "`--ended`" + ` (COHORT_ENDED_AT), those that have ended and whose last activity is in it, as in the daily
  files. A conversation is in one window only.
- A conversation has ended when it was closed and nothing came after that, or when nothing came for the idle timeout. It
  ended at its last activity. That is decided when you ask, with the idle timeout that you ask with.
- Test mode is left out unless asked for. Conversations count once, by their id.
- Unknown is neither 0 nor no: sums, averages and percentiles leave it out.
- Percentiles are nearest rank, the value at ⌈p·n⌉ of the sorted sample, with n beside them.
- Against the time before, as long as the window: counts and means in percent, rates in percentage points.
- Thumbs have their Wilson 95 % interval and the feedback rate beside them.
- Metrics that count users by day (` + wholeDays() + `)
  are of whole UTC days. Where a window begins or ends within a day they are unknown, and refused where they are asked for by
  name: of a part of a day nobody knows who was active in it, and a day would count in the window and in the time before it.
- Without a window it is the last 30 UTC days, today's included as far as it has come. A user without an id counts nowhere as
  a user.
- An explanation of a number by end (` + "`--ended`" + `), over whole UTC days and without filters, computes it a third time, from the
  daily files of those days, where it rests on what they have. It says whether that is the same, and makes no day final: a day
  without a file is named, and there is no proof. Files stay as they were made, and digests do not. What came late is in late
  files, and a conversation that went on after its file is in a later one once more, as another episode: then they differ,
  and it says of how many conversations. Where there is no such proof it says why.

Groups and filters: ` + strings.Join(Dimensions(), ", ") + `. A conversation with several labels is in the group of each.
Version is custom property ` + "`agent_version`" + ` of the session, else ` + "`agentVersion`" + ` in its data; company is the id of the user's
company, else its name; intent is the first meaningful one. Country and company are those of the user now. Of more groups
than asked for, the smallest are together in one, and counted.

## Outcomes
What the app records stands; where it records nothing, these rules do. ` + "`recorded_status_share` and `detected_share`" + ` say how
much rests on which.

Status, the first that applies:

| status | when |
|---|---|
| as recorded | the app gave one of the six, in any spelling (` + "`bot_handled`, `botHandled`" + `) |
| agent | a transfer was recorded, the session was closed for one, or a message of role human came |
| email | label email, emailed or mailed |
| customEscalation | label custom escalation, escalation or escalated |
| failedEscalation | label failed escalation; an answer said that a human was needed, or the user asked for one, and none came |
| botHandled | something meaningful was asked and answered, and neither the last answer failed to understand nor the last question was left; ` + "`completed`" + ` stands for meaningful |
| noStatus | everything else; ` + "`completed = false`" + ` |

Meaningful is an intent that is neither marked otherwise nor a greeting, thanks, goodbye or call for a human; without any intents, a user
message that is more than greeting or thanks. A message without text (no-content mode) counts as meaningful.

Resolution: as recorded; else escalated where the status is agent, email or customEscalation; undefined for failedEscalation;
resolved or undefined as ` + "`completed`" + ` says; else resolved by a thumb up, undefined by a thumb down (the vote on the conversation,
or else on its last voted answer); resolved where the user's last word is thanks or agreement after an answer; informed where
the last word is an answer that asks nothing back; else undefined.

A user message was **not understood** when its answer was recorded as not_understood or fallback. Where nothing was recorded
of the answer, the detector stands in: the user asks nearly the same again (three quarters of the words in common, the same
numbers), the assistant answers word for word what it answered before, or the user asks for a human next. It is plain Go,
knows greetings, thanks and calls for a human in some twenty languages, and is switched off with ` + "`align serve --detector off`" + `.
What was seen in a text stays counted when retention or an erasure takes the text.

An answer is a **model's** when it has a model, tokens, a time to first token or an outcome. It is counted once: as recorded,
else as an error where it failed, as not understood where the detector says so, and as generated otherwise.

**Triggered replies** are the custom property ` + "`reply`" + ` of assistant messages. **Abandoned** is engaged, closed idle, handed to
nobody, and left with the user unanswered or with a question or fallback of the assistant's ("anything else?" is no question).

## Definitions
`)
	for i := range Definitions {
		d := &Definitions[i]
		fmt.Fprintf(&b, "\n### %s\n%s (`%s`, %s, in %s; %s; version %d). %s.", d.Title, d.Source, d.Name, d.Kind, d.Unit, cohortOf(d), d.Version, capital(d.Formula))
		if d.Excludes != "" {
			fmt.Fprintf(&b, " Without %s.", d.Excludes)
		}
		if d.Interval {
			b.WriteString(" With its Wilson 95 % interval.")
		}
		b.WriteString("\n")
		switch {
		case d.Statement != "":
			fmt.Fprintf(&b, "\nSQL: a statement of its own; `align metrics --explain %s` shows it.\n", d.Name)
		case d.Kind == Distribution:
			fmt.Fprintf(&b, "\n```sql\nsample: %s%s\n```\n", d.Numerator, sqlWhere(d))
		case d.Kind == Count:
			fmt.Fprintf(&b, "\n```sql\nsum(%s)%s%s\n```\n", d.Numerator, scaled(d), sqlWhere(d))
		default:
			fmt.Fprintf(&b, "\n```sql\nsum(%s)%s / sum(%s)%s\n```\n", d.Numerator, scaled(d), d.Denominator, sqlWhere(d))
		}
	}
	b.WriteString("\n## What our data cannot give\n")
	for _, u := range Unavailable {
		fmt.Fprintf(&b, "- %s: %s.\n", u.Name, u.Why)
	}
	b.WriteString(`
## Limits
Intervals take what is counted for independent; messages of one conversation are less than that, so those of shares of
messages are a little too narrow. Pauses shorter than a minute end no episode, and of one conversation the first 32 pauses
count. First conversations of users are those that are still in the data, whatever the filters, and never in test mode. A window is at most 3,660
days. Digests are made behind ingest, some hundred milliseconds after a change; ` + "`due` of an answer and `align_digests_due`" + ` of
` + "`/metrics`" + ` say how many are not there yet, and ` + "`align metrics`" + ` makes them first.
`)
	return b.String()
}

// wholeDays names the metrics that need whole days.
func wholeDays() string {
	var names []string
	for i := range Definitions {
		if Definitions[i].WholeDays {
			names = append(names, "`"+Definitions[i].Name+"`")
		}
	}
	return strings.Join(names, ", ")
}

func cohortOf(d *Definition) string {
	switch d.Statement {
	case "":
		return "by start or end"
	case "new_users", "returning_users", "sessions_per_user":
		return "users of conversations by start or end"
	}
	return "by days on which users wrote"
}

func sqlWhere(d *Definition) string {
	if d.Where == "" {
		return ""
	}
	return "\nWHERE " + d.Where
}

func scaled(d *Definition) string {
	if d.Scale == 0 {
		return ""
	}
	return fmt.Sprintf(" / %.0f", d.Scale)
}

func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }
