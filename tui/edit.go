package tui

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"cove/runtime/api"
	"cove/tui/action"
	"cove/tui/dialog"
	"cove/tui/query"
)

// openRename asks for another name of the sandbox.
func (a *App) openRename(box *api.Sandbox) tea.Cmd {
	id, old := box.ID, box.Name
	a.dialogs.Open(dialog.NewPrompt("Rename "+old, dialog.Question{
		Label: "Name", Value: old,
		Wrong: func(name string) string {
			if err := a.opts.ValidName(name); err != nil {
				return err.Error()
			}
			if name != old && a.taken(name) {
				return "the name is taken"
			}
			return ""
		},
		Command: func(name string) string { return "cove rename " + action.Quote(old, name) },
		Run: func(name string) tea.Cmd {
			if name == old {
				return nil
			}
			return a.update(actRename, id, "rename", "cove rename "+action.Quote(old, name), func(ctx context.Context, id string) error {
				return a.opts.Backend.Rename(ctx, id, name)
			})
		},
	}))
	return nil
}

// openLabels asks how the labels of the sandboxes that are meant change.
func (a *App) openLabels(c scope) tea.Cmd {
	boxes := c.marked
	if len(boxes) == 0 {
		boxes = []*api.Sandbox{c.box}
	}
	var ids, names []string
	for _, b := range boxes {
		ids, names = append(ids, b.ID), append(names, b.Name)
	}
	title, about := "Labels of "+names[0], "now: "+strings.Join(labels(boxes[0]), " ")
	if len(boxes[0].Labels) == 0 {
		about = "there are none yet"
	}
	if len(names) > 1 {
		title, about = fmt.Sprintf("Labels of %d sandboxes", len(names)), strings.Join(names, ", ")
	}
	command := func(s string) string {
		words, _ := query.Words(s)
		return "cove label " + action.Quote(append(slices.Clone(names), words...)...)
	}
	a.dialogs.Open(dialog.NewPrompt(title, dialog.Question{
		Label: "Change", About: "KEY=VALUE sets, KEY- takes away\n" + about,
		Wrong: func(s string) string {
			_, err := parseLabels(s)
			if err != nil {
				return err.Error()
			}
			return ""
		},
		Command: command,
		Run: func(s string) tea.Cmd {
			r, err := parseLabels(s)
			if err != nil || len(r.Set)+len(r.Remove) == 0 {
				return nil
			}
			set := func(ctx context.Context, id string) error { return a.opts.Backend.SetLabels(ctx, id, r) }
			if len(ids) == 1 {
				return a.update(actLabels, ids[0], "label", command(s), set)
			}
			return a.runMany(ids, command(s), operation{verb: "label", id: actLabels, do: set})
		},
	}))
	return nil
}

// update sends a change of a sandbox's record, if it is still there.
func (a *App) update(act, id, verb, command string, do func(context.Context, string) error) tea.Cmd {
	c := scope{app: a, box: a.find(id)}
	if why := a.actionReason(act, c); why != "" {
		a.notice.say(a.now, verb+": "+why)
		return nil
	}
	return a.ask(verb, command, c.box, do)
}

// parseLabels reads KEY=VALUE and KEY- words.
func parseLabels(s string) (api.LabelsRequest, error) {
	r := api.LabelsRequest{Set: make(map[string]string)}
	words, err := query.Words(s)
	if err != nil {
		return r, err
	}
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		gone, minus := strings.CutSuffix(w, "-")
		switch {
		case ok && k != "":
			r.Set[k] = v
		case !ok && minus && gone != "":
			r.Remove = append(r.Remove, gone)
		default:
			return r, fmt.Errorf("%q is neither KEY=VALUE nor KEY-", w)
		}
	}
	for _, k := range r.Remove {
		if _, both := r.Set[k]; both {
			return r, errors.New(k + " cannot be set and taken away at once")
		}
	}
	return r, nil
}
