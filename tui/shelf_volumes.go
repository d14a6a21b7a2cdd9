package tui

import (
	"context"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"cove/config"
	"cove/runtime/api"
	"cove/tui/dialog"
	"cove/tui/form"
	"cove/tui/table"
	"cove/tui/text"
	"cove/tui/theme"
)

// volumeShelf is the volumes.
type volumeShelf struct {
	app *App
	all []api.Volume
}

func (s *volumeShelf) title() string { return shelfVolumes }

func (s *volumeShelf) columns() []table.Column {
	return []table.Column{
		{Title: "VOLUME", Min: 12, Good: 24, Max: 60, Flex: 1}, {Title: "USED", Min: 5, Max: 5, Right: true}, {Title: "QUOTA", Min: 5, Max: 8, Right: true, Leaves: 2},
		{Title: "AGE", Min: 5, Max: 6, Right: true, Leaves: 3}, {Title: "ATTACHED TO", Min: 11, Good: 16, Max: 50, Leaves: 1},
	}
}

func (s *volumeShelf) ask(ctx context.Context) (func(), error) {
	all, err := s.app.opts.Volumes.Volumes(ctx)
	return func() {
		s.all = slices.Clone(all)
		for i := range s.all {
			v := &s.all[i]
			v.Name, v.Sandboxes = text.Clean(v.Name), cleanAll(v.Sandboxes)
		}
		slices.SortStableFunc(s.all, func(x, y api.Volume) int { return strings.Compare(x.Name, y.Name) })
	}, err
}

func (s *volumeShelf) find(id string) *api.Volume {
	i := slices.IndexFunc(s.all, func(v api.Volume) bool { return v.Name == id })
	if i < 0 {
		return nil
	}
	return &s.all[i]
}

func (s *volumeShelf) rows(th *theme.Theme) []table.Row {
	rows := make([]table.Row, len(s.all))
	for i := range s.all {
		v := &s.all[i]
		used := table.Cell{Text: th.Glyphs.None, Style: th.Muted}
		if v.Used >= 0 {
			used = table.Cell{Text: text.Bytes(v.Used), Style: level(th, share(float64(v.Used), float64(v.Quota)))}
		}
		quota := table.Cell{Text: "no limit", Short: th.Glyphs.None, Style: th.Muted}
		if v.Quota > 0 {
			quota = table.Cell{Text: text.Bytes(int64(v.Quota)), Style: th.Text}
		}
		rows[i] = table.Row{ID: v.Name, Cells: []table.Cell{
			{Text: v.Name, Style: th.Strong}, used, quota, {Text: text.Age(s.app.now.Sub(v.Created)), Style: th.Muted}, usedBy(th, v.Sandboxes),
		}}
	}
	return rows
}

func (s *volumeShelf) about(th *theme.Theme, id string) string {
	v := s.find(id)
	if v == nil {
		return ""
	}
	words := []string{"made " + v.Created.In(s.app.now.Location()).Format("2006-01-02 15:04")}
	if len(v.Sandboxes) > 0 {
		words = append(words, "attached to "+some(v.Sandboxes))
	} else {
		words = append(words, "attached to no sandbox")
	}
	return strings.Join(words, " "+th.Glyphs.Dot+" ")
}

func (s *volumeShelf) sum() string {
	var all int64
	for i := range s.all {
		all += max(s.all[i].Used, 0)
	}
	return text.Bytes(all)
}

func (s *volumeShelf) nothing() string {
	return "No volumes yet. n makes one: files that several sandboxes can share, and that stay when those are deleted."
}

func (s *volumeShelf) deeds() []deed {
	a := s.app
	return []deed{
		{
			keys: on("n"), title: "new", help: "Make a volume.", cli: "cove volume create NAME --quota SIZE", why: a.onShelf(false),
			run: func(string) (bool, tea.Cmd) { return false, s.openCreate() },
		},
		{
			keys: on("a", "enter"), title: "attach", help: "Give the volume to a sandbox: at once where it runs, and at each start from then on.", cli: "cove volume attach SANDBOX NAME:DST",
			why: a.onShelf(true), run: func(id string) (bool, tea.Cmd) { return false, s.openAttach(id) },
		},
		{
			keys: on("x"), title: "detach", help: "Take the volume away from a sandbox; its files stay in the volume.", cli: "cove volume detach SANDBOX NAME",
			why: func(id string) string {
				if why := a.onShelf(true)(id); why != "" {
					return why
				}
				if len(s.find(id).Sandboxes) == 0 {
					return "no sandbox has it"
				}
				return ""
			},
			run: func(id string) (bool, tea.Cmd) { return false, s.askDetach(s.find(id)) },
		},
		{
			keys: on("D"), title: "delete", help: "Delete the volume and its files, after a question. One that a sandbox has stays.", cli: "cove volume rm NAME",
			why: func(id string) string {
				if why := a.onShelf(true)(id); why != "" {
					return why
				}
				if v := s.find(id); len(v.Sandboxes) > 0 {
					return v.Name + " is attached to " + some(v.Sandboxes) + "; x detaches it"
				}
				return ""
			},
			run: func(id string) (bool, tea.Cmd) { return false, s.askDelete(s.find(id)) },
		},
	}
}

// openCreate asks what volume to make.
func (s *volumeShelf) openCreate() tea.Cmd {
	a := s.app
	name, quota := form.NewText(nameMost, false), form.NewText(shortMost, false)
	quota.Instead = "no limit"
	size := func() (config.Size, error) {
		if q := typedOf(quota); q != "" {
			return config.ParseSize(q)
		}
		return 0, nil
	}
	return a.openSheet(&sheet{
		id: "volume", title: func() string { return "New volume" },
		form: form.New(form.Item{ID: "name", Label: "Name", Field: name}, form.Item{ID: "quota", Label: "Quota", Field: quota}),
		judge: func(f *form.Form) {
			f.Say("name", a.nameWrong(typedOf(name), s.find(typedOf(name)) != nil))
			n := form.Note{Text: "the most that it holds, such as 10GiB"}
			if _, err := size(); err != nil {
				n = form.Note{Kind: form.Bad, Text: err.Error()}
			}
			f.Say("quota", n)
		},
		make: func() request {
			words := []string{"volume", "create", typedOf(name)}
			if q := typedOf(quota); q != "" {
				words = append(words, "--quota", q)
			}
			want := typedOf(name)
			q, _ := size()
			return request{verb: "create", what: "volume " + want, cli: quoted(words...), do: func(ctx context.Context) (string, error) {
				_, err := a.opts.Volumes.CreateVolume(ctx, api.VolumeRequest{Name: want, Quota: q})
				return "made the volume " + want, err
			}}
		},
	}, "make it")
}

// openAttach asks which sandbox gets a volume, and where.
func (s *volumeShelf) openAttach(volume string) tea.Cmd {
	a := s.app
	box, target, sub := form.NewText(nameMost, false), form.NewText(longMost, true), form.NewText(longMost, true)
	mode := form.NewChoice()
	mode.Offer(0, "read and write", "read only")
	if b := a.selected(); b != nil {
		box.Set(b.Name)
	}
	target.Instead, sub.Instead = "/"+volume, "all of it"
	find := func() *api.Sandbox {
		i := slices.IndexFunc(a.snap.Sandboxes, func(b api.Sandbox) bool { return b.Name == typedOf(box) })
		if i < 0 {
			return nil
		}
		return &a.snap.Sandboxes[i]
	}
	want := func() config.Volume {
		v := config.Volume{Name: volume, Target: typedOf(target), Subpath: typedOf(sub), ReadOnly: mode.Changed()}
		if v.Target == "" {
			v.Target = "/" + volume
		}
		return v
	}
	return a.openSheet(&sheet{
		id: "attach volume", title: func() string { return "Attach " + volume },
		form: form.New(form.Item{ID: "box", Label: "Sandbox", Field: box}, form.Item{ID: "target", Label: "Directory", Field: target},
			form.Item{ID: "sub", Label: "Part", Field: sub}, form.Item{ID: "mode", Label: "Mode", Field: mode}),
		judge: func(f *form.Form) {
			n := form.Note{Kind: form.Bad, Text: "there is no sandbox of that name"}
			if b := find(); b != nil {
				n = form.Note{Kind: form.Fact, Text: string(b.State)}
			}
			f.Say("box", n)
			n = form.Note{Text: "where it is inside"}
			if t := typedOf(target); t != "" && !strings.HasPrefix(t, "/") {
				n = form.Note{Kind: form.Bad, Text: "the directory inside begins with /"}
			}
			f.Say("target", n)
			f.Say("sub", form.Note{Text: "a directory of the volume"})
		},
		make: func() request {
			v := want()
			spec := v.Name + ":" + v.Target
			if v.ReadOnly {
				spec += ":ro"
			}
			words := []string{"volume", "attach", typedOf(box), spec}
			if v.Subpath != "" {
				words = append(words, "--subpath", v.Subpath)
			}
			r := request{verb: "attach", what: volume + " to " + typedOf(box), cli: quoted(words...)}
			if b := find(); b != nil {
				id, name := b.ID, b.Name
				r.id, r.do = id, func(ctx context.Context) (string, error) {
					return "attached " + volume + " to " + name + " as " + v.Target, a.opts.Volumes.AttachVolume(ctx, id, v)
				}
			}
			return r
		},
	}, "attach it")
}

// askDetach asks which sandbox loses the volume, where several have it.
func (s *volumeShelf) askDetach(v *api.Volume) tea.Cmd {
	a := s.app
	name := v.Name
	var entries []dialog.Entry
	for i := range a.snap.Sandboxes {
		b := &a.snap.Sandboxes[i]
		if !slices.Contains(v.Sandboxes, b.Name) {
			continue
		}
		id, box := b.ID, b.Name
		entries = append(entries, dialog.Entry{Title: box, About: string(b.State), Run: func() tea.Cmd {
			cli := quoted("volume", "detach", box, name)
			a.dialogs.Open(dialog.NewConfirm("Detach "+name+" from "+box+"?", "What has files of it open there keeps those open. The files stay in the volume.", cli, "Detach", func() tea.Cmd {
				return a.request(request{verb: "detach", what: name + " from " + box, cli: cli, id: id, do: func(ctx context.Context) (string, error) {
					return "detached " + name + " from " + box, a.opts.Volumes.DetachVolume(ctx, id, name)
				}}, nil)
			}))
			return nil
		}})
	}
	switch len(entries) {
	case 0:
		a.notice.say(a.now, "detach: the sandboxes that have it are not in the list")
	case 1:
		return entries[0].Run()
	default:
		a.dialogs.Open(dialog.NewMenu("Detach "+name+" from", 0, entries...))
	}
	return nil
}

func (s *volumeShelf) askDelete(v *api.Volume) tea.Cmd {
	a := s.app
	name := v.Name
	body := "All files in it are deleted. They cannot be brought back."
	if v.Used >= 0 {
		body = text.Bytes(v.Used) + " of files are deleted with it. They cannot be brought back."
	}
	cli := quoted("volume", "rm", name)
	a.dialogs.Open(dialog.NewConfirm("Delete the volume "+name+"?", body, cli, "Delete", func() tea.Cmd {
		return a.request(request{verb: "delete", what: "volume " + name, cli: cli, do: func(ctx context.Context) (string, error) {
			return "deleted the volume " + name, a.opts.Volumes.DeleteVolume(ctx, name)
		}}, nil)
	}))
	return nil
}
