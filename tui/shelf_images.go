package tui

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"

	"cove/runtime/api"
	"cove/tui/dialog"
	"cove/tui/table"
	"cove/tui/text"
	"cove/tui/theme"
)

// imageShelf is the images, and what is being pulled above them.
type imageShelf struct {
	app *App
	all []api.Image
}

func (s *imageShelf) title() string { return shelfImages }

func (s *imageShelf) columns() []table.Column {
	return []table.Column{
		{Title: "IMAGE", Min: 12, Good: 30, Max: 70, Flex: 1}, {Title: "SIZE", Min: 5, Max: 5, Right: true},
		{Title: "LAYERS", Min: 6, Max: 6, Right: true, Leaves: 3}, {Title: "PULLED", Min: 6, Max: 7, Right: true, Leaves: 1},
		{Title: "PLATFORM", Min: 8, Max: 16, Leaves: 4}, {Title: "USED BY", Min: 8, Good: 14, Max: 40, Leaves: 2},
	}
}

func (s *imageShelf) ask(ctx context.Context) (func(), error) {
	all, err := s.app.opts.Images.Images(ctx)
	return func() {
		s.all = slices.Clone(all)
		for i := range s.all {
			m := &s.all[i]
			m.ID, m.Ref, m.Digest, m.Platform, m.Used = text.Clean(m.ID), text.Clean(m.Ref), text.Clean(m.Digest), text.Clean(m.Platform), cleanAll(m.Used)
		}
		slices.SortStableFunc(s.all, func(x, y api.Image) int {
			if (x.Ref == "") != (y.Ref == "") { // those without a name are last
				return strings.Compare(y.Ref, x.Ref)
			}
			return strings.Compare(imageName(&x), imageName(&y))
		})
	}, err
}

// imageName is what an image is called, or a part of its id.
func imageName(m *api.Image) string {
	if m.Ref != "" {
		return m.Ref
	}
	_, hash, _ := strings.Cut(m.ID, ":")
	return text.Cut(hash, 12, "")
}

// imageKey tells images apart: one that has two names is there twice.
func imageKey(m *api.Image) string { return m.ID + " " + m.Ref }

func (s *imageShelf) find(id string) *api.Image {
	i := slices.IndexFunc(s.all, func(m api.Image) bool { return imageKey(&m) == id })
	if i < 0 {
		return nil
	}
	return &s.all[i]
}

func (s *imageShelf) rows(th *theme.Theme) []table.Row {
	rows := make([]table.Row, 0, len(s.all)+len(s.app.pulls))
	none := table.Cell{Text: th.Glyphs.None, Style: th.Muted}
	for _, p := range s.app.pulls {
		size := none
		if p.now.Total > 0 {
			size = table.Cell{Text: text.Bytes(p.now.Total), Style: th.Muted}
		}
		rows = append(rows, table.Row{ID: p.id(), Cells: []table.Cell{
			{Text: text.Clean(p.ref), Style: th.Strong}, size, {}, {}, {}, {},
		}, Note: p.words(th), NoteStyle: th.Busy})
	}
	for i := range s.all {
		m := &s.all[i]
		name := th.Strong
		if m.Ref == "" {
			name = th.Muted
		}
		rows = append(rows, table.Row{ID: imageKey(m), Cells: []table.Cell{
			{Text: imageName(m), Style: name, Short: shortImage(imageName(m))}, {Text: text.Bytes(m.Size), Style: th.Text}, {Text: strconv.Itoa(m.Layers), Style: th.Muted},
			{Text: text.Age(s.app.now.Sub(m.Pulled)), Style: th.Muted}, {Text: m.Platform, Style: th.Muted}, usedBy(th, m.Used),
		}})
	}
	return rows
}

func (s *imageShelf) about(th *theme.Theme, id string) string {
	m := s.find(id)
	if m == nil {
		return ""
	}
	words := []string{"id " + text.Cut(strings.TrimPrefix(m.ID, "sha256:"), 12, "")}
	if len(m.Used) > 0 {
		words = append(words, "used by "+some(m.Used))
	} else {
		words = append(words, "nothing uses it")
	}
	if !m.Created.IsZero() {
		words = append(words, "made "+m.Created.In(s.app.now.Location()).Format("2006-01-02"))
	}
	return strings.Join(words, " "+th.Glyphs.Dot+" ")
}

func (s *imageShelf) sum() string {
	var all int64
	for i := range s.all {
		all += s.all[i].Size
	}
	return text.Bytes(all)
}

func (s *imageShelf) nothing() string {
	return "No images yet. p pulls one from a registry; a sandbox whose image is not here pulls it by itself.\n\nSandboxes of the image \"host\" need none: they are made of this machine's own system."
}

func (s *imageShelf) deeds() []deed {
	a := s.app
	chosen := func(id string) string {
		if why := a.onShelf(true)(id); why != "" {
			return why
		}
		if s.find(id) == nil {
			return "it is still being pulled"
		}
		return ""
	}
	return []deed{
		{
			keys: on("enter", "n"), title: "new sandbox", help: "Make a sandbox from the image.", cli: "cove create --image IMAGE", why: chosen,
			run: func(id string) (bool, tea.Cmd) { return true, a.createFrom(imageName(s.find(id))) },
		},
		{
			keys: on("p"), title: "pull", help: "Get an image from a registry. What docker login left in ~/.docker/config.json is used.", cli: "cove image pull IMAGE",
			why: a.onShelf(false), run: func(string) (bool, tea.Cmd) { return false, s.askPull() },
		},
		{
			keys: on("x"), title: "break off", help: "Break off a pull. What has come is kept for the next try.",
			why: func(id string) string {
				if a.pulling(id) == nil {
					return "it is not being pulled"
				}
				return ""
			},
			run: func(id string) (bool, tea.Cmd) { a.pulling(id).cancel(); return false, nil },
		},
		{
			keys: on("D"), title: "remove", help: "Remove the image, after a question. One that a sandbox or a snapshot uses stays.", cli: "cove image rm IMAGE",
			why: chosen, run: func(id string) (bool, tea.Cmd) { return false, s.askRemove(s.find(id)) },
		},
		{
			keys: on("P"), title: "prune", help: "Remove all images that nothing uses, after a question.", cli: "cove image prune",
			why: a.onShelf(false), run: func(string) (bool, tea.Cmd) { return false, s.askPrune() },
		},
	}
}

// askPull asks what to pull.
func (s *imageShelf) askPull() tea.Cmd {
	a := s.app
	a.dialogs.Open(dialog.NewPrompt("Pull an image", dialog.Question{
		Label: "Image", About: "as docker names it: alpine, python:3.13-slim, ghcr.io/owner/name:tag",
		Wrong: func(ref string) string {
			ref = strings.TrimSpace(ref)
			switch {
			case ref == "":
				return "the name of an image is needed"
			case strings.ContainsAny(ref, " \t"):
				return "the name of an image has no blanks"
			case slices.ContainsFunc(a.pulls, func(p *pull) bool { return p.ref == ref }):
				return "it is being pulled already"
			}
			return ""
		},
		Command: func(ref string) string { return quoted("image", "pull", strings.TrimSpace(ref)) },
		Run:     func(ref string) tea.Cmd { return a.pull(strings.TrimSpace(ref)) },
	}))
	return nil
}

func (s *imageShelf) askRemove(m *api.Image) tea.Cmd {
	a := s.app
	name, ref := imageName(m), m.Ref
	if ref == "" {
		ref = m.ID
	}
	body := "A sandbox that needs it pulls it again."
	if len(m.Used) > 0 {
		body = "It is used by " + some(m.Used) + ": the daemon will refuse it."
	}
	cli := quoted("image", "rm", name)
	a.dialogs.Open(dialog.NewConfirm("Remove "+name+"?", body, cli, "Remove", func() tea.Cmd {
		return a.request(request{verb: "remove", what: name, cli: cli, do: func(ctx context.Context) (string, error) {
			return "removed " + name, a.opts.Images.RemoveImage(ctx, ref)
		}}, nil)
	}))
	return nil
}

func (s *imageShelf) askPrune() tea.Cmd {
	a := s.app
	var names []string
	for i := range s.all {
		if len(s.all[i].Used) == 0 {
			names = append(names, imageName(&s.all[i]))
		}
	}
	if len(names) == 0 {
		a.notice.say(a.now, "prune: every image is used by something")
		return nil
	}
	a.dialogs.Open(dialog.NewConfirm("Remove "+things(len(names), "image", "images")+" that nothing uses?", some(names), "cove image prune", "Remove", func() tea.Cmd {
		return a.request(request{verb: "prune", what: "images", cli: "cove image prune", do: func(ctx context.Context) (string, error) {
			r, err := a.opts.Images.PruneImages(ctx)
			return things(len(r.Images), "image", "images") + " removed, " + text.Bytes(r.Freed) + " freed", err
		}}, nil)
	}))
	return nil
}

// pull is an image on its way from a registry.
type pull struct {
	ref    string
	cancel context.CancelFunc
	work   *work
	news   chan api.Progress // of capacity one: only the latest matters
	now    api.Progress
}

// pulledMsg says that a pull ended, pullingMsg how far it is.
type (
	pulledMsg struct {
		pull  *pull
		image api.Image
		err   error
	}
	pullingMsg struct {
		pull *pull
		now  api.Progress
	}
)

func (p *pull) id() string { return "pull " + p.ref }

// pulling is the pull whose row has the id, nil for none.
func (a *App) pulling(id string) *pull {
	i := slices.IndexFunc(a.pulls, func(p *pull) bool { return p.id() == id })
	if i < 0 {
		return nil
	}
	return a.pulls[i]
}

// pull gets an image. It goes on when the page is closed.
func (a *App) pull(ref string) tea.Cmd {
	ctx, cancel := context.WithCancel(a.ctx)
	w, shown := a.begin("pull", ref, quoted("image", "pull", ref))
	p := &pull{ref: ref, cancel: cancel, work: w, news: make(chan api.Progress, 1)}
	a.pulls = append(a.pulls, p)
	return tea.Batch(func() tea.Msg {
		defer cancel()
		defer close(p.news)
		image, err := a.opts.Images.Pull(ctx, ref, p.tell)
		return pulledMsg{p, image, err}
	}, p.listen, shown)
}

// tell puts the latest in the place of what nobody has seen yet. It has one
// caller at a time.
func (p *pull) tell(now api.Progress) {
	select {
	case <-p.news:
	default:
	}
	p.news <- now
}

func (p *pull) listen() tea.Msg {
	now, ok := <-p.news
	if !ok {
		return nil
	}
	return pullingMsg{p, now}
}

func (msg pullingMsg) deliver(a *App) tea.Cmd {
	msg.pull.now = msg.now
	msg.pull.now.Text = text.Clean(msg.now.Text)
	msg.pull.work.note = msg.pull.far()
	return msg.pull.listen
}

// far is how far it is, in bytes.
func (p *pull) far() string {
	switch n := p.now; {
	case n.Total > 0:
		return text.Percent(float64(n.Done)/float64(n.Total)) + "  " + text.Bytes(n.Done) + " of " + text.Bytes(n.Total)
	case n.Done > 0:
		return text.Bytes(n.Done)
	}
	return ""
}

// words are all there is to say of it.
func (p *pull) words(th *theme.Theme) string {
	bar := ""
	if n := p.now; n.Total > 0 {
		const cells = 20
		full := int(max(0, min(n.Done*cells/n.Total, cells)))
		bar = strings.Repeat(th.Glyphs.Fill, full) + strings.Repeat(th.Glyphs.Track, cells-full)
	}
	what, _, _ := strings.Cut(p.now.Text, ":") // how far follows, which stands there already
	words := slices.DeleteFunc([]string{bar, p.far(), what}, func(s string) bool { return s == "" })
	if len(words) == 0 {
		return "asking the registry" + th.Glyphs.Ellipsis
	}
	return strings.Join(words, "  ")
}

func (msg pulledMsg) deliver(a *App) tea.Cmd {
	p := msg.pull
	a.pulls = slices.DeleteFunc(a.pulls, func(o *pull) bool { return o == p })
	broken := errors.Is(msg.err, context.Canceled)
	a.end(p.work, msg.err, broken)
	a.restock()
	switch {
	case broken:
		a.notice.say(a.now, "pull of "+p.ref+" broken off; the next one goes on from there")
	case msg.err == nil:
		a.notice.say(a.now, "pulled "+p.ref+", "+text.Bytes(msg.image.Size)+"   $ "+p.work.cli)
	}
	return nil
}
