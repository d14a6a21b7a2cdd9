package tui

import (
	"slices"
	"strconv"
	"strings"

	"cove/config"
	"cove/tui/form"
	"cove/tui/text"
)

// judge says beside every field how it stands: what can be seen at once, then
// what the preview found, then what the daemon said.
func (f *createForm) judge() {
	for _, it := range f.fields.items() {
		n := f.note(it.ID)
		if n.Kind != form.Bad {
			if p := f.found(it.ID); p.Text != "" {
				n = p
			}
			if r := f.refusal[it.ID]; r.Text != "" {
				n = r
			}
		}
		f.form.Say(it.ID, n)
	}
}

// found is what the preview says of a field.
func (f *createForm) found(id string) form.Note {
	if id == fieldEnv && len(f.preview.Missing) > 0 {
		name := f.preview.Missing[0]
		more := ""
		if n := len(f.preview.Missing) - 1; n > 0 {
			more = " (and " + strconv.Itoa(n) + " more)"
		}
		return form.Note{Kind: form.Bad, Text: name + " is not set in your environment" + more + ": type " + name + "=VALUE here"}
	}
	i := slices.IndexFunc(f.preview.Problems, func(p config.Problem) bool { return f.fields.fieldOf(p) == id })
	if i < 0 {
		return form.Note{}
	}
	if id == fieldProfile && f.preview.Problems[i].Key != "" {
		return form.Note{Kind: form.Bad, Text: f.preview.Problems[i].String()}
	}
	return problemNote(f.preview.Problems[i])
}

// note is what can be seen of a field without asking anybody.
func (f *createForm) note(id string) form.Note {
	bad := func(err error) form.Note {
		if err == nil {
			return form.Note{}
		}
		return form.Note{Kind: form.Bad, Text: err.Error()}
	}
	v := f.fields
	switch id {
	case fieldProfile:
		if o, ok := v.profile.Chosen(); ok && o.Wrong != "" {
			return form.Note{Kind: form.Bad, Text: "this profile has a mistake: " + o.Wrong + " (" + o.From + ")"}
		} else if ok && o.From != "" {
			return form.Note{Text: "from " + o.From}
		}
	case fieldName:
		return f.nameNote(strings.TrimSpace(v.name.Value()))
	case fieldImage:
		return form.Note{Text: f.imageHelp()}
	case fieldCPU:
		if s := strings.TrimSpace(v.cpu.Value()); s != "" {
			_, err := config.ParseCPU(s)
			return bad(err)
		}
		return form.Note{Text: "cores; 0: no limit"}
	case fieldMemory:
		if s := strings.TrimSpace(v.memory.Value()); s != "" {
			_, err := config.ParseSize(s)
			return bad(err)
		}
		return form.Note{Text: "such as 512MiB; 0: no limit"}
	case fieldPids:
		if s := strings.TrimSpace(v.pids.Value()); s != "" {
			_, err := config.ParsePids(s)
			return bad(err)
		}
		return form.Note{Text: "0: no limit"}
	case fieldDisk:
		if s := strings.TrimSpace(v.disk.Value()); s != "" {
			_, err := config.ParseSize(s)
			return bad(err)
		}
		words := "a quota, such as 10GiB; 0: none"
		if d := f.app.host.disk; d != nil {
			words += "; " + text.Bytes(max(d.Free-d.Reserve, 0)) + " to be had"
		}
		return form.Note{Text: words}
	case fieldGPU:
		all := len(f.app.host.gpus)
		free := strconv.Itoa(all-f.app.host.gpusHeld()) + " of " + strconv.Itoa(all) + " free"
		if s := strings.TrimSpace(v.gpu.Value()); s != "" {
			r, err := config.ParseGPU(s)
			if err == nil && max(r.Count, len(r.IDs)) > all-f.app.host.gpusHeld() {
				return form.Note{Kind: form.Warn, Text: "only " + free + " now"}
			}
			return bad(err)
		}
		return form.Note{Text: "how many, or which: 0,1; " + free}
	case fieldStop:
		if s := strings.TrimSpace(v.stop.Value()); s != "" {
			_, err := config.ParseDuration(s)
			return bad(err)
		}
		return form.Note{Text: "when idle that long, such as 30m; 0: never"}
	case fieldMounts:
		if len(v.mounts.Values()) == 0 && len(v.mounts.Base()) > 0 {
			return form.Note{Kind: form.Bad, Text: "a profile's mounts can be replaced, not left out: choose another profile"}
		}
		return eachLine(v.mounts.Values(), func(s string) error { _, err := config.ParseMount(s); return err },
			mountHelp(f.app.opts.Changes != nil))
	case fieldVolumes:
		if len(v.volumes.Values()) == 0 && len(v.volumes.Base()) > 0 {
			return form.Note{Kind: form.Bad, Text: "a profile's volumes can be replaced, not left out: choose another profile"}
		}
		return eachLine(v.volumes.Values(), func(s string) error { _, err := config.ParseVolume(s); return err }, f.volumeHelp())
	case fieldEnv:
		return eachLine(v.env.Values(), func(s string) error { _, _, err := config.ParseEnv(s); return err }, f.envHelp())
	case fieldLabels:
		return eachLine(v.labels.Values(), func(s string) error { _, _, err := config.ParseLabel(s); return err }, "to find it by")
	}
	return form.Note{}
}

// imageHelp says what the image can be.
func (f *createForm) imageHelp() string {
	const most = 3
	words := "host: this machine's own system"
	var here []string
	for _, name := range f.origins {
		if short := shortImage(name); !slices.Contains(here, short) && len(here) < most {
			here = append(here, short)
		}
	}
	if f.app.opts.Images != nil {
		words += ", or as docker names it"
	}
	if len(here) > 0 {
		words += "; here: " + strings.Join(here, ", ")
	}
	return words
}

// mountHelp says what the modes of a mount mean.
func mountHelp(cow bool) string {
	words := "ro: it only reads; rw: it writes there"
	if cow {
		words += "; cow: it writes a copy, and you choose what of that comes here"
	}
	return words
}

// volumeHelp says which volumes there are.
func (f *createForm) volumeHelp() string {
	if len(f.volumes) == 0 {
		return "one that is not there yet is made"
	}
	return "there are: " + some(f.volumes)
}

// envHelp names what the profile sets already.
func (f *createForm) envHelp() string {
	words := "KEY alone is taken from your environment at each start"
	var names []string
	for name := range f.fields.base.Env {
		if name != "PATH" { // every one does
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		slices.Sort(names)
		words += "; the profile sets " + strings.Join(names, ", ")
	}
	return words
}

func eachLine(lines []string, check func(string) error, help string) form.Note {
	for _, l := range lines {
		if err := check(l); err != nil {
			return form.Note{Kind: form.Bad, Text: err.Error()}
		}
	}
	return form.Note{Text: help}
}

func (f *createForm) nameNote(name string) form.Note {
	if name == "" || f.busy != nil {
		return form.Note{}
	}
	if err := f.app.opts.ValidName(name); err != nil {
		return form.Note{Kind: form.Bad, Text: err.Error()}
	}
	if f.app.taken(name) {
		return form.Note{Kind: form.Bad, Text: "the name is taken"}
	}
	return form.Note{Kind: form.Good, Text: "free"}
}
