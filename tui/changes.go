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
	api.FileChange
	// path is Path, fit for a terminal.
	path string
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
			f := changedFile{source: s.Source, target: s.Target, FileChange: c, path: text.Clean(c.Path)}
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

// settle is an apply or a discard: what it is called, and what does it.
type settle struct {
	verb, title string
	do          func(ctx context.Context, id, target string, paths []string) error
}

// ask asks before files are applied or discarded, and says what somebody should
// know of them.
func (v *changesView) ask(s settle) tea.Cmd {
	a := v.app
	if why := a.actionReason(actChanges, scope{app: a, box: a.find(v.id)}); why != "" {
		a.notice.say(a.now, s.verb+": "+why)
		return nil
	}
	applies := s.verb == "apply"
	var files []changedFile
	var flagged, left []string
	for _, f := range v.meant() {
		switch {
		case f.source == "":
			left = append(left, f.path+" (it is of the sandbox alone)")
			continue
		case applies && f.Conflict != "":
			left = append(left, f.path+" ("+f.Conflict+")")
			continue
		case applies && len(f.Flags) > 0:
			flagged = append(flagged, f.path+": "+f.flags())
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		why := "there is nothing"
		if len(left) > 0 {
			why = strings.Join(left, ", ")
		}
		a.notice.say(a.now, s.verb+": "+why)
		return nil
	}
	what := things(len(files), "file", "files")
	if len(files) == 1 {
		what = files[0].path
	}
	var body []string
	if len(flagged) > 0 {
		body = append(body, "Look first at:", strings.Join(flagged[:min(len(flagged), flaggedMost)], "\n"))
		if more := len(flagged) - flaggedMost; more > 0 {
			body = append(body, "and "+strconv.Itoa(more)+" more")
		}
	}
	if len(left) > 0 {
		body = append(body, "Left out: "+some(left))
	}
	if applies {
		body = append(body, "Written to "+v.sources(files)+", as you.")
	} else {
		body = append(body, "What the sandbox did to this is lost; it sees the file as it is on this machine.")
	}
	cli := v.command(s.verb, files)
	a.dialogs.Open(dialog.NewConfirm(s.title+" "+what+"?", strings.Join(body, "\n"), text.Cut(cli, commandMost, a.theme.Glyphs.Ellipsis), s.title, func() tea.Cmd {
		return v.send(s, files, what, cli)
	}))
	return nil
}

// flaggedMost is how many files a question names that somebody should look at.
const flaggedMost = 12

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
func (v *changesView) command(verb string, files []changedFile) string {
	words := []string{verb, v.name}
	if len(files) < len(v.files) {
		for i := range files {
			words = append(words, strings.TrimSuffix(files[i].target, "/")+"/"+files[i].Path)
		}
	}
	return quoted(words...)
}

// send does it, a directory after the other.
func (v *changesView) send(s settle, files []changedFile, what, cli string) tea.Cmd {
	a, id := v.app, v.id
	var targets []string
	paths := make(map[string][]string)
	for i := range files {
		t := files[i].target
		if paths[t] == nil {
			targets = append(targets, t)
		}
		paths[t] = append(paths[t], files[i].Path)
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
				if err := s.do(ctx, id, t, paths[t]); err != nil {
					return "", err
				}
			}
			return said, nil
		},
		after: func(*App) { v.stale = true },
	}, nil)
}
