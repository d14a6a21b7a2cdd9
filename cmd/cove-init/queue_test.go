package main

import (
	"bytes"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func selfPid() int { return os.Getpid() }

func TestQueueOrder(t *testing.T) {
	a, b := pipePair(t)
	var taken atomic.Int64
	q, err := newQueue(a, func(n int) { taken.Add(int64(n)) })
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	var got []byte
	done := make(chan struct{})
	go func() {
		defer close(done)
		got, _ = io.ReadAll(b)
	}()
	for i := range 2000 {
		p := bytes.Repeat([]byte{byte(i)}, i)
		want.Write(p)
		q.put(p)
	}
	q.end(func() { _ = a.Close() })
	<-done
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%d bytes came, %d were sent, or in another order", len(got), want.Len())
	}
	if taken.Load() != int64(want.Len()) {
		t.Errorf("%d bytes were reported of %d", taken.Load(), want.Len())
	}
}

func TestQueueNeverBlocks(t *testing.T) {
	a, b := pipePair(t)
	q, err := newQueue(a, nil)
	if err != nil {
		t.Fatal(err)
	}
	waits := 0
	for range 100 {
		waits = q.put(make([]byte, 64<<10))
	}
	if waits < 5<<20 {
		t.Errorf("%d bytes wait", waits)
	}
	if q.waitBelow(1<<20, 20*time.Millisecond) {
		t.Error("a reader that does not read got further")
	}
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.CopyN(io.Discard, b, 6<<20) })
	if !q.waitBelow(1<<20, 10*time.Second) {
		t.Error("a reader that reads got no further")
	}
	wg.Wait()
	// When the reader goes, what waits is thrown away, and the end still comes.
	ended := make(chan struct{})
	q.put(make([]byte, 4<<20))
	q.end(func() { close(ended) })
	_ = b.Close()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("no end")
	}
	if n := q.put([]byte("x")); n != 0 {
		t.Errorf("%d bytes wait behind the end", n)
	}
}
