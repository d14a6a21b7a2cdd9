package tui

import (
	"context"
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

// changedFile is one file that a sandbox changed, in the directory target, which
// is source on this machine.
type changedFile struct {
	source, target string
	api.FileChange // with clean texts, but for its path
	// path is Path, fit for a terminal, came the change as the daemon told it.
	path string
	came api.FileChange
}

// key tells files of several directories apart.
func (f *changedFile) key() string { return f.target + "\x00" + f.Path }

// showable tells whether there are lines to show of it.
func (f *changedFile) showable() bool {
	return !f.Binary && f.Kind != api.ChangeMode && (f.Type == "file" || f.Kind == api.ChangeDeleted && f.OldType == "file")
}

// changedFiles are the files of all sets, in their order.
func changedFiles(sets []api.ChangeSet) []changedFile {
	var out []changedFile
	for i := range sets {
		s := &sets[i]
		for _, c := range s.Changes {
			f := changedFile{source: s.Source, target: s.Target, FileChange: c, came: c, path: text.Clean(c.Path)}
			if f.Kind == api.ChangeDeleted && f.OldType == "" {
				f.OldType = f.Type
			}
			f.Type, f.OldType, f.Mode, f.OldMode = text.Clean(f.Type), text.Clean(f.OldType), text.Clean(f.Mode), text.Clean(f.OldMode)
			f.Link, f.Conflict, f.Flags = text.Clean(f.Link), text.Clean(f.Conflict), cleanAll(f.Flags)
			if len(sets) > 1 {
				f.path = strings.TrimSuffix(text.Clean(s.Target), "/") + "/" + f.path
			}
			out = append(out, f)
		}
	}
	return out
}

// changeColumns are those of the list of changed files.
func changeColumns() []table.Column {
	return []table.Column{
		{Title: "FILE", Min: 14, Good: 20, Max: 200, Flex: 1}, {Title: "WHAT", Min: 9, Max: 9}, {Title: "LINES", Min: 7, Max: 11, Right: true, Leaves: 1},
		{Title: "SIZE", Min: 5, Max: 5, Right: true, Leaves: 2},
	}
}

// changeLook is the sign, the word and the look of a kind of change.
func changeLook(kind string, th *theme.Theme) (string, theme.Style) {
	switch kind {
	case api.ChangeAdded:
		return "+ new", th.OK
	case api.ChangeModified:
		return "~ changed", th.Text
	case api.ChangeDeleted:
		return "- deleted", th.Bad
	case api.ChangeMode:
		return "~ mode", th.Text
	case api.ChangeType:
		return "! type", th.Warn
	}
	return text.Clean(kind), th.Text
}

// row is the file's row, its second line what somebody should know before it is
// applied.
func (f *changedFile) row(th *theme.Theme) table.Row {
	word, style := changeLook(f.Kind, th)
	lines := table.Cell{}
	switch {
	case f.Binary:
		lines = table.Cell{Text: "binary", Style: th.Muted}
	case f.showable() && f.Added+f.Removed > 0:
		lines = table.Cell{Text: "+" + strconv.Itoa(f.Added) + " -" + strconv.Itoa(f.Removed), Style: th.Muted}
	}
	size := table.Cell{}
	switch {
	case f.Kind == api.ChangeDeleted:
		size = table.Cell{Text: text.Bytes(f.OldSize), Style: th.Muted}
	case f.Type == "file":
		size = table.Cell{Text: text.Bytes(f.Size), Style: th.Muted}
	}
	name := f.path
	if f.Type == "dir" || f.Kind == api.ChangeDeleted && f.OldType == "dir" {
		name += "/"
	}
	r := table.Row{ID: f.key(), Cells: []table.Cell{{Text: name, Style: th.Strong}, {Text: word, Style: style}, lines, size}}
	switch {
	case f.Conflict != "":
		r.Note, r.NoteStyle = "not applied: "+f.Conflict, th.Bad
	case len(f.Flags) > 0:
		r.Note, r.NoteStyle = f.flags(), th.Warn
	}
	return r
}

// flags say in words what somebody should look at.
func (f *changedFile) flags() string {
	words := make([]string, len(f.Flags))
	for i, flag := range f.Flags {
		switch flag {
		case "git":
			flag = "inside .git: git may run it"
		case "hook":
			flag = "a hook: git runs it"
		case "envrc":
			flag = "direnv runs it"
		case "executable":
			flag = "a new program"
		case "link out":
			flag = "a link that leads out"
		case "setuid":
			flag = "setuid, which is left out"
		}
		words[i] = flag
	}
	return strings.Join(words, ", ")
}

// words say what became of the file where there are no lines to show, and above
// them where there are.
func (f *changedFile) words() []string {
	var out []string
	kind := func(t string) string {
		switch t {
		case "dir":
			return "a directory"
		case "link":
			return "a link"
		case "file":
			return "a file"
		}
		return "a " + t
	}
	size := bytesOf
	switch f.Kind {
	case api.ChangeAdded:
		s := "new: " + kind(f.Type)
		if f.Type == "file" {
			s += " of " + size(f.Size)
		}
		if f.Mode != "" && f.Type != "link" {
			s += ", mode " + f.Mode
		}
		out = append(out, s)
	case api.ChangeDeleted:
		s := "deleted: " + kind(f.OldType)
		if f.OldType == "file" {
			s += " of " + size(f.OldSize)
		}
		out = append(out, s)
	case api.ChangeType:
		out = append(out, kind(f.OldType)+" before, "+kind(f.Type)+" now")
	case api.ChangeModified:
		if f.Type == "file" {
			out = append(out, size(f.OldSize)+" before, "+size(f.Size)+" now")
		}
	}
	if f.Mode != f.OldMode && f.OldMode != "" && f.Mode != "" {
		out = append(out, "mode "+f.OldMode+" before, "+f.Mode+" now")
	}
	if f.Type == "link" && f.Link != "" && f.Kind != api.ChangeDeleted {
		out = append(out, "leads to "+f.Link)
	}
	if f.Binary {
		out = append(out, "a binary file: there are no lines to show")
	}
	return out
}

// settle is an apply or a discard. With force an apply writes over what changed
// on this machine.
type settle struct {
	verb, title string
	force       bool
}

// chosen is what an apply or a discard is about.
type chosen struct {
	files []changedFile
	// flagged are those that somebody should look at, left those that stay as
	// they are, in words.
	flagged, left []string
}

// choose finds out what is meant: of a directory all below it.
func (v *changesView) choose(s settle) chosen {
	var c chosen
	meant := v.meant()
	if s.verb == "apply" {
		meant = v.withAbove(meant)
	}
	for _, f := range meant {
		switch {
		case f.source == "":
			c.left = append(c.left, f.path+" (it is of the sandbox alone)")
			continue
		case s.verb == "apply" && f.Conflict != "" && !s.force:
			c.left = append(c.left, f.path+" ("+f.Conflict+")")
			continue
		case s.verb == "apply" && len(f.Flags) > 0:
			c.flagged = append(c.flagged, f.path+": "+f.flags())
		}
		c.files = append(c.files, f)
	}
	return c
}

// ask asks before files are applied or discarded, and says what somebody should
// know of them.
func (v *changesView) ask(s settle) tea.Cmd {
	a := v.app
	if why := a.actionReason(actChanges, scope{app: a, box: a.find(v.id)}); why != "" {
		a.notice.say(a.now, s.verb+": "+why)
		return nil
	}
	c := v.choose(s)
	if len(c.files) == 0 {
		why := "there is nothing"
		if len(c.left) > 0 {
			why = strings.Join(c.left, ", ")
		}
		if s.verb == "apply" && slices.ContainsFunc(v.meant(), func(f changedFile) bool { return f.Conflict != "" }) {
			why += "; " + v.keys.force.Help().Key + " writes over it"
		}
		a.notice.say(a.now, s.verb+": "+why)
		return nil
	}
	what := things(len(c.files), "change", "changes")
	if len(c.files) == 1 {
		what = c.files[0].path
	}
	cli := v.command(s, c.files)
	a.dialogs.Open(dialog.NewConfirm(s.title+" "+what+"?", v.question(s, &c), text.Cut(cli, commandMost, a.theme.Glyphs.Ellipsis), s.title, func() tea.Cmd {
		return v.send(s, c.files, what, cli)
	}))
	return nil
}

// question is what somebody should know before.
func (v *changesView) question(s settle, c *chosen) string {
	var body []string
	if len(c.flagged) > 0 {
		body = append(body, "Look first at:", strings.Join(c.flagged[:min(len(c.flagged), flaggedMost)], "\n"))
		if more := len(c.flagged) - flaggedMost; more > 0 {
			body = append(body, "and "+strconv.Itoa(more)+" more")
		}
	}
	if s.force {
		for i := range c.files {
			if f := &c.files[i]; f.Conflict != "" {
				body = append(body, f.path+": "+f.Conflict+". What is there now is lost.")
			}
		}
	}
	if len(c.left) > 0 {
		body = append(body, "Left out: "+some(c.left))
	}
	if s.verb == "apply" {
		return strings.Join(append(body, "Written to "+v.sources(c.files)+", as you."), "\n")
	}
	return strings.Join(append(body, "What the sandbox did there is lost: it has again what this machine has."), "\n")
}

// flaggedMost is how many files a question names that somebody should look at.
const flaggedMost = 40

// sources are the directories of the files on this machine.
func (v *changesView) sources(files []changedFile) string {
	var all []string
	for i := range files {
		if s := text.Clean(files[i].source); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return some(all)
}

// command is the same on the command line.
func (v *changesView) command(s settle, files []changedFile) string {
	words := []string{s.verb, v.name}
	switch {
	case s.force:
		words = append(words, "--force")
	case len(files) == len(v.files) && s.verb == "discard":
		return quoted(append(words, "--all")...)
	case len(files) == len(v.files):
		return quoted(words...)
	}
	for i := range files {
		words = append(words, strings.TrimSuffix(files[i].target, "/")+"/"+files[i].Path)
	}
	return quoted(words...)
}

// send does it, a directory after the other.
func (v *changesView) send(s settle, files []changedFile, what, cli string) tea.Cmd {
	a, id := v.app, v.id
	var targets []string
	byTarget := make(map[string][]api.FileChange)
	for i := range files {
		t := files[i].target
		if byTarget[t] == nil {
			targets = append(targets, t)
		}
		byTarget[t] = append(byTarget[t], files[i].came)
	}
	said := "applied " + what
	if s.verb != "apply" {
		said = "discarded " + what
	}
	clear(v.marks)
	return a.request(request{
		verb: s.verb, what: what + " of " + v.name, id: id, cli: cli, patient: true,
		do: func(ctx context.Context) (string, error) {
			for _, t := range targets {
				var err error
				if s.verb == "apply" {
					err = a.opts.Changes.Apply(ctx, id, t, byTarget[t], s.force)
				} else {
					err = a.opts.Changes.Discard(ctx, id, t, pathsOf(byTarget[t]))
				}
				if err != nil {
					return "", err
				}
			}
			return said, nil
		},
		after: func(*App) { v.stale = true },
	}, nil)
}

func pathsOf(list []api.FileChange) []string {
	paths := make([]string, len(list))
	for i := range list {
		paths[i] = list[i].Path
	}
	return paths
}

// withBelow are the files, with all that lie below directories among them.
func (v *changesView) withBelow(files []changedFile) []changedFile {
	if !slices.ContainsFunc(files, func(f changedFile) bool { return f.Type == "dir" || f.OldType == "dir" }) {
		return files
	}
	return slices.DeleteFunc(slices.Clone(v.files), func(f changedFile) bool {
		return !slices.ContainsFunc(files, func(of changedFile) bool {
			return of.target == f.target && (of.Path == f.Path || strings.HasPrefix(f.Path, of.Path+"/"))
		})
	})
}

// withAbove are the files, with the new directories that they are in.
func (v *changesView) withAbove(files []changedFile) []changedFile {
	meant := make(map[string]bool, len(files))
	for i := range files {
		meant[files[i].key()] = true
	}
	return slices.DeleteFunc(slices.Clone(v.files), func(d changedFile) bool {
		return !meant[d.key()] && (d.Type != "dir" || d.Kind != api.ChangeAdded && d.Kind != api.ChangeType ||
			!slices.ContainsFunc(files, func(f changedFile) bool { return f.target == d.target && strings.HasPrefix(f.Path, d.Path+"/") }))
	})
}
