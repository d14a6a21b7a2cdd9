package sandbox

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"cove/runtime/frame"
	"cove/runtime/guest"
	"cove/runtime/lifecycle"
)

// setupTimeout bounds one setup step: a compiler may be built in it, and what
// waits for an answer nobody gives must end.
const setupTimeout = time.Hour

// setup runs the profile's setup steps, once in the sandbox's life, each as the
// sandbox's user in its environment, the secrets among it. It begins with the
// one that failed the last time; the steps before it are done.
func (m *Manager) setup(o *operation, secrets map[string]string) error {
	b := o.b
	rec := b.record()
	steps := rec.Spec.Setup
	if rec.SetupDone || len(steps) == 0 {
		return nil
	}
	open := createSetupLog
	if o.op == lifecycle.OpCreate && rec.SetupSteps > 0 {
		open = continueSetupLog // behind what those steps printed that are kept as layers
	}
	log, err := open(filepath.Join(m.stateDir(b.id), setupFile), secrets)
	if err != nil {
		return noSpace(fmt.Errorf("keep what the setup prints: %w", err))
	}
	defer func() {
		if err := log.close(); err != nil {
			m.log.Warn("could not keep all that the setup printed", "sandbox", b.id, "error", err)
		}
	}()
	for i := rec.SetupSteps; i < len(steps); i++ {
		if err := o.point("setup"); err != nil {
			return err
		}
		failure := &SetupError{Name: rec.Name, Step: i + 1, Steps: len(steps), Headline: headline(steps[i])}
		o.doing(fmt.Sprintf("setup %d/%d: %s", failure.Step, failure.Steps, failure.Headline))
		log.note("setup step %d/%d: %s", failure.Step, failure.Steps, failure.Headline)
		exit, err := m.client(b.id).Run(o.ctx, guest.Request{
			Kind: guest.Exec, Argv: []string{"/bin/sh", "-c", steps[i]}, Timeout: setupTimeout, Unlogged: true,
		}, nil, log, log)
		if o.ctx.Err() != nil {
			return context.Cause(o.ctx)
		}
		if failure.Why = whySetupFailed(exit, err, log); failure.Why != "" {
			log.note("%s", failure.Why)
			m.failed(o, failure)
			return failure
		}
		b.mu.Lock()
		b.rec.SetupSteps = i + 1 // written with how the operation ends
		b.mu.Unlock()
	}
	o.doing("")
	b.mu.Lock()
	b.rec.SetupDone = true
	b.mu.Unlock()
	return nil
}

// whySetupFailed is "" for a step that succeeded.
func whySetupFailed(exit frame.ExitStatus, err error, log *setupLog) string {
	log.red.flush()
	why := ""
	switch {
	case err != nil:
		return oneLine(err.Error())
	case exit.Reason == frame.ReasonTimeout:
		why = fmt.Sprintf("it took longer than %v", setupTimeout)
	case exit.Error != "":
		return exit.Error
	case exit.Signal != 0:
		why = fmt.Sprintf("ended by signal %d", exit.Signal)
	case exit.Code != 0:
		why = fmt.Sprintf("exit status %d", exit.Code)
	default:
		return ""
	}
	if last := log.lastLine(); last != "" {
		why += ": " + last
	}
	return why
}

// headline is the first line of a setup step, short enough to stand in an error.
func headline(step string) string {
	const longest = 60
	line, more, _ := strings.Cut(strings.TrimSpace(step), "\n")
	line = oneLine(line)
	if len(line) > longest {
		line, more = strings.ToValidUTF8(line[:longest], ""), "…"
	}
	if more != "" {
		line += " …"
	}
	return line
}

// oneLine keeps of s what can be shown in one line of a terminal: nothing that
// moves the cursor, or turns the direction of writing.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}
