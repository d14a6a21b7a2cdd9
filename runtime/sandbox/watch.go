package sandbox

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/lifecycle"
	"cove/runtime/runner"
)

// observe gives the sandbox the process that is its PID 1, and what it returns begins
// to wait for its end. A death that no operation brought about becomes the sandbox's
// reason.
func (m *Manager) observe(b *box, proc *runner.Process) (begin func()) {
	// Not the Manager's context: what ends at Close must still be seen to end.
	ctx, cancel := context.WithCancel(context.WithoutCancel(m.ctx))
	w := &watch{cancel: cancel, exited: make(chan struct{})}
	b.mu.Lock()
	b.proc, b.watch = proc, w
	b.mu.Unlock()
	return func() { m.wg.Go(func() { m.await(ctx, b, proc, w) }) }
}

// await waits for the end of PID 1, or until it is no longer observed.
func (m *Manager) await(ctx context.Context, b *box, proc *runner.Process, w *watch) {
	exit, err := proc.Wait(ctx)
	if err != nil {
		return // no longer observed: nothing has ended
	}
	w.exit = exit
	if err := proc.Reap(); err != nil {
		m.log.Warn("what is left of PID 1", "sandbox", b.id, "error", err)
	}
	close(w.exited)
	m.died(b, w)
}

// died handles the end of PID 1. An operation under way meets it by itself.
func (m *Manager) died(b *box, w *watch) {
	b.mu.Lock()
	if b.gone || b.op != nil || b.watch != w || m.ctx.Err() != nil {
		b.mu.Unlock()
		return
	}
	o := m.newOperation(b, lifecycle.OpStop)
	b.op = o
	b.mu.Unlock()
	// This goroutine already belongs to the Manager.
	o.run(func(o *operation) error {
		o.enter(lifecycle.Stopping)
		return m.finishStop(o, m.deathReason(b, w.exit))
	})
}

// deathReason says why PID 1 ended when nobody asked it to. It must be called
// before the control group is removed.
func (m *Manager) deathReason(b *box, exit runner.Exit) lifecycle.Reason {
	if r, ok := b.evictedReason(); ok {
		return r
	}
	switch {
	case exit.Signal == int(unix.SIGKILL) && m.oomKilled(b):
		return lifecycle.Reason{Kind: lifecycle.ReasonOOM}
	case !exit.Known && m.oomKilled(b):
		return lifecycle.Reason{Kind: lifecycle.ReasonOOM}
	case !exit.Known:
		return lifecycle.Reason{Kind: lifecycle.ReasonCrash}
	case exit.Signal != 0:
		return lifecycle.Reason{Kind: lifecycle.ReasonSignal, Signal: signalName(exit.Signal)}
	}
	return lifecycle.Reason{Kind: lifecycle.ReasonExited, Code: exit.Code}
}

// oomKilled tells whether the kernel killed something of the sandbox for
// memory since the last time this was asked.
func (m *Manager) oomKilled(b *box) bool {
	n, err := m.opt.Cgroups.OOMKills(b.id)
	if err != nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.ooms
	b.ooms = n
	return n > before
}

// notice makes known how many processes of a sandbox the kernel has killed for
// memory since its start: the first, and then when they have doubled, for what
// dies over and over again is no news.
func (m *Manager) notice(b *box, killed int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone || b.run == nil || killed == b.killed {
		return
	}
	news := killed > 0 && killed/2 >= b.told
	b.killed = killed
	if news {
		b.told = killed
		m.publish(b)
	}
}

// killedForMemory says it in a few words.
func killedForMemory(n int64, limit config.Size) string {
	what := "1 program was"
	if n > 1 {
		what = fmt.Sprintf("%d programs were", n)
	}
	if limit == 0 {
		return what + " killed: the machine has no memory left"
	}
	return fmt.Sprintf("%s killed at the memory limit of %v", what, limit)
}

func signalName(n int) string {
	if s := unix.SignalName(unix.Signal(n)); len(s) > len("SIG") {
		return s[len("SIG"):]
	}
	return fmt.Sprint(n)
}
