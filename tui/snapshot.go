package tui

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"

	"cove/config"
	"cove/runtime/api"
	"cove/tui/form"
	"cove/tui/text"
)

// openSnapshot asks under which name the present state of the sandbox is kept.
func (a *App) openSnapshot(box *api.Sandbox) tea.Cmd {
	id, of := box.ID, box.Name
	name := form.NewText(nameMost, false)
	name.Set(text.Cut(of, config.MaxName-len("-0102-150405"), "") + a.now.Format("-0102-150405"))
	return a.openSheet(&sheet{
		id: "snapshot", title: func() string { return "Snapshot of " + of }, wrong: a.alive(actSnapshot, id),
		form: form.New(form.Item{ID: "name", Label: "Name", Field: name}),
		judge: func(f *form.Form) {
			n := a.nameWrong(typedOf(name), false)
			if n.Kind == form.Good {
				n = form.Note{Kind: form.Plain, Text: "sandboxes are made from it as snapshot:" + typedOf(name)}
			}
			f.Say("name", n)
		},
		make: func() request {
			want := typedOf(name)
			return request{verb: "snapshot", what: of, id: id, cli: quoted("snapshot", "create", of, want), patient: true, do: func(ctx context.Context) (string, error) {
				s, err := a.opts.Snapshots.Snapshot(ctx, id, want)
				return "snapshot " + s.Name + " of " + of + ": " + cost(s.Frozen, s.Copied), err
			}}
		},
	}, "keep it")
}

// cost says what a snapshot or a fork cost the sandbox.
func cost(frozen float64, copied int64) string {
	if s := stoodStill(frozen, copied); s != "" {
		return s
	}
	return "nothing was copied"
}

// forkMost is how many forks can be asked for at once.
const forkMost = 100

// openFork asks for how many new sandboxes of the present state, and their names.
func (a *App) openFork(box *api.Sandbox) tea.Cmd {
	id, of := box.ID, box.Name
	name, number := form.NewText(nameMost, false), form.NewText(shortMost, false)
	number.Instead = "1"
	name.Set(a.freeName(of))
	n := func() (int, error) {
		v := typedOf(number)
		if v == "" {
			return 1, nil
		}
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > forkMost {
			return 0, errors.New("want a number from 1 to " + strconv.Itoa(forkMost))
		}
		return n, nil
	}
	return a.openSheet(&sheet{
		id: "fork", title: func() string { return "Fork of " + of }, wrong: a.alive(actFork, id),
		form: form.New(form.Item{ID: "name", Label: "Name", Field: name}, form.Item{ID: "count", Label: "How many", Field: number}),
		judge: func(f *form.Form) {
			many, err := n()
			taken := a.taken(typedOf(name))
			for i := range many {
				if many > 1 {
					taken = i > 0 && taken || a.taken(typedOf(name)+"-"+strconv.Itoa(i+1))
				}
			}
			note := a.nameWrong(typedOf(name), taken)
			if many > 1 && note.Kind == form.Good {
				note = form.Note{Kind: form.Fact, Text: typedOf(name) + "-1 to " + typedOf(name) + "-" + strconv.Itoa(many)}
			}
			f.Say("name", note)
			note = form.Note{Text: "each has the files of " + of + " as they are now, and goes its own way"}
			if err != nil {
				note = form.Note{Kind: form.Bad, Text: err.Error()}
			}
			f.Say("count", note)
		},
		make: func() request {
			want := typedOf(name)
			many, _ := n()
			words := []string{"fork", of, want}
			first := ""
			if many > 1 {
				words = append(words, "--count", strconv.Itoa(many))
			}
			return request{
				verb: "fork", what: of, id: id, cli: quoted(words...), patient: true,
				do: func(ctx context.Context) (string, error) {
					r, err := a.opts.Snapshots.Fork(ctx, id, api.ForkRequest{Name: want, Count: many})
					if err != nil {
						return "", err
					}
					names := make([]string, len(r.Sandboxes))
					for i := range r.Sandboxes {
						first = cmp.Or(first, r.Sandboxes[i].ID)
						names[i] = text.Clean(r.Sandboxes[i].Name)
					}
					return "forked " + of + " to " + some(names) + ": " + cost(r.Frozen, r.Copied), forkErrors(r)
				},
				then: func(a *App) {
					a.want = first
					a.take(a.snap)
				},
			}
		},
	}, "fork it")
}

// forkErrors is what failed of a fork.
func forkErrors(r api.ForkResult) error {
	if len(r.Errors) == 0 {
		return nil
	}
	lines := make([]string, len(r.Errors))
	for i := range r.Errors {
		lines[i] = r.Errors[i].Error()
	}
	return errors.New(things(len(r.Sandboxes), "fork was made", "forks were made") + ", " + strconv.Itoa(len(r.Errors)) + " failed: " + strings.Join(lines, "\n"))
}

// freeName is a name like the sandbox's that nobody has.
func (a *App) freeName(like string) string {
	for i := 1; ; i++ {
		end := "-fork"
		if i > 1 {
			end += strconv.Itoa(i)
		}
		if name := text.Cut(like, config.MaxName-len(end), "") + end; !a.taken(name) {
			return name
		}
	}
}

// createFrom opens the create form with an image in it.
func (a *App) createFrom(image string) tea.Cmd {
	cmd := a.openCreate()
	a.form.fields.image.Set(image)
	return both(cmd, a.form.changed())
}

// rebuild does failed builds again.
func (a *App) rebuild(c scope) tea.Cmd {
	if len(c.marked) > 0 {
		return a.command(c, operation{verb: "rebuild", id: actRebuild, effect: "What is built already is not built again.", do: func(ctx context.Context, id string) error {
			_, err := a.opts.Builds.Rebuild(ctx, id)
			return err
		}})
	}
	id, name := c.box.ID, c.box.Name
	return a.request(request{verb: "rebuild", what: name, id: id, cli: cli("rebuild", name), patient: true, do: func(ctx context.Context) (string, error) {
		s, err := a.opts.Builds.Rebuild(ctx, id)
		return "built the snapshot " + s.Name, err
	}}, nil)
}
