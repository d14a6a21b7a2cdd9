package tui

import (
	"fmt"
	"strings"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

// alone is c without the marked ones, for what is done to one sandbox only.
func (c scope) alone() scope {
	c.marked = nil
	return c
}

// online is why nothing can be asked of the daemon now, or "".
func (c scope) online() string {
	switch c.app.snap.Link {
	case Live:
		return ""
	case Connecting:
		return "cove is still connecting to the daemon"
	case Down:
		return "the daemon does not answer"
	}
	return ""
}

// legal is why the sandboxes that are meant cannot be told to do op now, or "";
// of those that are marked one that can is enough. The answer is the lifecycle
// table's; verb is what the person calls op.
func (c scope) legal(verb string, op lifecycle.Operation) string {
	if why := c.online(); why != "" {
		return why
	}
	targets := c.targets()
	if len(targets) == 0 {
		return "no sandbox is selected"
	}
	first := ""
	for _, b := range targets {
		if first != "" && c.app.verdict(op, b.State) == lifecycle.Refused {
			continue // hints ask at every frame: the words are for one of them
		}
		why := c.app.legal(b, verb, op)
		if why == "" {
			return ""
		}
		if first == "" {
			first = why
		}
	}
	if len(targets) > 1 {
		return "none of the marked can: " + first
	}
	return first
}

// legal is why the sandbox cannot be told to do op now, or "".
func (a *App) legal(b *api.Sandbox, verb string, op lifecycle.Operation) string {
	if what, ok := a.sent[b.ID]; ok {
		return fmt.Sprintf("the daemon has not answered %s yet", what)
	}
	switch a.verdict(op, b.State) {
	case lifecycle.Allowed, lifecycle.Cancels:
		return ""
	case lifecycle.Nothing:
		return fmt.Sprintf("%s is %s already", b.Name, b.State)
	case lifecycle.Refused:
	}
	why := lifecycle.Why(op, b.State)
	if rest, ok := strings.CutPrefix(why, string(op)+" "); ok {
		why = verb + " " + rest
	}
	return why
}

// attempt is an operation in a state.
type attempt struct {
	op    lifecycle.Operation
	state lifecycle.State
}

// verdict is the lifecycle table's, remembered: hints ask for it at every frame
// and for everything that is marked.
func (a *App) verdict(op lifecycle.Operation, s lifecycle.State) lifecycle.Verdict {
	at := attempt{op, s}
	v, ok := a.verdicts[at]
	if !ok {
		v = lifecycle.Check(op, s)
		a.verdicts[at] = v
	}
	return v
}

// sooner is [scope.legal] of op, which shares its key with other: what is
// marked decides by its number which of the two is meant.
func (c scope) sooner(verb string, op, other lifecycle.Operation) string {
	if why := c.legal(verb, op); why != "" || len(c.marked) == 0 {
		return why
	}
	n := 0
	for _, b := range c.marked {
		if c.app.verdict(op, b.State) == lifecycle.Allowed {
			n++
		}
		if c.app.verdict(other, b.State) == lifecycle.Allowed {
			n--
		}
	}
	if n < 0 {
		return "most of the marked can do the opposite"
	}
	return ""
}
