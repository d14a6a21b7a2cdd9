package volume

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"cove/config"
	"cove/runtime/mount"
)

// What one mount adds to a create (the caller's descriptor is taken) and to a
// later start (a child opens the path).
func BenchmarkMount(b *testing.B) {
	dir, h := house(b)
	proj := makeDir(b, dir+"/proj", ann, ann, 0o755)
	root := makeDir(b, dir+"/root", 0, 0, 0o755)
	makeDir(b, root+"/w", 0, 0, 0o755)
	mounts := []config.Mount{{Source: proj, Target: "/w", Mode: "rw"}}
	opened := openDir(b, proj, unix.O_RDONLY)
	attach := func(set *Set, err error) {
		must(b, err)
		must(b, set.Attach(b.Context(), root, testBase, "0"))
		must(b, set.Close())
		b.StopTimer()
		must(b, mount.Unmount(root+"/w"))
		b.StartTimer()
	}
	b.Run("create", func(b *testing.B) {
		for b.Loop() {
			attach(h.Admit(b.Context(), ann, mounts, []*os.File{opened}))
		}
	})
	look, err := lookAt(opened)
	must(b, err)
	b.Run("start", func(b *testing.B) {
		for b.Loop() {
			attach(h.Reopen(b.Context(), ann, mounts, []Identity{look.id}))
		}
	})
}
