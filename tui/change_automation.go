package tui

import (
	"context"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"cove/config"
	"cove/runtime/api"
	"cove/tui/action"
	"cove/tui/form"
)

// Ids of the fields of the automation, named as the flags are.
const (
	fieldAutoStop    = "auto-stop"
	fieldAutoPause   = "auto-pause"
	fieldAutoArchive = "auto-archive"
	fieldTTL         = "ttl"
)

// automationChange changes what happens to a sandbox with time.
type automationChange struct {
	stop, pause, archive, remove, ttl *form.Text
}

// openAutomation asks for another automation of the sandbox.
func (a *App) openAutomation(box *api.Sandbox) tea.Cmd {
	text := func() *form.Text { return form.NewText(shortMost, false) }
	c := &automationChange{stop: text(), pause: text(), archive: text(), remove: text(), ttl: text()}
	return a.openChange(actAutomation, "automate", box, c)
}

func (c *automationChange) title(name string) string { return "What " + name + " does by itself" }

func (c *automationChange) items() []form.Item {
	return []form.Item{
		{ID: fieldAutoStop, Label: "Stop", Field: c.stop}, {ID: fieldAutoPause, Label: "Pause", Field: c.pause},
		{ID: fieldAutoArchive, Label: "Archive", Field: c.archive}, {ID: fieldDelete, Label: "Delete", Field: c.remove},
		{ID: fieldTTL, Label: "End", Field: c.ttl},
	}
}

func (c *automationChange) show(s *config.Spec) {
	a := &s.Automation
	never := func(d config.Duration) string {
		if d == 0 {
			return config.Never.String()
		}
		return d.String()
	}
	c.stop.Instead, c.pause.Instead = never(a.AutoStop), never(a.AutoPause)
	c.archive.Instead, c.remove.Instead, c.ttl.Instead = a.AutoArchive.String(), a.AutoDelete.String(), a.TTL.String()
}

// spans are the fields that take a duration.
func (c *automationChange) spans() []struct {
	flag, help string
	in         *form.Text
	of         func(*config.Automation) *config.Duration
	zero       bool // never is written as 0
} {
	return []struct {
		flag, help string
		in         *form.Text
		of         func(*config.Automation) *config.Duration
		zero       bool
	}{
		{fieldAutoStop, "idle that long, such as 30m; 0: never", c.stop, func(a *config.Automation) *config.Duration { return &a.AutoStop }, true},
		{fieldAutoPause, "idle that long: frozen, memory kept; 0: never", c.pause, func(a *config.Automation) *config.Duration { return &a.AutoPause }, true},
		{fieldAutoArchive, "stopped that long, such as 7d, or never", c.archive, func(a *config.Automation) *config.Duration { return &a.AutoArchive }, false},
		{fieldDelete, "stopped that long, or never; 0: as soon as it stops", c.remove, func(a *config.Automation) *config.Duration { return &a.AutoDelete }, false},
		{fieldTTL, "that long after it was made, or never", c.ttl, func(a *config.Automation) *config.Duration { return &a.TTL }, false},
	}
}

func (c *automationChange) note(id string, _ *config.Spec, _ *api.Stats) form.Note {
	for _, f := range c.spans() {
		if f.flag != id {
			continue
		}
		if typed := typedOf(f.in); typed != "" {
			if _, err := config.ParseDuration(typed); err != nil {
				return form.Note{Kind: form.Bad, Text: err.Error()}
			}
		}
		return form.Note{Text: f.help}
	}
	return form.Note{}
}

func (c *automationChange) apply(s *config.Spec) bool {
	any := false
	for _, f := range c.spans() {
		typed := typedOf(f.in)
		if typed == "" {
			continue
		}
		any = true
		if d, err := config.ParseDuration(typed); err == nil {
			if d == config.Never && f.zero {
				d = 0
			}
			*f.of(&s.Automation) = d
		}
	}
	return any
}

func (c *automationChange) command(name string) string {
	words := []string{"cove", "automation", name}
	for _, f := range c.spans() {
		if typed := typedOf(f.in); typed != "" {
			words = append(words, "--"+f.flag, typed)
		}
	}
	return action.Quote(words...)
}

func (c *automationChange) field(key string) string {
	name, ok := strings.CutPrefix(key, "automation.")
	if !ok {
		return ""
	}
	name, _, _ = strings.Cut(strings.ReplaceAll(name, "_", "-"), "[")
	if slices.ContainsFunc(c.items(), func(it form.Item) bool { return it.ID == name }) {
		return name
	}
	return ""
}

func (c *automationChange) send(ctx context.Context, b Backend, id string, changed *config.Spec) error {
	return b.SetAutomation(ctx, id, changed.Automation)
}
