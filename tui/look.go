package tui

import (
	"fmt"
	"time"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/text"
	"cove/tui/theme"
)

// stateLook is the sign and the look of a state.
func stateLook(s lifecycle.State, th *theme.Theme) (string, theme.Style) {
	g := th.Glyphs
	switch s {
	case lifecycle.Started:
		return g.Started, th.OK
	case lifecycle.Stopped, lifecycle.Destroyed:
		return g.Stopped, th.Rest
	case lifecycle.Archived:
		return g.Archived, th.Rest
	case lifecycle.Paused:
		return g.Paused, th.Warn
	case lifecycle.Error, lifecycle.BuildFailed:
		return g.Failed, th.Bad
	case lifecycle.Unknown:
		return g.Unknown, th.Bad
	case lifecycle.Creating, lifecycle.PendingBuild, lifecycle.BuildingSnapshot, lifecycle.PullingSnapshot,
		lifecycle.Starting, lifecycle.Stopping, lifecycle.Restoring, lifecycle.Resizing, lifecycle.Destroying,
		lifecycle.Archiving, lifecycle.Snapshotting, lifecycle.Forking, lifecycle.Pausing, lifecycle.Resuming:
		return g.Passing, th.Busy
	}
	return g.Unknown, th.Bad // a state of a newer daemon
}

// boxLook is the sign and the look of a sandbox: that of its state, unless it
// came there in a way that somebody should look at.
func boxLook(b *api.Sandbox, th *theme.Theme) (string, theme.Style) {
	if attention(b) == lookAt {
		return th.Glyphs.Look, th.Warn
	}
	return stateLook(b.State, th)
}

// urgency is how much a sandbox needs a person; the highest comes first.
type urgency int

const (
	calm   urgency = iota
	lookAt         // it stopped, and not because somebody wanted it, or stands still
	broken         // it failed
)

// held tells whether a sandbox's processes stand still though it is started.
func held(b *api.Sandbox) bool { return b.Held != "" && b.State == lifecycle.Started }

// attention tells how much a sandbox needs a person.
func attention(b *api.Sandbox) urgency {
	switch {
	case failed(b.State):
		return broken
	case held(b):
		return lookAt
	case b.State == lifecycle.Stopped && b.Reason != nil && !wanted(b.Reason):
		return lookAt
	}
	return calm
}

// failed tells whether a state needs a look.
func failed(s lifecycle.State) bool {
	return s == lifecycle.Error || s == lifecycle.BuildFailed || s == lifecycle.Unknown
}

// wanted tells whether a stop was somebody's will, or its program's good end.
func wanted(r *lifecycle.Reason) bool {
	switch r.Kind {
	case lifecycle.ReasonOOM, lifecycle.ReasonDisk, lifecycle.ReasonSignal, lifecycle.ReasonCrash, lifecycle.ReasonFailed:
		return false
	case lifecycle.ReasonExited:
		return r.Code == 0
	case lifecycle.ReasonUser, lifecycle.ReasonIdle, lifecycle.ReasonTTL, lifecycle.ReasonReboot,
		lifecycle.ReasonAutoArchive, lifecycle.ReasonAutoDelete:
	}
	return true
}

// why says in words why a sandbox is in its state; "" when there is no reason.
func why(b *api.Sandbox) string { return reasonWords(b.Reason) }

// reasonWords are a reason in words, "" when there is none.
func reasonWords(r *lifecycle.Reason) string {
	if r == nil || r.Kind == "" {
		return ""
	}
	var s string
	switch r.Kind {
	case lifecycle.ReasonUser:
		s = "somebody stopped it"
	case lifecycle.ReasonIdle:
		s = "it was idle"
	case lifecycle.ReasonTTL:
		s = "its time was over"
	case lifecycle.ReasonAutoArchive, lifecycle.ReasonAutoDelete:
		s = "it had been stopped for long"
	case lifecycle.ReasonReboot:
		s = "the machine was started anew"
	case lifecycle.ReasonOOM:
		s = "out of memory"
	case lifecycle.ReasonDisk:
		s = "the host's disk was nearly full"
	case lifecycle.ReasonExited:
		s = fmt.Sprintf("its first program exited with status %d", r.Code)
	case lifecycle.ReasonSignal:
		s = "its first program was ended by signal " + r.Signal
	case lifecycle.ReasonCrash:
		s = "it ended, and nobody saw how"
	case lifecycle.ReasonFailed:
		if r.Detail != "" {
			return r.Detail // "error" says already that it failed
		}
		s = "an operation failed"
	default:
		s = r.String()
	}
	if r.Detail != "" {
		s += ": " + r.Detail
	}
	return s
}

// trouble says in words why a sandbox needs a person.
func trouble(b *api.Sandbox) string {
	if held(b) {
		return "held: " + b.Held
	}
	return why(b)
}

// stateWords is a state in one or two words, and in one.
func stateWords(b *api.Sandbox, th *theme.Theme) (long, short string) {
	short = string(b.State)
	switch b.State {
	case lifecycle.PullingSnapshot:
		short = "pulling"
	case lifecycle.BuildingSnapshot, lifecycle.PendingBuild:
		short = "building"
	case lifecycle.Snapshotting:
		short = "snapshot"
	case lifecycle.BuildFailed:
		short = "failed"
	default:
	}
	long = string(b.State)
	if held(b) {
		return long + ", held", "held"
	}
	if b.Reason != nil && b.Reason.Kind != "" && !failed(b.State) && !b.State.Running() && !b.State.Passing() {
		long += " " + th.Glyphs.Dot + " " + b.Reason.String()
	}
	return long, short
}

// since is how long a sandbox has been as it is; "" where nobody knows.
func since(b *api.Sandbox, passing map[string]time.Time, now time.Time) string {
	from := b.Stopped
	switch {
	case b.State.Passing():
		from = nil
		if at, ok := passing[b.ID]; ok {
			from = &at
		} else if b.State == lifecycle.Creating || b.State == lifecycle.PullingSnapshot {
			from = &b.Created
		}
	case b.State.Running():
		from = b.Started
	}
	if from == nil {
		return ""
	}
	return text.Age(now.Sub(*from))
}
