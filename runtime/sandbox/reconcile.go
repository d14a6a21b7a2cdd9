package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"cove/config"
	"cove/runtime/lifecycle"
	"cove/runtime/network"
	"cove/runtime/runner"
	"cove/runtime/store"
)

const (
	// adopters is how many sandboxes are looked at side by side: each waits
	// mostly for an answer.
	adopters = 32
	// adoptTimeout is what PID 1 of a running sandbox gets to answer a new daemon.
	adoptTimeout = 5 * time.Second
)

// found is one sandbox as the new daemon finds it.
type found struct {
	b    *box
	run  *running
	op   lifecycle.Operation // that a killed daemon left unfinished, or ""
	args json.RawMessage     // of op
	// hooked: the hook before a stop has run.
	hooked bool
	live   bool // its PID 1 exists
}

// reconcile makes memory and disk agree with what really runs: it adopts what
// lives, finishes or rolls back what a killed daemon left half done, and gives
// back what belongs to nothing.
func (m *Manager) reconcile(ctx context.Context) error {
	entries, err := os.ReadDir(m.sandboxesDir())
	if err != nil {
		return fmt.Errorf("read the sandboxes: %w", err)
	}
	known := map[string]bool{}
	var (
		mu   sync.Mutex
		all  []*found
		g, _ = errgroup.WithContext(ctx)
	)
	g.SetLimit(adopters)
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, newPrefix) {
			m.rollBackNew(strings.TrimPrefix(name, newPrefix))
			continue
		}
		if !validID(name) {
			m.log.Warn("not a sandbox's directory; left alone", "name", name)
			continue
		}
		known[name] = true
		g.Go(func() error {
			f := m.look(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, f)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	m.index(all)
	m.clearOrphans(ctx, known)
	m.adoptNetwork(ctx, all)
	m.adoptProcessors(all)
	for _, f := range all {
		m.settle(f)
	}
	if err := m.clearNames(); err != nil {
		return err
	}
	return m.trash.collect()
}

// adoptNetwork says which sandboxes run and what each may reach. What goes wrong
// there is no reason to leave them alone otherwise.
func (m *Manager) adoptNetwork(ctx context.Context, all []*found) {
	running := map[string]network.Running{}
	for _, f := range all {
		if f.live && f.run.Phase == phaseStarted {
			running[f.b.id] = network.Running{Policy: network.PolicyOf(f.b.rec.Spec.Network), Pid: f.run.Pid}
		}
	}
	if err := m.opt.Network.Adopt(ctx, running); err != nil {
		m.log.Error("could not take over the network of the sandboxes that run", "error", err)
	}
}

func validID(s string) bool {
	if len(s) != 12 {
		return false
	}
	return strings.Trim(s, "0123456789abcdef") == ""
}

// rollBackNew removes a sandbox whose directory was still being made.
func (m *Manager) rollBackNew(id string) {
	grave := filepath.Join(m.trashDir(), id)
	if err := os.Rename(filepath.Join(m.sandboxesDir(), newPrefix+id), grave); err != nil {
		m.log.Warn("could not remove an unfinished sandbox", "sandbox", id, "error", err)
	}
}

// look finds out what is there of one sandbox. It changes nothing outside it.
func (m *Manager) look(ctx context.Context, id string) *found {
	b := m.timedBox(&box{id: id, made: true})
	f := &found{b: b}
	rec, err := readRecord(m.stateDir(id), id)
	if err != nil {
		b.rec = record{Version: recordVersion, ID: id, Name: id}
		b.state = lifecycle.Unknown
		b.reason = lifecycle.Reason{Kind: lifecycle.ReasonFailed, Detail: err.Error()}
	} else {
		rec.Deleted = time.Time{} // an undo that was cut off
		b.rec, b.state, b.reason = rec, rec.Rest, rec.Reason
	}
	last, err := store.ReadOplog(filepath.Join(m.runDir(id), oplogFile))
	if err == nil && last.Unfinished {
		f.op, f.args = lifecycle.Operation(last.Op), last.Args
		f.hooked = last.Stage == stageHooked
	}
	run, err := readRunning(m.runDir(id))
	if err != nil {
		m.log.Warn("what ran of a sandbox is not readable", "sandbox", id, "error", err)
	}
	if run == nil || run.Boot != m.opt.BootID {
		if run != nil || b.rec.Desired == lifecycle.Started {
			f.run = run
		}
		return f
	}
	f.run = run
	if run.Pid == 0 {
		return f
	}
	proc, err := runner.Watch(run.Pid, run.StartTime)
	if err != nil {
		return f // it has ended, and its pid may be somebody else's
	}
	b.proc = proc
	f.live = true
	m.adoptDisk(ctx, b.rec)
	b.held = run.Held
	if run.Phase != phaseStarted || f.op == lifecycle.OpCopy {
		return f
	}
	// What is frozen does not answer, whoever froze it.
	frozen, err := m.opt.Cgroups.Frozen(id)
	if err != nil {
		m.log.Warn("could not ask whether it is paused", "sandbox", id, "error", err)
	}
	if frozen {
		b.frozen = b.held == "" || b.rec.Desired == lifecycle.Paused
		return f
	}
	b.held, run.Held = "", "" // not yet, or not any more
	ctx, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	if err := m.answers(ctx, id); err != nil {
		b.state = lifecycle.Unknown
		b.reason = lifecycle.Reason{Kind: lifecycle.ReasonFailed, Detail: "it runs, but its PID 1 does not answer: " + err.Error()}
	}
	return f
}

// answers asks PID 1 whether it lives and knows who it is.
func (m *Manager) answers(ctx context.Context, id string) error {
	hello, err := m.client(id).Ping(ctx)
	if err == nil && !hello.Ready {
		err = errors.New("it was never configured")
	}
	return err
}

// index puts all sandboxes under their ids and names. Two with one name cannot
// come from cove; the younger one is shown under its id then.
func (m *Manager) index(all []*found) {
	slices.SortFunc(all, func(a, b *found) int { return a.b.rec.Created.Compare(b.b.rec.Created) })
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range all {
		name := f.b.rec.Name
		if _, taken := m.names[name]; taken {
			f.b.state = lifecycle.Unknown
			f.b.reason = lifecycle.Reason{Kind: lifecycle.ReasonFailed, Detail: fmt.Sprintf("another sandbox has its name, %q", name)}
			f.b.rec.Name = f.b.id
		}
		m.boxes[f.b.id], m.names[f.b.rec.Name] = f.b, f.b.id
		if f.run != nil && f.run.Boot == m.opt.BootID {
			m.gpus.adopt(f.b.id, f.run.GPUs) // until it is released
		}
	}
}

// settle brings one sandbox to a state that is true.
func (m *Manager) settle(f *found) {
	b := f.b
	if f.live {
		// Only when what a killed daemon left to do has the sandbox: of one that was
		// just being ended, its end is no news.
		defer m.observe(b, b.proc)()
		b.mu.Lock()
		b.run = f.run
		b.mu.Unlock()
		m.adopt(b)
		if n, err := m.opt.Cgroups.OOMKills(b.id); err == nil {
			b.mu.Lock()
			b.ooms, b.killed = n, int64(min(n, math.MaxInt64))
			b.told = b.killed
			b.mu.Unlock()
		}
	}
	if !f.live && b.state != lifecycle.Unknown {
		m.tidyArchive(b)
	}
	if !f.live && b.rec.Pending != "" {
		if err := m.finishCommit(m.ctx, b); err != nil {
			m.log.Error("could not finish a snapshot", "sandbox", b.id, "error", err)
		}
	}
	switch {
	case f.op == lifecycle.OpDelete:
		m.finish(b, lifecycle.OpDelete, func(o *operation) error { return m.remove(o, f.reason(), f.keeps()) })
	case b.state == lifecycle.Unknown:
		m.announce(b, lifecycle.Unknown)
	case b.rec.Rest == lifecycle.Creating:
		// The daemon ended before it could tell anybody of this sandbox.
		m.finish(b, lifecycle.OpDelete, func(o *operation) error {
			o.enter(lifecycle.Destroying)
			m.stopFound(f)
			return m.discard(b)
		})
	case f.op == lifecycle.OpCopy && f.run != nil && b.rec.Desired == lifecycle.Stopped:
		// It was stopped but for the copy, and is so for the same reason.
		m.finish(b, lifecycle.OpCopy, func(o *operation) error {
			o.enter(b.rec.Rest)
			m.stopFound(f)
			return nil
		})
	case f.live && f.run.Phase == phaseStarted && f.op == lifecycle.OpStop:
		m.finish(b, lifecycle.OpStop, func(o *operation) error {
			o.args, o.hooked = f.args, f.hooked
			return m.stop(o, false, f.reason())
		})
	case f.live && f.run.Phase == phaseStarted && f.op == lifecycle.OpPause:
		m.finish(b, lifecycle.OpPause, m.pause)
	case f.live && f.run.Phase == phaseStarted && f.op == lifecycle.OpResume:
		m.finish(b, lifecycle.OpResume, m.resume)
	case f.live && f.run.Phase == phaseStarted && f.op == lifecycle.OpResize:
		m.finishWith(b, lifecycle.OpResize, f.args, func(o *operation) error { return m.finishResize(o, f.args) })
	case f.live && f.run.Phase == phaseStarted && b.frozen && f.stoodStill():
		m.finish(b, lifecycle.OpResume, m.resume)
	case f.live && f.run.Phase == phaseStarted && b.frozen:
		m.announce(b, lifecycle.Paused)
	case f.live && f.run.Phase == phaseStarted:
		m.announce(b, lifecycle.Started)
	case f.run != nil || b.rec.Desired == lifecycle.Started || b.rec.Desired == lifecycle.Paused:
		reason := m.reasonFound(f)
		m.finish(b, lifecycle.OpStop, func(o *operation) error {
			o.enter(lifecycle.Stopping)
			m.stopFound(f)
			return m.finishStop(o, reason)
		})
	default:
		_ = os.RemoveAll(m.runDir(b.id))
		m.announce(b, b.state)
	}
}

// reasonFound says why a sandbox that should run does not.
func (m *Manager) reasonFound(f *found) lifecycle.Reason {
	switch {
	case f.run == nil && f.op == lifecycle.OpStop:
		return f.reason() // it was all but done
	case f.run == nil || f.run.Boot != m.opt.BootID:
		if f.op == "" || f.run != nil {
			return lifecycle.Reason{Kind: lifecycle.ReasonReboot}
		}
	case f.op == lifecycle.OpStop:
		return f.reason()
	case f.op != "" && f.op != lifecycle.OpResize:
	default:
		return m.deathReason(f.b, runner.Exit{})
	}
	return lifecycle.Reason{Kind: lifecycle.ReasonFailed, Detail: fmt.Sprintf("the daemon ended during %s; start it again", f.op)}
}

// stoodStill tells whether it is frozen only because its state was being kept.
func (f *found) stoodStill() bool {
	return (f.op == lifecycle.OpSnapshot || f.op == lifecycle.OpFork) && f.b.rec.Desired == lifecycle.Started
}

// reason is why a stop or delete was begun that a killed daemon left unfinished.
func (f *found) reason() lifecycle.Reason {
	var args opArgs
	if json.Unmarshal(f.args, &args) != nil || args.Reason.Kind == "" {
		return lifecycle.Reason{Kind: lifecycle.ReasonUser}
	}
	return args.Reason
}

// keeps tells whether the delete that a killed daemon left unfinished can be undone.
func (f *found) keeps() bool {
	var args opArgs
	return json.Unmarshal(f.args, &args) == nil && args.Keep
}

// stopFound gives back what a sandbox of an ended daemon still holds.
func (m *Manager) stopFound(f *found) {
	var base uint32
	if f.run != nil {
		base = f.run.UIDBase
	}
	m.release(f.b, base)
}

// announce shows a sandbox as it was found.
func (m *Manager) announce(b *box, s lifecycle.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = s
	m.publish(b)
}

// finish carries out, in the background, what a killed daemon left to do.
func (m *Manager) finish(b *box, op lifecycle.Operation, body func(*operation) error) {
	m.finishWith(b, op, nil, body)
}

// finishWith is finish of what is recorded with its arguments.
func (m *Manager) finishWith(b *box, op lifecycle.Operation, args any, body func(*operation) error) {
	b.mu.Lock()
	o := m.newOperation(b, op)
	o.args = args
	b.op = o
	b.mu.Unlock()
	m.wg.Go(func() {
		o.run(body)
		if o.err != nil {
			m.log.Warn("could not finish", "sandbox", b.id, "op", op, "error", o.err)
		}
	})
}

// clearOrphans gives back what bears this instance's name and belongs to no
// sandbox: a daemon killed while runc was at work leaves control groups that
// runc itself no longer knows.
func (m *Manager) clearOrphans(ctx context.Context, known map[string]bool) {
	ids := map[string]bool{}
	collect := func(what string, list []string, err error) {
		if err != nil {
			m.log.Warn("could not look for orphans", "what", what, "error", err)
		}
		for _, id := range list {
			if !known[id] && validID(id) {
				ids[id] = true
			}
		}
	}
	groups, err := m.opt.Cgroups.List()
	collect("cgroups", groups, err)
	containers, err := m.opt.Runner.List()
	collect("containers", containers, err)
	runDirs, err := listDir(filepath.Join(m.opt.RunDir, "sandboxes"))
	collect("run directories", runDirs, err)
	leases, err := m.opt.Leases.Mine()
	collect("leases", nil, err)
	for _, id := range leases {
		if !known[id] && validID(id) {
			ids[id] = true
		}
	}
	for id := range ids {
		m.log.Info("clearing away what belongs to no sandbox", "id", id)
		m.release(&box{id: id}, 0)
		_ = os.RemoveAll(m.runDir(id))
	}
	for base, id := range leases {
		b := m.boxes[id]
		if b == nil || (b.proc == nil && !m.willRelease(b)) {
			if err := m.opt.Leases.Release(base); err != nil {
				m.log.Warn("could not give back a lease", "base", base, "error", err)
			}
		}
	}
}

// willRelease tells whether settling the sandbox gives back its lease.
func (m *Manager) willRelease(b *box) bool {
	run, err := readRunning(m.runDir(b.id))
	return err == nil && run != nil && run.UIDBase != 0
}

func listDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// clearNames makes the links in names/ those of the sandboxes there are.
func (m *Manager) clearNames() error {
	links, err := m.links.List()
	if err != nil {
		return fmt.Errorf("read the names: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, id := range links {
		if m.names[name] == id {
			continue
		}
		if err := m.links.Release(name, id); err != nil {
			return fmt.Errorf("free the name %s: %w", name, err)
		}
	}
	for name, id := range m.names {
		if _, ok := links[name]; ok || config.ValidName(name) != nil || name == id {
			continue
		}
		if err := m.links.Take(name, id); err != nil && !errors.Is(err, store.ErrExists) {
			return noSpace(fmt.Errorf("take the name %s: %w", name, err))
		}
	}
	return nil
}
