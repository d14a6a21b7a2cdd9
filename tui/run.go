package tui

import (
	"context"
	"fmt"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	tea "charm.land/bubbletea/v2"
)

// Run shows the interface until the person leaves it, ctx ends, or the process
// is told to end (SIGINT, SIGTERM, SIGHUP). Ask [Usable] first. It returns the
// cause of ctx when that has ended, else nil unless something is wrong; the
// terminal is as it was before in any case.
func Run(ctx context.Context, o Options) error {
	// Bubble Tea's own ways to end at a signal or with a context do not wait
	// for its reader; and while a session has the terminal it hears nothing,
	// so the session must be told as well.
	running, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	app, err := New(running, o)
	if err != nil {
		return fmt.Errorf("the terminal interface: %w", err)
	}
	opts := []tea.ProgramOption{tea.WithInput(app.keys), tea.WithOutput(app.opts.Out), tea.WithoutSignalHandler(), tea.WithFPS(framesPerSecond), tea.WithFilter(still)}
	if o.Environ != nil {
		opts = append(opts, tea.WithEnvironment(o.Environ))
	}
	p := tea.NewProgram(app, opts...)
	// Bubble Tea looks for a new picture sixty times a second, and at each look
	// Go wakes its other threads to see whether there is more to do, which is
	// most of what an idle list costs: 1.1% of a core, and 0.8% with one thread.
	// There never is: the interface does one thing at a time.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))

	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-running.Done():
			p.Quit()
		case <-over:
		}
	})
	_, err = p.Run()
	close(over)
	wg.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("the terminal interface: %w", err)
	}
	return nil
}
