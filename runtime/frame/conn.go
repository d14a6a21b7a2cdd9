package frame

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// ErrNoExit is returned when a stream ends without an [Exit] frame: the
// connection, the daemon or the sandbox is gone, or a session dropped a client
// that did not read. The program may still run.
var ErrNoExit = errors.New("the stream ended without an exit status")

// Conn is the client's end of an exec or attach stream: it sends stdin, resizes
// and signals, and receives output and the exit status. One goroutine receives
// ([Conn.Next] or [Conn.Pump]); any number may send.
type Conn struct {
	r *Reader

	mu  sync.Mutex // serialises frames on w
	w   io.Writer
	out []byte

	credit *credit
}

// NewConn returns a Conn on a stream that stands where Started comes next.
func NewConn(rw io.ReadWriter) *Conn { return NewConnOn(NewReader(rw), rw) }

// NewConnOn is [NewConn] for a stream of which r has read a part already.
func NewConnOn(r *Reader, w io.Writer) *Conn {
	return &Conn{r: r, w: w, credit: newCredit(StdinWindow)}
}

// Next returns the next frame for the client; the payload is valid until the
// next call. Ack frames are taken as credit for stdin and not returned. After
// an error or an Exit frame, senders that wait for credit get [io.ErrClosedPipe].
func (c *Conn) Next() (Type, []byte, error) {
	for {
		t, p, err := c.r.Next()
		switch {
		case err != nil:
			c.credit.close()
			return 0, nil, err
		case t == Ack:
			if len(p) != 4 {
				c.credit.close()
				return 0, nil, fmt.Errorf("ack frame of %d bytes", len(p))
			}
			c.credit.give(binary.BigEndian.Uint32(p))
			continue
		case t == Exit:
			c.credit.close()
		}
		return t, p, nil
	}
}

// Send sends one frame.
func (c *Conn) Send(t Type, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = Append(c.out[:0], t, payload)
	_, err := c.w.Write(c.out)
	return err
}

// WriteStdin sends p as standard input. It blocks while the program takes
// none, until the stream ends ([io.ErrClosedPipe]).
func (c *Conn) WriteStdin(p []byte) error {
	for len(p) > 0 {
		n := c.credit.take(min(len(p), Chunk))
		if n == 0 {
			return io.ErrClosedPipe
		}
		if err := c.Send(Stdin, p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// CloseStdin tells the program that its standard input is at its end.
func (c *Conn) CloseStdin() error { return c.Send(Stdin, nil) }

// Resize tells the size of the client's terminal.
func (c *Conn) Resize(cols, rows int) error {
	return c.Send(Resize, AppendSize(nil, cols, rows))
}

// Signal sends a signal, by number, to the program's process group.
func (c *Conn) Signal(number int) error { return c.Send(Signal, []byte{byte(number)}) }

// Streams is what [Conn.Pump] connects a program to. Each may be nil: no stdin
// is sent then, and output is thrown away.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Started is called once, when the program or session runs.
	Started func(StartedInfo)
}

// Pump sends s.Stdin and receives until the Exit frame, whose content it
// returns. It returns [ErrNoExit] when the stream ends before, and the error of
// a writer that fails. Reading Stdin happens in a goroutine that ends at end of
// file, at a read error or at the first read after the stream's end: the owner
// of a blocking Stdin makes its Read return when Pump has returned. Closing
// the connection ends Pump.
func (c *Conn) Pump(s Streams) (ExitStatus, error) {
	defer c.credit.close()
	if s.Stdin != nil {
		go c.copyStdin(s.Stdin)
	}
	for {
		t, p, err := c.Next()
		if err != nil {
			return ExitStatus{}, fmt.Errorf("%w: %w", ErrNoExit, err)
		}
		switch t {
		case Started:
			var info StartedInfo
			if err := json.Unmarshal(p, &info); err != nil {
				return ExitStatus{}, fmt.Errorf("read the start: %w", err)
			}
			if s.Started != nil {
				s.Started(info)
			}
		case Stdout:
			err = write(s.Stdout, p)
		case Stderr:
			err = write(s.Stderr, p)
		case Exit:
			var e ExitStatus
			if err := json.Unmarshal(p, &e); err != nil {
				return ExitStatus{}, fmt.Errorf("read the exit status: %w", err)
			}
			return e, nil
		default:
			return ExitStatus{}, fmt.Errorf("unexpected frame of type %d", t)
		}
		if err != nil {
			return ExitStatus{}, fmt.Errorf("write output: %w", err)
		}
	}
}

func write(w io.Writer, p []byte) error {
	if w == nil {
		return nil
	}
	_, err := w.Write(p)
	return err
}

// copyStdin sends what r gives, straight from the buffer it is read into.
func (c *Conn) copyStdin(r io.Reader) {
	buf := make([]byte, HeaderLen+Chunk)
	for {
		n, err := r.Read(buf[HeaderLen:])
		for sent := 0; sent < n; {
			// Taken in parts only when credit runs out: then the tail is sent
			// by the copying way.
			k := c.credit.take(n - sent)
			if k == 0 {
				return
			}
			if c.sendPart(buf, sent, k) != nil {
				return
			}
			sent += k
		}
		if err != nil {
			// A read error ends the input too: the program should not wait
			// for more.
			_ = c.CloseStdin()
			return
		}
	}
}

// sendPart sends k bytes of the payload area of buf from offset off on.
func (c *Conn) sendPart(buf []byte, off, k int) error {
	if off > 0 {
		return c.Send(Stdin, buf[HeaderLen+off:HeaderLen+off+k])
	}
	PutHeader(buf, Stdin, k)
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.w.Write(buf[:HeaderLen+k])
	return err
}

// AppendSize appends the payload of a [Resize] frame to b. Sizes are cut to 16 bits.
func AppendSize(b []byte, cols, rows int) []byte {
	b = binary.BigEndian.AppendUint16(b, clampSize(cols))
	return binary.BigEndian.AppendUint16(b, clampSize(rows))
}

// ParseSize reads the payload of a [Resize] frame.
func ParseSize(p []byte) (cols, rows int, ok bool) {
	if len(p) != 4 {
		return 0, 0, false
	}
	return int(binary.BigEndian.Uint16(p)), int(binary.BigEndian.Uint16(p[2:])), true
}

func clampSize(n int) uint16 { return uint16(min(max(n, 0), 1<<16-1)) }
