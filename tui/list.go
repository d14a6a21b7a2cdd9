package tui

import (
	"strings"
	"time"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/table"
	"cove/tui/text"
	"cove/tui/theme"
)

// columns of the list. The name and the state never leave; the others do as
// the screen narrows, the image first.
func columns() []table.Column {
	return []table.Column{
		{Title: "NAME", Min: 12, Max: 32},
		{Title: "STATE", Min: 9, Max: 19},
		{Title: "REASON", Min: 8, Max: 100, Leaves: 3},
		{Title: "UPTIME", Min: 6, Max: 7, Right: true, Leaves: 1},
		{Title: "AGE", Min: 5, Max: 6, Right: true, Leaves: 2},
		{Title: "PROFILE", Min: 7, Max: 16, Leaves: 4},
		{Title: "IMAGE", Min: 10, Max: 60, Leaves: 5},
	}
}

// rows makes the list's rows of sandboxes, in their order. Their texts are
// clean: the mirror sees to it.
func rows(boxes []api.Sandbox, th *theme.Theme, now time.Time) []table.Row {
	out := make([]table.Row, len(boxes))
	for i := range boxes {
		b := &boxes[i]
		glyph, style := stateLook(b.State, th)
		out[i] = table.Row{ID: b.ID, Cells: []table.Cell{
			{Text: b.Name, Style: th.Strong},
			{Text: glyph + " " + string(b.State), Style: style},
			{Text: reasonCell(b), Style: reasonStyle(b, th)},
			{Text: uptime(b, now), Style: th.Text},
			{Text: text.Age(now.Sub(b.Created)), Style: th.Muted},
			{Text: b.Profile, Style: th.Muted},
			{Text: shortImage(b.Image), Style: th.Muted},
		}}
	}
	return out
}

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

// failed tells whether a state needs a look.
func failed(s lifecycle.State) bool {
	return s == lifecycle.Error || s == lifecycle.BuildFailed || s == lifecycle.Unknown
}

func reasonCell(b *api.Sandbox) string {
	switch {
	case b.Reason == nil:
		return ""
	case failed(b.State) && b.Reason.Detail != "":
		return b.Reason.Detail // "error" says already that it failed
	}
	return b.Reason.String()
}

func reasonStyle(b *api.Sandbox, th *theme.Theme) theme.Style {
	switch {
	case failed(b.State):
		return th.Bad
	case b.Reason == nil, b.Reason.Kind == lifecycle.ReasonUser, b.Reason.Kind == lifecycle.ReasonIdle,
		b.Reason.Kind == lifecycle.ReasonTTL, b.Reason.Kind == lifecycle.ReasonReboot:
		return th.Muted
	case b.Reason.Kind == lifecycle.ReasonExited && b.Reason.Code == 0:
		return th.Muted
	}
	return th.Warn
}

// uptime is how long a sandbox has been running.
func uptime(b *api.Sandbox, now time.Time) string {
	if b.Started == nil || !b.State.Running() {
		return ""
	}
	return text.Age(now.Sub(*b.Started))
}

// shortImage leaves out of an image's reference what everybody leaves out.
func shortImage(ref string) string {
	return strings.TrimPrefix(strings.TrimPrefix(ref, "docker.io/library/"), "docker.io/")
}
