package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/metrics"
)

var _ metrics.Exports = (*Exporter)(nil)

// DailyRows implements [metrics.Exports]: it reads the NDJSON of a day's own file, as anybody would who has it, and nothing
// else. It makes no day final, as who asks for an explanation wants no file made; where there is none the error is
// [metrics.ErrNoFile].
func (e *Exporter) DailyRows(ctx context.Context, project string, on time.Time, yield func(*metrics.Row) error) error {
	day := collector.DayOf(on)
	switch _, err := e.manifest(ctx, project, day); {
	case errors.Is(err, collector.ErrNotFound):
		return metrics.ErrNoFile
	case err != nil:
		return err
	}
	return e.lines(ctx, project, Variant{Day: day, Format: FormatNDJSON}, func(text []byte) error {
		var r Row
		if err := json.Unmarshal(text, &r); err != nil {
			return fmt.Errorf("export: a line of %s cannot be read: %w", day, err)
		}
		return yield(counted(&r))
	})
}

// counted is what metrics count of a row.
func counted(r *Row) *metrics.Row {
	c := &metrics.Row{
		Status: r.ConversationStatus, Resolution: r.LastResolution,
		BotMessages: r.BotMessagesCount, VisitorMessages: r.VisitorMessagesCount, NotUnderstood: r.NotUnderstoodCount,
		LLMNotUnderstood: r.LLMNotUnderstoodCount, LLMResponseGenerated: r.LLMResponseGeneratedCount, LLMError: r.LLMErrorOccurredCount,
		LLMEscalationRequired: r.LLMEscalationCount, LLMFallback: r.LLMFallbackCount,
		IsLLM: r.IsLLMConversation, TestMode: r.TestMode, Again: r.Episode > 1, HasIntent: len(r.TriggeredIntentReplies) > 0,
	}
	for _, intent := range r.TriggeredIntentReplies {
		c.HasMeaningfulIntent = c.HasMeaningfulIntent || !intent.NotMeaningful
	}
	return c
}
