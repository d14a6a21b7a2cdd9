package frame

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReader(t *testing.T) {
	var stream []byte
	sizes := []int{0, 1, 5, minBuffer - HeaderLen, minBuffer, Chunk, Chunk + 1, maxBuffer, MaxPayload, 0, 3}
	for i, n := range sizes {
		stream = Append(stream, Type(i), bytes.Repeat([]byte{byte(i)}, n))
	}
	for name, src := range map[string]io.Reader{
		"whole":     bytes.NewReader(stream),
		"bytewise":  iotest.OneByteReader(bytes.NewReader(stream)),
		"halves":    iotest.HalfReader(bytes.NewReader(stream)),
		"data+EOF":  iotest.DataErrReader(bytes.NewReader(stream)),
		"in pieces": iotest.HalfReader(iotest.DataErrReader(bytes.NewReader(stream))),
	} {
		r := NewReader(src)
		var raw []byte
		for i, n := range sizes {
			typ, p, err := r.Next()
			if err != nil || typ != Type(i) || !bytes.Equal(p, bytes.Repeat([]byte{byte(i)}, n)) {
				t.Fatalf("%s: frame %d: type %d, %d bytes, %v", name, i, typ, len(p), err)
			}
			raw = append(raw, r.Raw()...)
		}
		if _, _, err := r.Next(); !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: at the end: %v", name, err)
		}
		if !bytes.Equal(raw, stream) {
			t.Errorf("%s: the raw frames are not the stream", name)
		}
	}
}

func TestReaderErrors(t *testing.T) {
	frame := Append(nil, Stdout, []byte("payload"))
	for n := 1; n < len(frame); n++ {
		if _, _, err := NewReader(bytes.NewReader(frame[:n])).Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	if _, _, err := NewReader(strings.NewReader("\x0b\x00\x10\x00\x01")).Next(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if _, _, err := NewReader(noProgress{}).Next(); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("no progress: %v", err)
	}
}

type noProgress struct{}

func (noProgress) Read([]byte) (int, error) { return 0, nil }

// FuzzReader: however a stream is cut, the same frames come out, and put
// together again they are what went in.
func FuzzReader(f *testing.F) {
	f.Add(Append(Append(nil, Stdin, nil), Exit, []byte(`{"code":1}`)), uint8(3))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff}, uint8(1))
	f.Fuzz(func(t *testing.T, stream []byte, size uint8) {
		read := func(src io.Reader) (out []byte, err error) {
			r := NewReader(src)
			for {
				typ, p, err := r.Next()
				if err != nil {
					return out, err
				}
				out = Append(out, typ, p)
			}
		}
		whole, err := read(bytes.NewReader(stream))
		if !bytes.HasPrefix(stream, whole) || errors.Is(err, io.EOF) && len(whole) != len(stream) {
			t.Fatalf("%q gave %q, %v", stream, whole, err)
		}
		pieces, err2 := read(&cutReader{stream, int(size%9) + 1})
		if !bytes.Equal(whole, pieces) || err.Error() != err2.Error() {
			t.Fatalf("whole %q, %v; in pieces %q, %v", whole, err, pieces, err2)
		}
	})
}

type cutReader struct {
	b []byte
	n int
}

func (c *cutReader) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.n)], c.b)
	c.b = c.b[n:]
	return n, nil
}
