package tui

import (
	"context"
	"strconv"

	tea "charm.land/bubbletea/v2"

	"cove/config"
	"cove/runtime/api"
	"cove/tui/action"
	"cove/tui/form"
	"cove/tui/text"
)

// fieldSwap is a field that the create form does not have, named as the flag is.
const fieldSwap = "swap"

// limitsChange changes the limits of a sandbox.
type limitsChange struct {
	cpu, memory, swap, pids, disk *form.Text
}

// openResize asks for other limits of the sandbox.
func (a *App) openResize(box *api.Sandbox) tea.Cmd {
	text := func() *form.Text { return form.NewText(shortMost, false) }
	return a.openChange(actResize, "resize", box, &limitsChange{cpu: text(), memory: text(), swap: text(), pids: text(), disk: text()})
}

func (l *limitsChange) title(name string) string { return "Limits of " + name }

func (l *limitsChange) items() []form.Item {
	return []form.Item{
		{ID: fieldCPU, Label: "CPU", Field: l.cpu}, {ID: fieldMemory, Label: "Memory", Field: l.memory},
		{ID: fieldSwap, Label: "Swap", Field: l.swap}, {ID: fieldPids, Label: "Processes", Field: l.pids},
		{ID: fieldDisk, Label: "Disk", Field: l.disk},
	}
}

func (l *limitsChange) show(s *config.Spec) {
	r := &s.Resources
	l.cpu.Instead, l.memory.Instead = limit(strconv.FormatFloat(r.CPU, 'f', -1, 64)), limit(r.Memory.String())
	l.pids.Instead, l.swap.Instead, l.disk.Instead = limit(strconv.FormatInt(r.Pids, 10)), r.Swap.String(), limit(r.Disk.String())
	if r.Swap == 0 {
		l.swap.Instead = "none"
	}
}

// fields are all of them with what reads them into a spec.
func (l *limitsChange) fields() []struct {
	flag string
	in   *form.Text
	into func(*config.Resources, string) error
} {
	size := func(to func(*config.Resources) *config.Size) func(*config.Resources, string) error {
		return func(r *config.Resources, s string) error {
			n, err := config.ParseSize(s)
			*to(r) = n
			return err
		}
	}
	return []struct {
		flag string
		in   *form.Text
		into func(*config.Resources, string) error
	}{
		{fieldCPU, l.cpu, func(r *config.Resources, s string) (err error) { r.CPU, err = config.ParseCPU(s); return err }},
		{fieldMemory, l.memory, size(func(r *config.Resources) *config.Size { return &r.Memory })},
		{fieldSwap, l.swap, size(func(r *config.Resources) *config.Size { return &r.Swap })},
		{fieldPids, l.pids, func(r *config.Resources, s string) (err error) { r.Pids, err = config.ParsePids(s); return err }},
		{fieldDisk, l.disk, size(func(r *config.Resources) *config.Size { return &r.Disk })},
	}
}

func (l *limitsChange) note(id string, s *config.Spec, use *api.Stats) form.Note {
	for _, f := range l.fields() {
		if typed := typedOf(f.in); f.flag == id && typed != "" {
			var r config.Resources
			if err := f.into(&r, typed); err != nil {
				return form.Note{Kind: form.Bad, Text: err.Error()}
			}
			if s != nil {
				return limitNote(id, &r, &s.Resources, use)
			}
		}
	}
	return form.Note{Kind: form.Fact, Text: limitFact(id, use)}
}

// limitNote is about a limit that was typed, against what there is now.
func limitNote(id string, want, now *config.Resources, use *api.Stats) form.Note {
	fact := limitFact(id, use)
	switch {
	case id == fieldDisk && now.Disk > 0 && want.Disk < now.Disk:
		return form.Note{Kind: form.Bad, Text: "a quota can only grow: it is " + now.Disk.String()}
	case use == nil:
	case id == fieldMemory && want.Memory > 0 && int64(want.Memory) < use.Memory:
		return form.Note{Kind: form.Warn, Text: text.Bytes(use.Memory) + " in use: may be refused"}
	case id == fieldPids && want.Pids > 0 && want.Pids < use.Pids:
		return form.Note{Kind: form.Warn, Text: fact + ": no more can start"}
	}
	return form.Note{Kind: form.Fact, Text: fact}
}

// limitFact is what is in use of what a limit limits, "" where that is not known.
func limitFact(id string, use *api.Stats) string {
	if use == nil {
		return ""
	}
	switch id {
	case fieldCPU:
		return strconv.FormatFloat(use.CPU, 'f', 1, 64) + " in use"
	case fieldMemory:
		s := text.Bytes(use.Memory) + " in use"
		if use.MemoryPeak > 0 {
			s += ", peak " + text.Bytes(use.MemoryPeak)
		}
		return s
	case fieldSwap:
		return text.Bytes(use.Swap) + " in use"
	case fieldPids:
		return strconv.FormatInt(use.Pids, 10) + " in use"
	case fieldDisk:
		if use.Disk > 0 || use.DiskLimit > 0 {
			return text.Bytes(use.Disk) + " in use"
		}
	}
	return ""
}

func (l *limitsChange) apply(s *config.Spec) bool {
	any := false
	for _, f := range l.fields() {
		if typed := typedOf(f.in); typed != "" {
			r := s.Resources
			if f.into(&r, typed) == nil {
				s.Resources = r
			}
			any = true
		}
	}
	return any
}

func (l *limitsChange) command(name string) string {
	words := []string{"cove", "resize", name}
	for _, f := range l.fields() {
		if typed := typedOf(f.in); typed != "" {
			words = append(words, "--"+f.flag, typed)
		}
	}
	return action.Quote(words...)
}

func (l *limitsChange) field(key string) string {
	switch key {
	case "resources.cpu", "cpu":
		return fieldCPU
	case "resources.memory", "memory":
		return fieldMemory
	case "resources.swap", "swap":
		return fieldSwap
	case "resources.pids", "pids":
		return fieldPids
	case "resources.disk", "resources.disk_reserve", "disk":
		return fieldDisk
	}
	return ""
}

func (l *limitsChange) send(ctx context.Context, b Backend, id string, changed *config.Spec) error {
	r := changed.Resources
	var req api.ResizeRequest
	if typedOf(l.cpu) != "" {
		req.CPU = &r.CPU
	}
	if typedOf(l.memory) != "" {
		req.Memory = &r.Memory
	}
	if typedOf(l.swap) != "" {
		req.Swap = &r.Swap
	}
	if typedOf(l.pids) != "" {
		req.Pids = &r.Pids
	}
	if typedOf(l.disk) != "" {
		req.Disk = &r.Disk
	}
	return b.Resize(ctx, id, req)
}
