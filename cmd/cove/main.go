// Command cove manages sandboxes: isolated, persistent environments in which
// code that nobody has read yet runs safely. Called bare it opens the TUI; its
// subcommands are for scripts; `cove daemon run` is the daemon both talk to.
package main

import (
	"os"

	"cove/runtime/lxcfs"
	"cove/runtime/server"
	"cove/runtime/volume"
)

func main() {
	if len(os.Args) == 1 && os.Args[0] == volume.OpenerName {
		os.Exit(volume.Opener())
	}
	if len(os.Args) > 0 && os.Args[0] == server.TakerName {
		os.Exit(server.Taker(os.Args))
	}
	if len(os.Args) > 0 && os.Args[0] == lxcfs.ProberName {
		os.Exit(lxcfs.Prober(os.Args))
	}
	os.Exit(newApp().execute(os.Args[1:]))
}
