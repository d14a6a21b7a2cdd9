package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// holdArg makes this program hold the network namespace it was started in, for
// all sandboxes of an instance and through the lives of its daemons. It was
// given namespaces of its own for its network and its mounts, and ends when it
// is killed, or when whoever started it ends before it has said on standard
// input that it knows where to find this process again.
const holdArg = "hold-network"

// hold lets go of everything but the network: a mount namespace that it kept
// would keep every disk and root that was mounted when it began.
func hold() error {
	const root = "/run"
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"keep mounts to itself", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"make an empty root", func() error { return unix.Mount("empty", root, "tmpfs", unix.MS_RDONLY, "size=4k,mode=0") }},
		{"enter it", func() error { return os.Chdir(root) }},
		// The old root comes to lie over the new one (pivot_root(2), "pivot_root(".", ".")").
		{"change to it", func() error { return unix.PivotRoot(".", ".") }},
		{"let go of the old one", func() error { return unix.Unmount(".", unix.MNT_DETACH) }},
		{"say so", func() error { _, err := fmt.Println("held"); return err }},
		{"be kept", func() error { _, err := io.ReadFull(os.Stdin, make([]byte, 1)); return err }},
		{"close everything", func() error { return unix.CloseRange(0, 2, 0) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("hold the network: %s: %w", step.what, err)
		}
	}
	for {
		_ = unix.Pause()
	}
}
