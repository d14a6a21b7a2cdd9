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

// heeded leaves out SIGHUP where the process was started to ignore it, as by nohup(1): to
// catch it would undo that. SIGINT, which a shell has its background jobs ignore, is
// heeded: who sends it to one of them means it.
func heeded(all ...unix.Signal) []os.Signal {
	var heed []os.Signal
	for _, s := range all {
		if s != unix.SIGHUP || !signal.Ignored(s) {
			heed = append(heed, s)
		}
	}
	return heed
}
