package cow

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cove/runtime/delta"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, dir string) *os.File {
	t.Helper()
	f, err := os.Open(dir)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// fill makes files; names that end in a slash are directories, "a -> b" links.
func fill(t testing.TB, dir string, names ...string) {
	t.Helper()
	for _, n := range names {
		if link, to, ok := strings.Cut(n, " -> "); ok {
			must(t, os.Symlink(to, filepath.Join(dir, link)))
		} else if strings.HasSuffix(n, "/") {
			must(t, os.MkdirAll(filepath.Join(dir, n), 0o755))
		} else {
			must(t, os.WriteFile(filepath.Join(dir, n), []byte(n), 0o644))
		}
	}
}

func TestManifest(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, "a", "b/", "b/c", "b/we\nird", "b/d/", "l -> ../out", "z/")
	must(t, unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	since := time.Now().Add(time.Hour)
	var b bytes.Buffer
	n, err := Take(t.Context(), open(t, dir), &b, since, nil)
	if err != nil || n != 8 {
		t.Fatalf("%d files, %v", n, err)
	}
	m, err := Read(bytes.NewReader(b.Bytes()))
	must(t, err)
	if !m.Since.Equal(time.Unix(0, since.UnixNano())) {
		t.Errorf("it was taken at %v", m.Since)
	}
	var got []string
	for {
		p, base, err := m.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(dir, p), &st))
		if want := delta.BaseOf(&st); base.Ino != want.Ino || base.Mtime != want.Mtime || base.Ctime != want.Ctime || base.Size != want.Size || base.Mode != want.Mode || base.Racy {
			t.Errorf("%s is %+v, not %+v", p, base, want)
		}
		got = append(got, fmt.Sprintf("%s %s %s", p, base.Kind, base.Link))
	}
	if want := "[a file  b dir  b/c file  b/d dir  b/we\nird file  l link ../out pipe special  z dir ]"; fmt.Sprint(got) != want {
		t.Errorf("it lists %q", got)
	}
	// No part of it is taken for the whole.
	for n := range b.Len() {
		m, err := Read(bytes.NewReader(b.Bytes()[:n]))
		for err == nil {
			_, _, err = m.Next()
		}
		if errors.Is(err, io.EOF) {
			t.Fatalf("%d bytes of %d are taken for all", n, b.Len())
		}
	}
	// What changed after its beginning is of an unknown time.
	b.Reset()
	_, err = Take(t.Context(), open(t, dir), &b, time.Now().Add(-time.Hour), nil)
	must(t, err)
	m, err = Read(&b)
	must(t, err)
	if _, base, err := m.Next(); err != nil || !base.Racy {
		t.Errorf("a file that is newer is %+v, %v", base, err)
	}
}

func FuzzManifest(f *testing.F) {
	var b bytes.Buffer
	_, err := Take(f.Context(), open(f, "."), &b, time.Now(), nil)
	must(f, err)
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Read(bytes.NewReader(data))
		for range 10000 {
			if err != nil {
				return
			}
			_, _, err = m.Next()
		}
	})
}

// upper makes an upper directory with one of everything that overlayfs leaves.
func upper(t *testing.T) (dir string, top *os.File) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("deleted names are devices, which only root makes")
	}
	dir = t.TempDir()
	fill(t, dir, "new", "d/", "d/x", "op/", "op/y", "l -> /etc")
	must(t, unix.Mknod(filepath.Join(dir, "gone"), unix.S_IFCHR, 0))
	must(t, unix.Mknod(filepath.Join(dir, "d", "gone"), unix.S_IFCHR, 0))
	must(t, unix.Setxattr(filepath.Join(dir, "op"), opaqueAttr, []byte("y"), 0))
	return dir, open(t, dir)
}

func stream(t *testing.T, s Source) string {
	t.Helper()
	var b bytes.Buffer
	must(t, Write(t.Context(), &b, s))
	var out []string
	r := delta.NewReader(&b)
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return strings.Join(out, "\n")
		}
		must(t, err)
		content, err := io.ReadAll(r)
		must(t, err)
		line := fmt.Sprintf("%s %s", e.Kind, e.Path)
		if e.Opaque {
			line += " opaque"
		}
		if len(content) > 0 {
			line += " = " + string(content)
		}
		if e.Base != nil {
			line += " was " + string(e.Base.Kind)
		}
		if e.Applied != "" {
			line += " applied " + e.Applied
		}
		out = append(out, line)
	}
}

func TestWrite(t *testing.T) {
	_, top := upper(t)
	lower := t.TempDir()
	fill(t, lower, "gone/", "gone/deep/", "gone/deep/x", "op/", "op/y", "op/z", "d/", "d/gone", "d/kept", "kept")
	manifest := func() *Manifest {
		var b bytes.Buffer
		_, err := Take(t.Context(), open(t, lower), &b, time.Now(), nil)
		must(t, err)
		m, err := Read(&b)
		must(t, err)
		return m
	}
	want := `known gone/deep was dir
known gone/deep/x was file
known op/z was file
dir .
dir d was dir
gone d/gone was file
file d/x = d/x
gone gone was dir
link l
file new = new
dir op opaque was dir
file op/y = op/y was file`
	if got := stream(t, Source{Upper: top, Manifest: manifest()}); got != want {
		t.Errorf("it tells\n%s\nnot\n%s", got, want)
	}
	want = `dir .
dir d was dir
gone d/gone applied s`
	applied := Applied{"d/gone": {Sum: "s"}, "kept": {Base: &delta.Base{Kind: delta.Dir}}}
	if got := stream(t, Source{Upper: top, Manifest: manifest(), Applied: applied, Paths: []string{"d/gone"}}); got != want {
		t.Errorf("of one path it tells\n%s\nnot\n%s", got, want)
	}
	if got := stream(t, Source{Upper: top, List: true}); strings.Contains(got, "=") || !strings.Contains(got, "file new") {
		t.Errorf("as a list it is\n%s", got)
	}
}

func TestDiscard(t *testing.T) {
	dir, top := upper(t)
	for _, c := range []struct {
		path string
		held bool
		err  error
		gone string
	}{
		{"new", false, nil, "new"},
		{"new", false, nil, "new"},
		{"none/such", true, nil, ""},
		{"gone/deep/x", true, ErrHidden, ""},
		{"gone/deep/x", false, nil, ""},
		{"op/y", true, ErrHidden, ""},
		{"op/y", false, nil, "op/y"},
		{"l/passwd", true, ErrHidden, ""},
		{"l", false, nil, "l"},
		{"d", true, nil, "d"},
		{".", true, nil, "op"},
	} {
		if err := Discard(t.Context(), top, c.path, c.held); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.path, err)
		}
		if _, err := os.Lstat(filepath.Join(dir, c.gone)); c.gone != "" && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after %s is discarded, %s: %v", c.path, c.gone, err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestApplied(t *testing.T) {
	dir := t.TempDir()
	a, err := ReadApplied(dir, "f")
	must(t, err)
	at := time.Unix(1000, 0)
	must(t, a.Add(dir, "f", []delta.Change{{Path: []byte("a\xff"), Sum: "s", Base: &delta.Base{Kind: delta.File, Size: 3}}, {Path: []byte("b")}}, at))
	must(t, a.Add(dir, "f", []delta.Change{{Path: []byte("b"), Sum: "t"}}, at))
	a, err = ReadApplied(dir, "f")
	must(t, err)
	if len(a) != 2 || a["a\xff"].Sum != "s" || a["a\xff"].Base.Size != 3 || a["b"].Sum != "t" || a["b"].Base != nil || a["b"].At != 1000 {
		t.Errorf("it is %+v", a)
	}
}

func BenchmarkTake(b *testing.B) {
	dir := b.TempDir()
	for i := range 100 {
		d := fmt.Sprintf("d%d/", i)
		fill(b, dir, d)
		for j := range 100 {
			fill(b, dir, fmt.Sprintf("%sf%d", d, j))
		}
	}
	top := open(b, dir)
	for b.Loop() {
		_, err := Take(b.Context(), top, io.Discard, time.Now(), nil)
		must(b, err)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10100, "ns/file")
}
