-- The metrics of the export document (M1 to M12), over files of the daily export. This is the SQL that a test runs with
-- DuckDB on exported NDJSON and Parquet and compares with GetMetrics. Statements end with a semicolon at the end of a line;
-- each has a name, in the comment before it.
--
-- First make the table of conversations. With NDJSON:
--
--   CREATE VIEW days AS SELECT * FROM read_json('exports/*[0-9].ndjson', format = 'newline_delimited', columns = {…});
--   CREATE VIEW late AS SELECT * FROM read_json('exports/*.late.ndjson', format = 'newline_delimited', columns = {…}, filename = true);
--
-- With Parquet: read_parquet('exports/*[0-9].parquet') and read_parquet('exports/*.late.parquet', filename = true).

-- name: told
-- What files say in the end: the last late row of a conversation, or else the row of its day.
CREATE VIEW told AS
SELECT * EXCLUDE (filename, day, reasons) FROM late
QUALIFY row_number() OVER (PARTITION BY conversation_id ORDER BY filename DESC) = 1
UNION ALL BY NAME
SELECT * FROM days WHERE conversation_id NOT IN (SELECT conversation_id FROM late);

-- name: conversations
-- Episodes of one conversation together: counts add up, the last episode says how it ended.
CREATE VIEW conversations AS
SELECT platform_conversation_id AS conversation_id,
	min(conversation_start_time) AS conversation_start_time, max(conversation_end_time) AS conversation_end_time,
	arg_max(conversation_status, episode) AS conversation_status, arg_max(last_resolution, episode) AS last_resolution,
	arg_max(test_mode, episode) AS test_mode,
	flatten(list(triggered_intent_replies ORDER BY episode)) AS triggered_intent_replies,
	sum(bot_messages_count) AS bot_messages_count, sum(visitor_messages_count) AS visitor_messages_count,
	sum(not_understood_messages_count) AS not_understood_messages_count
FROM told GROUP BY platform_conversation_id;

-- name: counted
-- Test conversations are no conversations.
CREATE VIEW counted AS SELECT * FROM conversations WHERE NOT test_mode;

-- name: total_conversations (M1)
SELECT count(DISTINCT conversation_id) AS numerator, count(DISTINCT conversation_id) AS denominator FROM counted;

-- name: bot_handled_conversations (M2)
SELECT count(DISTINCT conversation_id) FILTER (conversation_status = 'botHandled') AS numerator, count(DISTINCT conversation_id) AS denominator FROM counted;

-- name: bot_handled_rate (M2)
SELECT count(DISTINCT conversation_id) FILTER (conversation_status = 'botHandled') AS numerator, count(DISTINCT conversation_id) AS denominator FROM counted;

-- name: deflection_rate (M3)
SELECT count(DISTINCT conversation_id) FILTER (conversation_status NOT IN ('email', 'agent', 'customEscalation')) AS numerator, count(DISTINCT conversation_id) AS denominator FROM counted;

-- name: escalation_rate (M4)
SELECT count(DISTINCT conversation_id) FILTER (conversation_status IN ('email', 'agent', 'customEscalation')) AS numerator, count(DISTINCT conversation_id) AS denominator FROM counted;

-- name: failed_escalation_rate (M5)
SELECT count(DISTINCT conversation_id) FILTER (conversation_status = 'failedEscalation') AS numerator, count(DISTINCT conversation_id) AS denominator FROM counted;

-- name: informed_rate (M6)
SELECT count(DISTINCT conversation_id) FILTER (last_resolution = 'informed') AS numerator, count(DISTINCT conversation_id) AS denominator FROM counted;

-- name: automation_rate (M7)
SELECT count(DISTINCT conversation_id) FILTER (last_resolution IN ('informed', 'resolved')) AS numerator, count(DISTINCT conversation_id) AS denominator FROM counted;

-- name: messages_understood_rate (M8)
SELECT sum(visitor_messages_count) - sum(not_understood_messages_count) AS numerator, sum(visitor_messages_count) AS denominator FROM counted;

-- name: conversations_with_first_intent (M9)
SELECT count(*) FILTER (triggered_intent_replies[1].intent_name IS NOT NULL) AS numerator, count(*) AS denominator FROM counted;

-- name: conversations_with_meaningful_intent (M10)
SELECT count(DISTINCT conversation_id) FILTER (len(list_filter(triggered_intent_replies,
	lambda i: NOT i.not_meaningful AND i.intent_name NOT IN ('Greeting', 'Talk to a human/agent'))) > 0) AS numerator,
	count(DISTINCT conversation_id) AS denominator FROM counted;

-- name: bot_summary_conversations (M12)
SELECT count(DISTINCT conversation_id) FILTER (bot_messages_count > 0) AS numerator, count(DISTINCT conversation_id) AS denominator FROM counted;

-- name: intents (M11)
-- The first meaningful intent of each conversation, by time: how many have it, and how many of these the bot handled.
WITH meaningful AS (
	SELECT conversation_id, conversation_status, unnest(triggered_intent_replies, recursive := true), generate_subscripts(triggered_intent_replies, 1) AS position
	FROM counted
), first AS (
	SELECT conversation_id, any_value(conversation_status) AS conversation_status, arg_min(intent_name, (intent_timestamp, position)) AS first_meaningful_intent
	FROM meaningful WHERE NOT not_meaningful AND intent_name NOT IN ('Greeting', 'Talk to a human/agent') GROUP BY conversation_id
)
SELECT first_meaningful_intent AS intent, count(*) AS total_conversations, count(*) FILTER (conversation_status = 'botHandled') AS bot_handled
FROM first GROUP BY intent ORDER BY total_conversations DESC, intent;
