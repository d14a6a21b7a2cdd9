package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"cove/runtime/frame"
	"cove/runtime/guest"
)

// maxRSS is the budget of one sandbox for PID 1, in KiB.
const maxRSS = 4 << 10

func (s *sandbox) rss(tb testing.TB) (total, anon int) {
	tb.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		tb.Fatal(err)
	}
	for l := range strings.Lines(string(b)) {
		_, _ = fmt.Sscanf(l, "VmRSS: %d kB", &total)
		_, _ = fmt.Sscanf(l, "RssAnon: %d kB", &anon)
	}
	return total, anon
}

func TestMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector needs memory of its own")
	}
	s := newSandbox(t)
	logMemory := func(when string) int {
		t.Helper()
		total, anon := s.rss(t)
		t.Logf("%s: %d KiB, of which %d are not shared with other sandboxes", when, total, anon)
		return anon
	}
	check := func(when string) {
		t.Helper()
		if anon := logMemory(when); anon > maxRSS {
			t.Errorf("%s: %d KiB are over the budget of %d", when, anon, maxRSS)
		}
	}
	check("started")
	s.run(t, guest.Request{}, "true")
	check("after a command")
	a := s.attach(t, guest.Request{Cols: 80, Rows: 24, Argv: []string{"bash", "--norc"}})
	a.waitFor("$ ")
	check("with a session")
	for range 200 {
		s.run(t, guest.Request{}, "echo; seq 1000")
	}
	logMemory("after 200 commands")
	if _, err := s.Run(testContext(t), guest.Request{Argv: []string{"cat"}}, &pattern{n: 32 << 20}, io.Discard, nil); err != nil {
		t.Fatal(err)
	}
	logMemory("after 32 MiB")
	// What was used meanwhile is given back when it is quiet.
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, anon := s.rss(t); anon < maxRSS {
			break
		}
		if time.Now().After(deadline) {
			logMemory("at last")
			t.Fatal("no memory is given back")
		}
	}
	check("at rest")
}

func BenchmarkExecTrue(b *testing.B) {
	s := newSandbox(b)
	ctx := testContext(b)
	for b.Loop() {
		if st, err := s.Run(ctx, guest.Request{Argv: []string{"/bin/true"}}, nil, nil, nil); err != nil || st.Code != 0 {
			b.Fatal(st, err)
		}
	}
}

func BenchmarkExecTimed(b *testing.B) {
	s := newSandbox(b)
	ctx := testContext(b)
	for b.Loop() {
		if st, err := s.Run(ctx, guest.Request{Argv: []string{"/bin/true"}, Timeout: time.Minute}, nil, nil, nil); err != nil || st.Code != 0 {
			b.Fatal(st, err)
		}
	}
}

func BenchmarkPing(b *testing.B) {
	s := newSandbox(b)
	ctx := testContext(b)
	for b.Loop() {
		if _, err := s.Ping(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// zeros is a reader of n bytes that cost nothing to make.
type zeros struct{ n int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.n == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.n)
	z.n -= n
	return int(n), nil
}

func BenchmarkEcho(b *testing.B) {
	s := newSandbox(b)
	ctx := testContext(b)
	const size = 64 << 20
	b.SetBytes(size)
	for b.Loop() {
		if _, err := s.Run(ctx, guest.Request{Argv: []string{"cat"}}, &zeros{size}, io.Discard, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOutput(b *testing.B) {
	s := newSandbox(b)
	ctx := testContext(b)
	const size = 64 << 20
	b.SetBytes(size)
	for b.Loop() {
		if _, err := s.Run(ctx, guest.Request{Argv: []string{"head", "-c", fmt.Sprint(size), "/dev/zero"}}, nil, io.Discard, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTerminalOutput(b *testing.B) {
	s := newSandbox(b)
	const size = 8 << 20
	b.SetBytes(size)
	for b.Loop() {
		st, err := s.Open(testContext(b), guest.Request{Kind: guest.Attach, Argv: []string{"sh", "-c", fmt.Sprintf("yes 0123456789012345678901234567890123456789 | head -c %d", size)}})
		if err != nil {
			b.Fatal(err)
		}
		client, server := pipePair(b)
		go func() { _, _ = guest.Relay(testContext(b), server, st, nil) }()
		if _, err := frame.NewConn(client).Pump(frame.Streams{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkKey is a key press in an attached program and its echo, through the
// relay; in the sandbox there is only the terminal's own echo.
func BenchmarkKey(b *testing.B) {
	s := newSandbox(b)
	a := s.attach(b, guest.Request{Cols: 80, Rows: 24, Argv: []string{"sh", "-c", "stty -icanon -opost min 1; echo ready; exec cat >/dev/null"}})
	a.waitFor("ready\n")
	for b.Loop() {
		a.typeKeys("k")
		a.waitFor("k")
	}
}
