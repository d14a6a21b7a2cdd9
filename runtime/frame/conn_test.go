package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// other is the far end of a Conn's stream, driven by a test.
type other struct {
	t *testing.T
	c net.Conn
	r *Reader
}

func newPair(t *testing.T) (*Conn, *other) {
	t.Helper()
	a, b := net.Pipe()
	t.Cleanup(func() {
		_ = a.Close()
		_ = b.Close()
	})
	return NewConn(a), &other{t: t, c: b, r: NewReader(b)}
}

func (o *other) send(typ Type, p []byte) {
	o.t.Helper()
	if _, err := o.c.Write(Append(nil, typ, p)); err != nil {
		o.t.Error(err)
	}
}

func (o *other) want(typ Type, p []byte) {
	o.t.Helper()
	got, q, err := o.r.Next()
	if err != nil || got != typ || !bytes.Equal(q, p) {
		o.t.Errorf("got type %d, %d bytes, %v; want type %d, %d bytes", got, len(q), err, typ, len(p))
	}
}

func TestPump(t *testing.T) {
	c, o := newPair(t)
	go func() {
		o.want(Stdin, []byte("input"))
		o.want(Stdin, nil)
		o.send(Started, []byte(`{"pid":7,"session":"main"}`))
		o.send(Stdout, []byte("out"))
		o.send(Stderr, []byte("err"))
		o.send(Exit, []byte(`{"code":3}`))
	}()
	var out, errs bytes.Buffer
	var started StartedInfo
	status, err := c.Pump(Streams{Stdin: bytes.NewReader([]byte("input")), Stdout: &out, Stderr: &errs, Started: func(s StartedInfo) { started = s }})
	if err != nil || status.Code != 3 || out.String() != "out" || errs.String() != "err" || started.Pid != 7 || started.Session != "main" {
		t.Errorf("got %+v, %v, %q, %q, %+v", status, err, out.String(), errs.String(), started)
	}
}

func TestPumpEnds(t *testing.T) {
	failed := errors.New("full")
	for name, tt := range map[string]struct {
		send func(*other)
		out  io.Writer
		want error
	}{
		"no exit":       {func(o *other) { _ = o.c.Close() }, nil, ErrNoExit},
		"in a frame":    {func(o *other) { _, _ = o.c.Write([]byte{byte(Stdout), 0}); _ = o.c.Close() }, nil, ErrNoExit},
		"writer fails":  {func(o *other) { o.send(Stdout, []byte("x")) }, failing{failed}, failed},
		"wrong type":    {func(o *other) { o.send(Request, nil) }, nil, nil},
		"bad ack":       {func(o *other) { o.send(Ack, []byte("x")) }, nil, nil},
		"bad exit":      {func(o *other) { o.send(Exit, []byte("x")) }, nil, nil},
		"bad start":     {func(o *other) { o.send(Started, []byte("x")) }, nil, nil},
		"over the size": {func(o *other) { _, _ = o.c.Write([]byte{byte(Stdout), 0xff, 0, 0, 0}) }, nil, ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			c, o := newPair(t)
			go tt.send(o)
			if _, err := c.Pump(Streams{Stdout: tt.out}); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			// Whoever waits to send is let go.
			if err := c.WriteStdin(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("stdin: %v", err)
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestWindow: not a byte more is sent than there is credit for, and control
// frames pass while stdin waits.
func TestWindow(t *testing.T) {
	c, o := newPair(t)
	go func() {
		for {
			if _, _, err := c.Next(); err != nil {
				return
			}
		}
	}()
	const more = 1000
	sent := make(chan error, 1)
	go func() { sent <- c.WriteStdin(make([]byte, StdinWindow+more+1)) }()
	for got := 0; got < StdinWindow; {
		typ, p, err := o.r.Next()
		if err != nil || typ != Stdin {
			t.Fatal(typ, err)
		}
		if got += len(p); got > StdinWindow {
			t.Fatalf("%d bytes without credit", got)
		}
	}
	go func() { _ = c.Resize(80, 24) }()
	o.want(Resize, []byte{0, 80, 0, 24})
	go func() { _ = c.Signal(15) }()
	o.want(Signal, []byte{15})
	o.send(Ack, binary.BigEndian.AppendUint32(nil, more))
	o.want(Stdin, make([]byte, more))
	select {
	case err := <-sent:
		t.Errorf("sent without credit: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	// Credit beyond all bounds does not turn negative.
	for range 3 {
		o.send(Ack, []byte{0xff, 0xff, 0xff, 0xff})
	}
	o.want(Stdin, make([]byte, 1))
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestSize(t *testing.T) {
	for _, tt := range []struct{ cols, rows, wantCols, wantRows int }{{80, 24, 80, 24}, {-1, 1 << 20, 0, 65535}} {
		cols, rows, ok := ParseSize(AppendSize(nil, tt.cols, tt.rows))
		if !ok || cols != tt.wantCols || rows != tt.wantRows {
			t.Errorf("%+v: got %d, %d, %v", tt, cols, rows, ok)
		}
	}
	if _, _, ok := ParseSize([]byte("123")); ok {
		t.Error("three bytes are no size")
	}
}
