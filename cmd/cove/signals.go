package main

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// interruptible gives a context that ends when the process is told to end, by one of
// the usual signals or another that is named.
func interruptible(ctx context.Context, more ...unix.Signal) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, heeded(append([]unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP}, more...)...)...)
}

// heeded leaves out what the process was started to ignore, as by nohup(1): to catch a
// signal would undo that. As in Go's own runtime this is for SIGHUP and SIGINT alone.
func heeded(all ...unix.Signal) []os.Signal {
	var heed []os.Signal
	for _, s := range all {
		if (s == unix.SIGHUP || s == unix.SIGINT) && signal.Ignored(s) {
			continue
		}
		heed = append(heed, s)
	}
	return heed
}
