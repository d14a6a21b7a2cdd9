package main

import (
	"context"
	"time"

	"cove/runtime/api"
)

// progressAfter is how long something may take without a word. What is done
// sooner asks the daemon for nothing.
const progressAfter = 400 * time.Millisecond

// showProgress tells a person on stderr what the operation on the sandbox of
// that id or name is at, a line each, until stop is called.
func (a *app) showProgress(ctx context.Context, client *api.Client, ref string) (stop func()) {
	if !isTerminal(a.stderr) {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-time.After(progressAfter):
			a.followProgress(ctx, client, ref)
		case <-ctx.Done():
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

func (a *app) followProgress(ctx context.Context, client *api.Client, ref string) {
	// It is only told: whoever waits gets the errors.
	events, err := client.Events(ctx, nil, true)
	if err != nil {
		return
	}
	defer closeQuietly(events)
	last := ""
	for {
		ev, err := events.Next()
		if err != nil {
			return
		}
		for _, s := range changed(ev) {
			if (s.ID == ref || s.Name == ref) && s.Progress != last {
				last = s.Progress
				if last != "" {
					a.warn("%s", last)
				}
			}
		}
	}
}

// changed are the sandboxes that an event tells of.
func changed(ev api.Event) []api.Sandbox {
	if ev.Sandbox != nil {
		return []api.Sandbox{*ev.Sandbox}
	}
	return ev.Sandboxes
}
