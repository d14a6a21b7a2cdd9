package tui

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"cove/runtime/api"
	"cove/tui/dialog"
	"cove/tui/table"
	"cove/tui/text"
	"cove/tui/theme"
)

// snapshotShelf is the snapshots as a tree: each stands below the one that it
// lies on.
type snapshotShelf struct {
	app   *App
	all   []api.Snapshot // in the order of the tree
	depth []int
}

func (s *snapshotShelf) title() string { return shelfSnapshots }

func (s *snapshotShelf) columns() []table.Column {
	return []table.Column{
		{Title: "SNAPSHOT", Min: 12, Good: 26, Max: 60, Flex: 1}, {Title: "SIZE", Min: 5, Max: 5, Right: true},
		{Title: "AGE", Min: 5, Max: 6, Right: true}, {Title: "OF", Min: 6, Good: 10, Max: 30, Leaves: 2},
		{Title: "IMAGE", Min: 6, Good: 10, Max: 30, Leaves: 3}, {Title: "LAYERS", Min: 6, Max: 6, Right: true, Leaves: 4},
		{Title: "USED BY", Min: 8, Good: 14, Max: 40, Leaves: 1},
	}
}

func (s *snapshotShelf) ask(ctx context.Context) (func(), error) {
	all, err := s.app.opts.Snapshots.Snapshots(ctx)
	return func() {
		all = slices.Clone(all)
		for i := range all {
			n := &all[i]
			n.ID, n.Name, n.Sandbox, n.Image, n.Used = text.Clean(n.ID), text.Clean(n.Name), text.Clean(n.Sandbox), text.Clean(n.Image), cleanAll(n.Used)
		}
		s.all, s.depth = tree(all)
	}, err
}

// tree puts every snapshot right below the one that it lies on, the newest first
// among those that lie on the same, and tells how deep each is.
func tree(all []api.Snapshot) (sorted []api.Snapshot, depth []int) {
	byID := make(map[string]bool, len(all))
	for i := range all {
		byID[all[i].ID] = true
	}
	on := make(map[string][]int)
	for i := range all {
		parent := all[i].Parent
		if !byID[parent] || parent == all[i].ID {
			parent = ""
		}
		on[parent] = append(on[parent], i)
	}
	seen := make([]bool, len(all))
	var below func(i, d int)
	put := func(list []int, d int) {
		slices.SortStableFunc(list, func(x, y int) int {
			return cmp.Or(all[y].Created.Compare(all[x].Created), cmp.Compare(all[x].Name, all[y].Name), cmp.Compare(all[x].ID, all[y].ID))
		})
		for _, i := range list {
			below(i, d)
		}
	}
	below = func(i, d int) {
		if seen[i] {
			return
		}
		seen[i] = true
		sorted, depth = append(sorted, all[i]), append(depth, d)
		put(on[all[i].ID], d+1)
	}
	put(on[""], 0)
	for i := range all { // what lies on itself in a circle
		below(i, 0)
	}
	return sorted, depth
}

func (s *snapshotShelf) find(id string) *api.Snapshot {
	i := slices.IndexFunc(s.all, func(n api.Snapshot) bool { return n.ID == id })
	if i < 0 {
		return nil
	}
	return &s.all[i]
}

// deepest is how far a row of the tree is set in at most.
const deepest = 8

func (s *snapshotShelf) rows(th *theme.Theme) []table.Row {
	rows := make([]table.Row, len(s.all))
	for i := range s.all {
		n := &s.all[i]
		name := n.Name
		if d := min(s.depth[i], deepest); d > 0 {
			name = text.Spaces(2*(d-1)) + th.Glyphs.Branch + " " + name
		}
		of := table.Cell{Text: n.Sandbox, Style: th.Text}
		if n.Sandbox == "" {
			of = table.Cell{Text: "a build", Style: th.Muted}
		}
		rows[i] = table.Row{ID: n.ID, Cells: []table.Cell{
			{Text: name, Style: th.Strong}, {Text: text.Bytes(n.Size), Style: th.Text}, {Text: text.Age(s.app.now.Sub(n.Created)), Style: th.Muted},
			of, {Text: shortImage(n.Image), Style: th.Muted}, {Text: strconv.Itoa(n.Layers), Style: th.Muted}, usedBy(th, n.Used),
		}}
	}
	return rows
}

func (s *snapshotShelf) about(th *theme.Theme, id string) string {
	n := s.find(id)
	if n == nil {
		return ""
	}
	words := []string{"made " + n.Created.In(s.app.now.Location()).Format("2006-01-02 15:04")}
	if cost := stoodStill(n.Frozen, n.Copied); cost != "" {
		words = append(words, cost)
	}
	if len(n.Used) > 0 {
		words = append(words, "used by "+some(n.Used))
	} else {
		words = append(words, "nothing uses it")
	}
	return strings.Join(append(words, "id "+n.ID), " "+th.Glyphs.Dot+" ")
}

// stoodStill says what a snapshot or a fork cost a sandbox that ran.
func stoodStill(frozen float64, copied int64) string {
	if frozen <= 0 && copied <= 0 {
		return ""
	}
	d := time.Duration(frozen * float64(time.Second))
	return "it stood still for " + strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 1, 64) + " ms, " + bytesOf(copied) + " copied"
}

func (s *snapshotShelf) sum() string {
	var all int64
	for i := range s.all {
		all += s.all[i].Size
	}
	return text.Bytes(all)
}

func (s *snapshotShelf) nothing() string {
	return "No snapshots yet. " + s.app.keyOf(actSnapshot) + " in the list of sandboxes keeps the present state of one. New sandboxes can be made from it, and it stays when the sandbox is deleted."
}

func (s *snapshotShelf) deeds() []deed {
	a := s.app
	return []deed{
		{
			keys: on("enter", "n"), title: "new sandbox", help: "Make a sandbox from the snapshot.", cli: "cove create --image snapshot:NAME", why: a.onShelf(true),
			run: func(id string) (bool, tea.Cmd) { return true, a.createFrom("snapshot:" + s.find(id).Name) },
		},
		{
			keys: on("D"), title: "delete", help: "Delete the snapshot, after a question. Sandboxes and snapshots that lie on it stay.", cli: "cove snapshot rm NAME",
			why: a.onShelf(true), run: func(id string) (bool, tea.Cmd) { return false, s.askDelete(s.find(id)) },
		},
	}
}

func (s *snapshotShelf) askDelete(n *api.Snapshot) tea.Cmd {
	a := s.app
	name := n.Name
	body := "It alone occupies " + text.Bytes(n.Size) + ". It cannot be brought back."
	var on []string
	for i := range s.all {
		if s.all[i].Parent == n.ID {
			on = append(on, s.all[i].Name)
		}
	}
	if len(n.Used) > 0 {
		body += "\nOn it are the sandboxes " + some(n.Used) + ", which stay as they are."
	}
	if len(on) > 0 {
		body += "\nOn it lie the snapshots " + some(on) + ", which stay as they are."
	}
	if len(n.Used)+len(on) > 0 {
		body += " Its space is free when they are gone."
	}
	cli := quoted("snapshot", "rm", name)
	a.dialogs.Open(dialog.NewConfirm("Delete the snapshot "+name+"?", body, cli, "Delete", func() tea.Cmd {
		return a.request(request{verb: "delete", what: "snapshot " + name, cli: cli, do: func(ctx context.Context) (string, error) {
			return "deleted the snapshot " + name, a.opts.Snapshots.DeleteSnapshot(ctx, name)
		}}, nil)
	}))
	return nil
}
