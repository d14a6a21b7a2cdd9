package rootfs

import (
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

func BenchmarkMount(b *testing.B) {
	w := newWorld(b, "/")
	w.up("a", baseA)
	w.down("a")
	var unmount time.Duration
	b.ResetTimer()
	for b.Loop() {
		if err := w.host.Mount(b.Context(), w.dir("a"), w.target("a"), baseA, HostBase()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		start := time.Now()
		if err := w.host.Unmount(w.dir("a"), w.target("a")); err != nil {
			b.Fatal(err)
		}
		unmount += time.Since(start)
		if err := w.host.awaitGone(b.Context(), w.target("a")); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(unmount.Nanoseconds())/float64(b.N), "unmount-ns/op")
}

func BenchmarkCreate(b *testing.B) {
	needRoot(b)
	dir := b.TempDir()
	for i := 0; b.Loop(); i++ {
		if err := createAt(filepath.Join(dir, strconv.Itoa(i)), "box", ""); err != nil {
			b.Fatal(err)
		}
	}
}
