package store

import (
	"fmt"
	"sync/atomic"
	"testing"
)

// BenchmarkNamesAtOnce is a hundred names taken at once on the disk's file
// system, as many creates do.
func BenchmarkNamesAtOnce(b *testing.B) {
	names, err := OpenNames(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer names.Close()
	var n atomic.Int64
	b.SetParallelism(50)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if err := names.Take(fmt.Sprintf("name-%d", n.Add(1)), "0123456789ab"); err != nil {
				b.Error(err)
			}
		}
	})
}
