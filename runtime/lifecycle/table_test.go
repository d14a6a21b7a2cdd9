package lifecycle

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// design is the table as the design document prints it: the rows by which the
// code is judged, written a second time on purpose.
var design = map[Operation]struct{ from, noop, cancels string }{
	OpCreate:   {},
	OpStart:    {from: "stopped archived error", noop: "started starting", cancels: "archiving"},
	OpStop:     {from: "started paused error", noop: "stopped stopping"},
	OpRestart:  {from: "started stopped paused error"},
	OpPause:    {from: "started", noop: "paused pausing"},
	OpResume:   {from: "paused", noop: "started resuming"},
	OpResize:   {from: "started stopped"},
	OpSnapshot: {from: "started stopped paused"},
	OpFork:     {from: "started stopped paused"},
	OpArchive:  {from: "stopped", noop: "archived archiving"},
	OpRebuild:  {from: "build_failed"},
	OpRepair:   {from: "unknown error"},
	OpUndo:     {from: "destroyed"},
	OpExec:     {from: "started"},
	OpCopy:     {from: "started stopped"},
	OpVolume:   {from: "started stopped"},
	OpUpdate: {from: "creating pending_build building_snapshot pulling_snapshot started stopped starting stopping archived " +
		"restoring resizing destroying error build_failed unknown archiving snapshotting forking pausing paused resuming"},
	OpDelete: {
		from: "started stopped archived error build_failed unknown paused", noop: "destroying",
		cancels: "creating pending_build building_snapshot pulling_snapshot starting stopping restoring resizing archiving snapshotting forking pausing resuming",
	},
}

func TestTableIsTheDesigns(t *testing.T) {
	if len(design) != len(Rules()) {
		t.Fatalf("the table has %d operations, the design %d", len(Rules()), len(design))
	}
	for op, want := range design {
		for _, s := range States() {
			in := func(list string) bool { return slices.Contains(strings.Fields(list), string(s)) }
			expect := Refused
			switch {
			case in(want.noop):
				expect = Nothing
			case in(want.cancels):
				expect = Cancels
			case in(want.from):
				expect = Allowed
			}
			if got := Check(op, s); got != expect {
				t.Errorf("Check(%s, %s) = %v, the design says %v", op, s, got, expect)
			}
		}
	}
}

func TestStates(t *testing.T) {
	if n := len(States()); n != 22 {
		t.Errorf("%d states, the design names 16 and 6", n)
	}
	seen := map[State]bool{}
	for _, s := range States() {
		if seen[s] {
			t.Errorf("%s is listed twice", s)
		}
		seen[s] = true
		if !s.Valid() {
			t.Errorf("%s is not valid", s)
		}
		// Every passing state is on some operation's way, and no resting one is,
		// but for unknown, through which a repair passes.
		onWay := false
		for _, r := range Rules() {
			onWay = onWay || slices.Contains(r.Via, s)
		}
		if onWay != (s.Passing() || s == Unknown) {
			t.Errorf("%s: passing %v, on an operation's way %v", s, s.Passing(), onWay)
		}
	}
	if State("").Valid() || State("running").Valid() {
		t.Error("states that do not exist are valid")
	}
}

func TestEveryRuleHolds(t *testing.T) {
	for _, r := range Rules() {
		for _, list := range [][]State{r.From, r.NoOp, r.Cancels, r.Via} {
			for _, s := range list {
				if !s.Valid() {
					t.Errorf("%s names the state %q", r.Op, s)
				}
			}
		}
		for _, s := range append(slices.Clone(r.To), r.Failed...) {
			if s != AsBefore && (!s.Valid() || s.Passing()) {
				t.Errorf("%s ends in %q, which is no resting state", r.Op, s)
			}
		}
		for _, s := range r.Via {
			if !s.Passing() && s != Unknown {
				t.Errorf("%s passes through %q, which rests", r.Op, s)
			}
		}
		if len(r.Via) > 0 && len(r.Failed) == 0 {
			t.Errorf("%s cannot fail", r.Op)
		}
	}
}

// From every state that a sandbox can rest in, it can be deleted, and a model
// that follows the table at random never leaves it.
func TestModelStaysOnTheTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state := Started
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			op := rapid.SampledFrom(Rules()).Draw(t, "op")
			if op.Op == OpCreate {
				continue
			}
			before := state
			switch Check(op.Op, state) {
			case Refused:
				if Why(op.Op, state) == "" {
					t.Fatalf("%s in %s is refused without a reason", op.Op, state)
				}
				continue
			case Nothing:
				continue
			case Allowed, Cancels:
				if Why(op.Op, state) != "" {
					t.Fatalf("%s in %s is legal and has a reason why not", op.Op, state)
				}
			}
			ends := op.To
			if rapid.Bool().Draw(t, "fails") {
				ends = op.Failed
			}
			state = rapid.SampledFrom(ends).Draw(t, "end")
			if state == AsBefore {
				state = before
			}
			if state.Passing() || !state.Valid() {
				t.Fatalf("%s from %s rests in %s", op.Op, before, state)
			}
			if state != Destroyed && Check(OpDelete, state) == Refused {
				t.Fatalf("a sandbox that is %s cannot be deleted", state)
			}
		}
	})
}

func TestReason(t *testing.T) {
	for want, r := range map[string]Reason{
		"":             {},
		"user":         {Kind: ReasonUser},
		"exited(3)":    {Kind: ReasonExited, Code: 3},
		"signal(KILL)": {Kind: ReasonSignal, Signal: "KILL"},
		"oom":          {Kind: ReasonOOM},
	} {
		if got := r.String(); got != want {
			t.Errorf("String(%+v) = %q, want %q", r, got, want)
		}
	}
}

func TestWhyNamesWhatIsNeeded(t *testing.T) {
	got := Why(OpExec, Stopped)
	if want := "exec needs a sandbox that is started; this one is stopped"; got != want {
		t.Errorf("Why = %q, want %q", got, want)
	}
	if got := Why(OpRestart, Archived); !strings.Contains(got, "started, stopped, paused or error") {
		t.Errorf("Why = %q", got)
	}
}
