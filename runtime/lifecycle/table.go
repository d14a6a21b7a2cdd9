package lifecycle

import (
	"fmt"
	"slices"
	"strings"
)

// Operation is something a person or a timer does to a sandbox.
type Operation string

// The operations. Exec stands for all that runs inside (exec, attach, code),
// Update for what changes the record and not the sandbox (rename, label,
// network, automation), Volume for attaching volumes and for apply and discard.
const (
	OpCreate   Operation = "create"
	OpStart    Operation = "start"
	OpStop     Operation = "stop"
	OpRestart  Operation = "restart"
	OpPause    Operation = "pause"
	OpResume   Operation = "resume"
	OpResize   Operation = "resize"
	OpSnapshot Operation = "snapshot"
	OpFork     Operation = "fork"
	OpArchive  Operation = "archive"
	OpRebuild  Operation = "rebuild"
	OpRepair   Operation = "repair"
	OpUndo     Operation = "undo"
	OpExec     Operation = "exec"
	OpCopy     Operation = "cp"
	OpUpdate   Operation = "update"
	OpVolume   Operation = "volume"
	OpDelete   Operation = "delete"
)

// AsBefore in a [Rule] means the state in which the operation began.
const AsBefore State = ""

// Rule is one row of the table.
type Rule struct {
	Op Operation
	// From are the states in which it is legal; empty for create.
	From []State
	// NoOp are the states in which it has nothing to do and succeeds.
	NoOp []State
	// Cancels are the passing states whose operation it cancels first.
	Cancels []State
	// Via are the states it passes through, in order; operations without
	// one do not occupy the sandbox.
	Via []State
	// To lists where it may end on success, Failed on failure.
	To     []State
	Failed []State
}

// Rules returns the table, one row an operation. The caller owns the copy.
func Rules() []Rule {
	notDestroyed := slices.DeleteFunc(States(), func(s State) bool { return s == Destroyed })
	passing := slices.DeleteFunc(States(), func(s State) bool { return !s.Passing() || s == Destroying })
	return []Rule{
		{
			Op:  OpCreate,
			Via: []State{Creating, PullingSnapshot, PendingBuild, BuildingSnapshot},
			To:  []State{Started}, Failed: []State{Error, BuildFailed, Destroyed},
		},
		{
			Op: OpStart, From: []State{Stopped, Archived, Error, Archiving}, NoOp: []State{Started, Starting},
			Cancels: []State{Archiving}, Via: []State{Starting, Restoring},
			To: []State{Started}, Failed: []State{Stopped, Error, Archived},
		},
		{
			Op: OpStop, From: []State{Started, Paused, Error}, NoOp: []State{Stopped, Stopping},
			Via: []State{Stopping}, To: []State{Stopped, Destroyed}, Failed: []State{Error},
		},
		{
			Op: OpRestart, From: []State{Started, Stopped, Paused, Error},
			Via: []State{Stopping, Starting}, To: []State{Started}, Failed: []State{Stopped, Error},
		},
		{Op: OpPause, From: []State{Started}, NoOp: []State{Paused, Pausing}, Via: []State{Pausing}, To: []State{Paused}, Failed: []State{AsBefore, Error}},
		{Op: OpResume, From: []State{Paused}, NoOp: []State{Started, Resuming}, Via: []State{Resuming}, To: []State{Started}, Failed: []State{AsBefore, Error}},
		{Op: OpResize, From: []State{Started, Stopped}, Via: []State{Resizing}, To: []State{AsBefore}, Failed: []State{AsBefore, Error}},
		{Op: OpSnapshot, From: []State{Started, Stopped, Paused}, Via: []State{Snapshotting}, To: []State{AsBefore}, Failed: []State{AsBefore, Error}},
		{Op: OpFork, From: []State{Started, Stopped, Paused}, Via: []State{Forking}, To: []State{AsBefore}, Failed: []State{AsBefore, Error}},
		{Op: OpArchive, From: []State{Stopped}, NoOp: []State{Archived, Archiving}, Via: []State{Archiving}, To: []State{Archived}, Failed: []State{AsBefore, Error}},
		{Op: OpRebuild, From: []State{BuildFailed}, Via: []State{PendingBuild, BuildingSnapshot, Creating}, To: []State{Started}, Failed: []State{Error, BuildFailed}},
		{Op: OpRepair, From: []State{Unknown, Error}, Via: []State{Unknown}, To: []State{Stopped}, Failed: []State{Error, AsBefore}},
		{Op: OpUndo, From: []State{Destroyed}, To: []State{Stopped}, Failed: []State{AsBefore}},
		{Op: OpExec, From: []State{Started}, To: []State{AsBefore}, Failed: []State{AsBefore}},
		{Op: OpCopy, From: []State{Started, Stopped}, To: []State{AsBefore}, Failed: []State{AsBefore}},
		{Op: OpUpdate, From: notDestroyed, To: []State{AsBefore}, Failed: []State{AsBefore}},
		{Op: OpVolume, From: []State{Started, Stopped}, To: []State{AsBefore}, Failed: []State{AsBefore}},
		{
			Op: OpDelete, From: notDestroyed, NoOp: []State{Destroying}, Cancels: passing,
			Via: []State{Destroying}, To: []State{Destroyed}, Failed: []State{Error},
		},
	}
}

// RuleOf returns the row of op, and false for an operation that is not in the table.
func RuleOf(op Operation) (Rule, bool) {
	for _, r := range Rules() {
		if r.Op == op {
			return r, true
		}
	}
	return Rule{}, false
}

// Verdict is what the table says of an operation in a state.
type Verdict int

// The verdicts.
const (
	Refused Verdict = iota // not legal in that state
	Allowed
	Nothing // legal, and already so: succeeds without doing anything
	Cancels // legal: first cancels the operation under way
)

// Check says whether op is legal in state.
func Check(op Operation, state State) Verdict {
	r, ok := RuleOf(op)
	if !ok {
		return Refused
	}
	switch {
	case slices.Contains(r.NoOp, state):
		return Nothing
	case slices.Contains(r.Cancels, state):
		return Cancels
	case slices.Contains(r.From, state):
		return Allowed
	}
	return Refused
}

// Why says in a person's words why op is not legal in state, and what is.
// It is empty when the operation is legal.
func Why(op Operation, state State) string {
	if Check(op, state) != Refused {
		return ""
	}
	r, ok := RuleOf(op)
	if !ok {
		return fmt.Sprintf("there is no operation %q", op)
	}
	names := make([]string, 0, len(r.From))
	for _, s := range r.From {
		if !s.Passing() {
			names = append(names, string(s))
		}
	}
	if len(names) == 0 {
		return fmt.Sprintf("%s does not apply to a sandbox that is %s", op, state)
	}
	is := string(state)
	if state == Error {
		is = "in state error"
	}
	return fmt.Sprintf("%s needs a sandbox that is %s; this one is %s", op, orList(names), is)
}

func orList(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}
