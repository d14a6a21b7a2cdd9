package archive

import (
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

// BenchmarkWrite reads /usr/lib/python3 and more of this machine, several hundred
// megabytes, and has tar and zstd do the same: the ratio is what counts.
func BenchmarkWrite(b *testing.B) {
	tree := os.Getenv("COVE_BENCH_TREE")
	if tree == "" {
		tree = "/usr/share"
	}
	for b.Loop() {
		begin := time.Now()
		tar := exec.CommandContext(b.Context(), "tar", "--xattrs", "-I", "zstd -1 -T2", "-C", tree, "-cf", "-", ".")
		tar.Stdout = io.Discard
		if err := tar.Run(); err != nil {
			b.Fatal(err)
		}
		peer := time.Since(begin)
		d, err := os.Open(tree)
		if err != nil {
			b.Fatal(err)
		}
		begin = time.Now()
		m, err := Write(b.Context(), io.Discard, d, WriteOptions{})
		if err != nil {
			b.Fatal(err)
		}
		ours := time.Since(begin)
		_ = d.Close()
		b.ReportMetric(ours.Seconds(), "s/archive")
		b.ReportMetric(float64(ours)/float64(peer), "x-tar-zstd")
		b.ReportMetric(float64(m.Bytes)/(1<<20), "MiB")
	}
}
