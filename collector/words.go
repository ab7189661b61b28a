package collector

import ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"

// CloseReason returns why an event says that a session was closed, in this project's words. Base clients know no reasons:
// that is explicit.
func CloseReason(m *ingestionv1alpha.EventProperties_SessionProperties) string {
	switch m.GetCloseReason() {
	case ingestionv1alpha.EventProperties_SessionProperties_CLOSE_REASON_IDLE:
		return CloseIdle
	case ingestionv1alpha.EventProperties_SessionProperties_CLOSE_REASON_SHUTDOWN:
		return CloseShutdown
	case ingestionv1alpha.EventProperties_SessionProperties_CLOSE_REASON_TRANSFER:
		return CloseTransfer
	}
	return CloseExplicit
}

// Role returns who an event says has spoken: user, assistant, system, tool or human. Assistant is what base clients send for
// every role that they have no word for.
func Role(m *ingestionv1alpha.EventProperties_MessageProperties) string {
	switch m.GetExtendedRole() {
	case ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_SYSTEM:
		return "system"
	case ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_TOOL:
		return "tool"
	case ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_HUMAN:
		return "human"
	}
	if m.GetMessageRole() == ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER {
		return "user"
	}
	return "assistant"
}
