package network

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

// Who keeps questions open keeps only those of its own waiting.
func TestForwarderIsShared(t *testing.T) {
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{busy: map[netip.Addr]int{}, tcp: l, log: slog.New(slog.DiscardHandler)}
	f.ctx, f.cancel = t.Context(), func() {}
	f.wg.Go(f.serveTCP)
	dial := func(from string) net.Conn {
		t.Helper()
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0)), Timeout: 5 * time.Second}
		c, err := d.DialContext(t.Context(), "tcp4", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	// closed tells whether the forwarder hung up: it has nothing to say yet.
	closed := func(c net.Conn, wait time.Duration) bool {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		_, err := c.Read(make([]byte, 1))
		return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
	}
	var held []net.Conn
	for range forwardShare {
		held = append(held, dial("127.0.0.2"))
	}
	if c := dial("127.0.0.2"); !closed(c, 5*time.Second) {
		t.Error("one sandbox has more than its share")
	} else {
		_ = c.Close()
	}
	other := dial("127.0.0.3")
	if closed(other, 100*time.Millisecond) {
		t.Error("another sandbox gets no answer")
	}
	for _, c := range append(held, other) {
		_ = c.Close()
	}
	// What ended counts no more.
	deadline := time.Now().Add(5 * time.Second)
	for {
		f.mu.Lock()
		left, total := len(f.busy), f.total
		f.mu.Unlock()
		if left == 0 && total == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d askers and %d questions are still counted", left, total)
		}
		<-time.After(time.Millisecond)
	}
	f.close()
}
