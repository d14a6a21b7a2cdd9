package delta

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestStream(t *testing.T) {
	entries := []Entry{
		{Path: "known/old", Kind: Known, Base: &Base{Kind: File, Mode: 0o644, Size: 3, Mtime: 1, Ctime: 2, Ino: 3}, Since: 7},
		{Path: ".", Kind: Dir, Mode: 0o755},
		{Path: "we\"ird\nname \xff\xfe", Kind: File, Mode: 0o4755, Size: 5, Applied: strings.Repeat("a", 64)},
		{Path: "d", Kind: Dir, Mode: 0o700, Opaque: true, Base: &Base{Kind: Link, Link: []byte("\xff/x")}, Since: 9},
		{Path: "gone", Kind: Gone},
		{Path: "l", Kind: Link, Mode: 0o777, Link: "../\xff"},
		{Path: "huge", Kind: File, Mode: 0o600, Size: MaxContent + 1, Long: true},
		{Path: "pipe", Kind: Special, Mode: 0o600},
		{Path: strings.Repeat(strings.Repeat("n", 255)+"/", 15) + "end", Kind: Gone},
		{Path: "torn", Kind: Torn},
	}
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, e := range entries {
		if err := w.Put(e); err != nil {
			t.Fatal(err)
		}
		if e.Kind == File && !e.Long {
			if _, err := w.Write([]byte("h\x00llo")); err != nil {
				t.Fatal(err)
			}
		}
	}
	whole := b.Len()
	if err := w.Close(nil); err != nil {
		t.Fatal(err)
	}
	r := NewReader(bytes.NewReader(b.Bytes()))
	for _, want := range entries {
		got, err := r.Next()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, %v, not %+v", got, err, want)
		}
		if content, err := io.ReadAll(r); err != nil || len(content) > 0 && string(content) != "h\x00llo" {
			t.Fatalf("content %q, %v", content, err)
		}
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("the end is %v", err)
	}

	// One that breaks off is not taken for a whole one, wherever it does.
	for n := 0; n < whole; n += 256 {
		r, err := NewReader(bytes.NewReader(b.Bytes()[:n])), error(nil)
		for err == nil {
			_, err = r.Next()
		}
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%d bytes of %d are taken for all", n, b.Len())
		}
	}

	b.Reset()
	w = NewWriter(&b)
	if err := w.Close(errors.New("the disk is gone")); err != nil {
		t.Fatal(err)
	}
	if _, err := NewReader(&b).Next(); err == nil || err.Error() != "the disk is gone" {
		t.Errorf("a failure is told as %v", err)
	}
}

func TestValidPath(t *testing.T) {
	for p, want := range map[string]bool{
		".": true, "a": true, "a/b": true, "..a": true, "a/..b": true, "a b\n": true,
		"": false, "/": false, "/a": false, "..": false, "../a": false, "a/../b": false, "a/..": false, "./a": false, "a/": false, "a//b": false, "a\x00": false,
		strings.Repeat("n", 256): false, strings.Repeat("n/", 2048) + "n": false,
	} {
		if ValidPath(p) != want {
			t.Errorf("%.40q is %v", p, !want)
		}
	}
}

func FuzzReader(f *testing.F) {
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, e := range []Entry{
		{Path: "a", Kind: File, Mode: 0o644, Size: 0, Base: &Base{Kind: File}}, {Path: "l", Kind: Link, Link: "x"}, {Path: "d", Kind: Dir, Opaque: true},
	} {
		if err := w.Put(e); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.Close(nil); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewReader(bytes.NewReader(data))
		for range 1000 {
			e, err := r.Next()
			if err != nil {
				return
			}
			if !ValidPath(e.Path) || e.Size < 0 || e.Mode > 0o7777 || len(e.Link) > MaxPath {
				t.Fatalf("it gives %+v", e)
			}
		}
	})
}
