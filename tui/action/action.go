// Package action is the one table of what a person can do in the TUI. A row
// has the keys, the words, when it is possible and if not why, how dangerous
// it is, what it runs and what the same thing is called on the command line;
// key handling, hints, help and (later) the palette all read it, so none of
// them can disagree.
package action

import (
	"fmt"
	"slices"
	"strings"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"
)

// Danger says what happens before an action runs.
type Danger int

// The levels of danger.
const (
	Safe        Danger = iota // runs
	Reversible                // runs; the opposite action exists
	Destructive               // asks first, and the default answer is no
)

// Targets says what an action applies to.
type Targets int

// The targets.
const (
	None Targets = iota // the program itself
	One                 // the selected sandbox
)

// Action is one row. C is what actions see of the program when they are asked
// about or run; it is made anew for each question.
type Action[C any] struct {
	// ID names the action for ever: "sandbox.stop". Settings refer to it.
	ID string
	// Keys are as tea.Key.String writes them; the first one is shown. Its
	// help is the table's business: that key and the title.
	Keys key.Binding
	// Title is one or two words, for hints; Help is a sentence.
	Title string
	Help  string
	// Group is set on actions that share a key because at most one of them
	// makes sense at a time, as start and stop do.
	Group   string
	Danger  Danger
	Targets Targets
	// Hint puts the action into the footer; Hidden keeps it out of the help
	// (movement keys have one line of their own there).
	Hint bool
	// When gives the reason why the action cannot run now, and "" when it
	// can. A nil When is always "".
	When func(C) string
	// Run does it, or begins to. It is called only when When gives "".
	Run func(C) tea.Cmd
	// CLI is the same thing on the command line, without a prompt; nil where
	// the command line has nothing like it.
	CLI func(C) string
}

// Reason is why a cannot run in c, or "".
func (a *Action[C]) Reason(c C) string {
	if a.When == nil {
		return ""
	}
	return a.When(c)
}

// Key is the key to show for a, written for people: "enter", "ctrl+c", "?".
func (a *Action[C]) Key() string { return a.Keys.Help().Key }

// Table is all the actions of one place, in the order in which they are shown.
type Table[C any] struct{ rows []Action[C] }

// NewTable checks the rows and returns the table of them. It is an error when
// two actions share an id, or a key without being of one group; the error
// names both.
func NewTable[C any](rows []Action[C]) (*Table[C], error) {
	t := &Table[C]{rows: slices.Clone(rows)}
	ids := make(map[string]bool, len(rows))
	byKey := make(map[string][]*Action[C])
	for i := range t.rows {
		a := &t.rows[i]
		switch {
		case a.ID == "" || a.Title == "" || a.Help == "" || a.Run == nil:
			return nil, fmt.Errorf("action %q lacks an id, title, help or run", a.ID)
		case ids[a.ID]:
			return nil, fmt.Errorf("action %s is in the table twice", a.ID)
		}
		ids[a.ID] = true
		for i, k := range a.Keys.Keys() {
			if i == 0 {
				a.Keys.SetHelp(k, a.Title)
			}
			for _, b := range byKey[k] {
				if a.Group == "" || a.Group != b.Group {
					return nil, fmt.Errorf("key %q is bound to both %s and %s", k, b.ID, a.ID)
				}
			}
			byKey[k] = append(byKey[k], a)
		}
	}
	return t, nil
}

// Rows returns the actions in their order. The caller does not change them.
func (t *Table[C]) Rows() []Action[C] { return t.rows }

// Find returns the action with the id.
func (t *Table[C]) Find(id string) (*Action[C], bool) {
	for i := range t.rows {
		if t.rows[i].ID == id {
			return &t.rows[i], true
		}
	}
	return nil, false
}

// ForKey returns the action that key means in c, and the reason why it cannot
// run, if any. Of a group it is the first one that can run; when none can, it
// is the first, with its reason. It returns nil for a key that is not bound.
func (t *Table[C]) ForKey(k tea.KeyPressMsg, c C) (*Action[C], string) {
	return t.choose(c, func(a *Action[C]) bool { return key.Matches(k, a.Keys) })
}

// Choose returns the action of a's group that can run in c, or a itself.
func (t *Table[C]) Choose(a *Action[C], c C) (*Action[C], string) {
	if a.Group == "" {
		return a, a.Reason(c)
	}
	return t.choose(c, func(b *Action[C]) bool { return b.Group == a.Group })
}

// choose returns the first of the actions meant that can run in c, or else the
// first of them with its reason.
func (t *Table[C]) choose(c C, meant func(*Action[C]) bool) (*Action[C], string) {
	var first *Action[C]
	var why string
	for i := range t.rows {
		a := &t.rows[i]
		if !meant(a) {
			continue
		}
		reason := a.Reason(c)
		if reason == "" {
			return a, ""
		}
		if first == nil {
			first, why = a, reason
		}
	}
	return first, why
}

// Hints returns what the footer shows in c: the actions marked Hint, of a
// group only the one that its key would run.
func (t *Table[C]) Hints(c C) []Hint {
	var hints []Hint
	seen := make(map[string]bool)
	for i := range t.rows {
		a := &t.rows[i]
		if !a.Hint || a.Group != "" && seen[a.Group] {
			continue
		}
		seen[a.Group] = true
		chosen, why := t.Choose(a, c)
		hints = append(hints, Hint{ID: chosen.ID, Help: chosen.Keys.Help(), Reason: why})
	}
	return hints
}

// Hint is one entry of the footer.
type Hint struct {
	ID       string
	key.Help        // the key, and the title as its description
	Reason   string // why it cannot run now; "" when it can
}

// Quote writes words as one would type them into a POSIX shell.
func Quote(words ...string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w
		if w == "" || strings.ContainsFunc(w, unsafe) {
			out[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}

// unsafe tells whether a shell could see more in r than itself.
func unsafe(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune("-_./:=,@%+", r)
}
