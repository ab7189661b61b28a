package align

import (
	"context"
	"log/slog"
)

var (
	discard = slog.New(slog.DiscardHandler)
	bg      = context.Background()
)
