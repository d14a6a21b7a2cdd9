package sandbox

import (
	"context"
	"fmt"
	"sync"
	"time"

	"cove/runtime/frame"
	"cove/runtime/guest"
)

// stageHooked is the stage of a stop whose hook has run: it does not run again.
const stageHooked = "hooked"

const (
	// hookGrace is what PID 1 may take beyond the hook's own time.
	hookGrace = time.Second
	// maxHookLog is how much of the end of a hook's output is kept.
	maxHookLog = 64 << 10
)

// preStop runs the profile's command before a stop, as the sandbox's user in its
// environment. How it ends is no reason not to stop. What it prints is kept in
// the daemon's memory, for it may hold secrets, and shown by logs.
func (m *Manager) preStop(o *operation) {
	b := o.b
	auto := b.record().Spec.Automation
	if len(auto.PreStop) == 0 || o.hooked {
		return
	}
	limit := auto.HookTimeout()
	o.doing("pre_stop: " + headline(auto.PreStop[0]))
	defer o.doing("")
	ctx, cancel := context.WithTimeout(o.ctx, limit+hookGrace)
	defer cancel()
	var out hookLog
	exit, err := m.client(b.id).Run(ctx, guest.Request{Argv: auto.PreStop, Timeout: limit, Unlogged: true}, nil, &out, &out)
	o.hooked = true
	o.stage(stageHooked)
	why := hookFailed(exit, err, limit)
	if why != "" {
		m.log.Warn("the command before a stop failed; it stops all the same", "sandbox", b.id, "error", why)
		out.note("cove: " + why)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hook = KeptLog{Source: "pre_stop", Text: out.text(), Written: m.now().UTC()}
}

// hookFailed is "" for a hook that succeeded.
func hookFailed(exit frame.ExitStatus, err error, limit time.Duration) string {
	switch {
	case err != nil:
		return oneLine(err.Error())
	case exit.Reason == frame.ReasonTimeout:
		return fmt.Sprintf("killed: it took longer than %v", limit)
	case exit.Error != "":
		return exit.Error
	case exit.Signal != 0:
		return fmt.Sprintf("ended by signal %d", exit.Signal)
	case exit.Code != 0:
		return fmt.Sprintf("exit status %d", exit.Code)
	}
	return ""
}

// hookLog keeps the end of what is written to it, by two at a time.
type hookLog struct {
	mu   sync.Mutex
	kept []byte
}

// Write takes what a hook prints.
func (l *hookLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = last(append(l.kept, p...), maxHookLog)
	return len(p), nil
}

// note adds a line at the beginning of a line.
func (l *hookLog) note(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.kept); n > 0 && l.kept[n-1] != '\n' {
		l.kept = append(l.kept, '\n')
	}
	l.kept = append(l.kept, line+"\n"...)
}

func (l *hookLog) text() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]byte(nil), l.kept[max(0, len(l.kept)-maxHookLog):]...)
}
