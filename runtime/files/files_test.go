package files

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var longAgo = time.Date(2001, 2, 3, 4, 5, 6, 789_000_000, time.UTC)

// plant makes a tree: "name/" is a directory, "name -> target" a link, "name = text" a
// file, "name == other" a hard link.
func plant(t testing.TB, dir string, things ...string) {
	t.Helper()
	for _, thing := range things {
		if name, target, ok := strings.Cut(thing, " -> "); ok {
			must(t, os.Symlink(target, filepath.Join(dir, name)))
		} else if name, other, ok := strings.Cut(thing, " == "); ok {
			must(t, os.Link(filepath.Join(dir, other), filepath.Join(dir, name)))
		} else if name, text, ok := strings.Cut(thing, " = "); ok {
			must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		} else {
			must(t, os.MkdirAll(filepath.Join(dir, thing), 0o755))
		}
	}
}

// tree lists what is below dir as plant would make it.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	seen := map[uint64]string{}
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		name := strings.TrimPrefix(p, dir+"/")
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		switch {
		case d.IsDir():
			out = append(out, name+"/")
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(p)
			out = append(out, name+" -> "+target)
			return err
		case seen[st.Ino] != "":
			out = append(out, name+" == "+seen[st.Ino])
		default:
			seen[st.Ino] = name
			text, err := os.ReadFile(p)
			out = append(out, fmt.Sprintf("%s = %s", name, text))
			return err
		}
		return nil
	}))
	return out
}

func pack(t testing.TB, path string, o PackOptions) ([]byte, Summary) {
	t.Helper()
	var b bytes.Buffer
	if o.Name == "" {
		o.Name = Root
	}
	sum, err := Pack(&b, path, o)
	must(t, err)
	return b.Bytes(), sum
}

func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		name           string
		there          []string // before
		src, as, where string   // as: what it is called
		want           []string
		err            string
	}{
		{"file to a new name", nil, "f", "f", "g", []string{"g = one"}, ""},
		{"file into a directory", []string{"d/"}, "f", "f", "d", []string{"d/", "d/f = one"}, ""},
		{"file over a file", []string{"g = old", "h == g"}, "f", "f", "g", []string{"g = one", "h = old"}, ""},
		{"file into nothing", nil, "f", "f", "no/", nil, "no such file"},
		{"file below nothing", nil, "f", "f", "no/g", nil, "the directory"},
		{"file over a directory's place", []string{"d/", "d/f/"}, "f", "f", "d", []string{"d/", "d/f/"}, "there is a directory"},
		{"file into what is a file", []string{"g = old"}, "f", "f", "g/", []string{"g = old"}, "not a directory"},
		{"file in place of a link", []string{"g -> /nowhere/else"}, "f", "f", "g", []string{"g = one"}, ""},
		{"file in place of a link to a file", []string{"h = kept", "g -> h"}, "f", "f", "g", []string{"g = one", "h = kept"}, ""},
		{"file by a link to a directory", []string{"d/", "l -> d"}, "f", "f", "l", []string{"d/", "d/f = one", "l -> d"}, ""},
		{"directory to a new name", nil, "s", "s", "n", []string{"n/", "n/a = A", "n/sub/", "n/sub/b = B", "n/to -> a"}, ""},
		{"directory into a directory", []string{"d/"}, "s", "s", "d", []string{"d/", "d/s/", "d/s/a = A", "d/s/sub/", "d/s/sub/b = B", "d/s/to -> a"}, ""},
		{"contents into a directory", []string{"d/", "d/a = old", "d/other = o"}, "s", "", "d", []string{"d/", "d/a = A", "d/other = o", "d/sub/", "d/sub/b = B", "d/to -> a"}, ""},
		{"contents to a new name", nil, "s", "", "n", []string{"n/", "n/a = A", "n/sub/", "n/sub/b = B", "n/to -> a"}, ""},
		{"directory to a new name with a slash", nil, "s", "s", "n/", []string{"n/", "n/a = A", "n/sub/", "n/sub/b = B", "n/to -> a"}, ""},
		{"directory over a file", []string{"g = old"}, "s", "s", "g", []string{"g = old"}, "not a directory"},
		{"directory over a link inside", []string{"d/", "e/", "d/s -> ../e"}, "s", "s", "d", []string{"d/", "d/s -> ../e", "e/"}, "is a symbolic link there"},
		{"link as a link", nil, "s/to", "to", "n", []string{"n -> a"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, dst := t.TempDir(), t.TempDir()
			plant(t, src, "f = one", "s/sub/", "s/a = A", "s/sub/b = B", "s/to -> a")
			plant(t, dst, c.there...)
			stream, _ := pack(t, filepath.Join(src, c.src), PackOptions{})
			target := filepath.Join(dst, c.where)
			if strings.HasSuffix(c.where, "/") {
				target += "/"
			}
			sum, err := Unpack(bytes.NewReader(stream), UnpackOptions{Target: target, Name: c.as})
			got := fmt.Sprint(err, sum.FirstFailed)
			if c.err == "" && (err != nil || sum.Failed > 0) || !strings.Contains(got, c.err) {
				t.Errorf("%s, want %q", got, c.err)
			}
			if d := cmp.Diff(c.want, tree(t, dst)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestWhatIsKept(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	plant(t, src, "d/ro/", "d/f = text", "d/ro/x = x", "d/same == d/f", "d/l -> f", "d/away -> ../../etc")
	must(t, os.Chmod(filepath.Join(src, "d/f"), 0o751|fs.ModeSetuid|fs.ModeSetgid))
	must(t, os.Chmod(filepath.Join(src, "d/ro"), 0o555))
	must(t, os.Chmod(filepath.Join(src, "d"), 0o777|fs.ModeSticky))
	must(t, syscall.Mkfifo(filepath.Join(src, "d/pipe"), 0o600))
	for _, name := range []string{"d/f", "d/ro/x", "d/ro", "d"} {
		must(t, os.Chtimes(filepath.Join(src, name), longAgo, longAgo))
	}
	name := strings.Repeat("n", 255)
	plant(t, src, "d/"+name+" = long", "d/wei\xffrd\n = bytes")
	stream, sum := pack(t, filepath.Join(src, "d"), PackOptions{})
	if sum.Skipped != 1 || !strings.HasSuffix(sum.FirstSkipped, "d/pipe, a named pipe") || sum.Failed != 0 {
		t.Errorf("pack: %+v", sum)
	}
	got, err := Unpack(bytes.NewReader(stream), UnpackOptions{Target: filepath.Join(dst, "c"), Umask: 0o022, Name: "d"})
	must(t, err)
	if got.Failed != 0 || got.Outward != 1 || !strings.HasSuffix(got.FirstOutward, "c/away -> ../../etc") || got.Bytes != sum.Bytes || got.Files != sum.Files {
		t.Errorf("unpack: %+v, packed %+v", got, sum)
	}
	for name, want := range map[string]fs.FileMode{"c": fs.ModeDir | 0o755, "c/f": 0o751, "c/ro": fs.ModeDir | 0o555, "c/ro/x": 0o644} {
		st, err := os.Stat(filepath.Join(dst, name))
		must(t, err)
		if st.Mode() != want || strings.Contains(name, "/") && !st.ModTime().Equal(longAgo) {
			t.Errorf("%s: %v at %v, want %v", name, st.Mode(), st.ModTime(), want)
		}
	}
	want := []string{"c/", "c/away -> ../../etc", "c/f = text", "c/l -> f", "c/" + name + " = long", "c/ro/", "c/ro/x = x", "c/same == c/f", "c/wei\xffrd\n = bytes"}
	if d := cmp.Diff(want, tree(t, dst)); d != "" {
		t.Error(d)
	}
}

func TestFollow(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	plant(t, src, "d/", "d/f = x", "l -> d")
	for i, c := range []struct {
		path   string
		follow bool
	}{{"l", true}, {"l/", false}, {"l/.", false}} {
		stream, _ := pack(t, src+"/"+c.path, PackOptions{Follow: c.follow})
		_, err := Unpack(bytes.NewReader(stream), UnpackOptions{Target: filepath.Join(dst, fmt.Sprint(i))})
		must(t, err)
	}
	if d := cmp.Diff([]string{"0/", "0/f = x", "1/", "1/f = x", "2/", "2/f = x"}, tree(t, dst)); d != "" {
		t.Error(d)
	}
}

func TestPackRefuses(t *testing.T) {
	dir := t.TempDir()
	must(t, syscall.Mkfifo(filepath.Join(dir, "p"), 0o600))
	plant(t, dir, "f = x")
	for path, want := range map[string]string{"none": "no such file", "p": "a named pipe", "f/": "not a directory", "f/x": "not a directory"} {
		_, err := Pack(io.Discard, dir+"/"+path, PackOptions{Name: Root, Show: "N:" + path})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "N:"+path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// entry is one of a tar made by hand.
type entry struct {
	name string
	kind byte
	link string
	text string
	mode int64
}

func forged(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Size: int64(len(e.text)), Mode: e.mode, Devmajor: 1, Devminor: 3}
		if e.mode == 0 {
			h.Mode = 0o644
		}
		if h.Typeflag == tar.TypeXGlobalHeader { // as git archive begins
			h = &tar.Header{Typeflag: h.Typeflag, PAXRecords: map[string]string{"comment": "x"}}
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		must(t, w.WriteHeader(h))
		_, err := w.Write([]byte(e.text))
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

// TestHostile unpacks what a sandbox may send: nothing outside of the target
// changes, whatever it says.
func TestHostile(t *testing.T) {
	root := entry{name: "./", kind: tar.TypeDir, mode: 0o755}
	long := strings.Repeat("x", 300)
	for name, c := range map[string]struct {
		stream []entry
		want   []string // below the target
		fatal  bool
		failed int64
	}{
		"after a global header":   {[]entry{{kind: tar.TypeXGlobalHeader}, {name: "../evil", text: "x"}}, nil, true, 0},
		"up":                      {[]entry{root, {name: "./../evil", text: "x"}}, nil, true, 0},
		"up in the middle":        {[]entry{root, {name: "./a/../../evil", text: "x"}}, nil, true, 0},
		"absolute":                {[]entry{root, {name: "/etc/evil", text: "x"}}, []string{"etc/", "etc/evil = x"}, false, 0},
		"begins elsewhere":        {[]entry{{name: "evil", text: "x"}}, nil, true, 0},
		"by a link":               {[]entry{root, {name: "./l", kind: tar.TypeSymlink, link: "../outside"}, {name: "./l/evil", text: "x"}}, []string{"l -> ../outside"}, false, 1},
		"by an absolute link":     {[]entry{root, {name: "./l", kind: tar.TypeSymlink, link: "/"}, {name: "./l/tmp/evil", text: "x"}}, []string{"l -> /"}, false, 1},
		"over a link":             {[]entry{root, {name: "./l", kind: tar.TypeSymlink, link: "../outside/kept"}, {name: "./l", text: "mine"}}, []string{"l = mine"}, false, 0},
		"directory over a link":   {[]entry{root, {name: "./l", kind: tar.TypeSymlink, link: "../outside"}, {name: "./l", kind: tar.TypeDir, mode: 0o777}, {name: "./l/x", text: "x"}}, []string{"l -> ../outside"}, false, 2},
		"root becomes a link":     {[]entry{{name: ".", kind: tar.TypeSymlink, link: "outside"}, {name: "./evil", text: "x"}}, nil, false, 1},
		"hard link out":           {[]entry{root, {name: "./h", kind: tar.TypeLink, link: "../outside/kept"}}, nil, true, 0},
		"hard link to absolute":   {[]entry{root, {name: "./h", kind: tar.TypeLink, link: "/etc/passwd"}}, nil, false, 1},
		"hard link by a link":     {[]entry{root, {name: "./l", kind: tar.TypeSymlink, link: "../outside"}, {name: "./h", kind: tar.TypeLink, link: "./l/kept"}}, []string{"l -> ../outside"}, false, 1},
		"hard link to itself":     {[]entry{root, {name: "./f", text: "f"}, {name: "./f", kind: tar.TypeLink, link: "./f"}}, []string{"f = f"}, true, 0},
		"hard link, written over": {[]entry{root, {name: "./l", kind: tar.TypeSymlink, link: "../outside/kept"}, {name: "./h", kind: tar.TypeLink, link: "./l"}, {name: "./h", text: "x"}}, []string{"h = x", "l -> ../outside/kept"}, false, 0},
		"devices and pipes":       {[]entry{root, {name: "./c", kind: tar.TypeChar}, {name: "./b", kind: tar.TypeBlock}, {name: "./p", kind: tar.TypeFifo}}, nil, false, 0},
		"setuid":                  {[]entry{root, {name: "./s", mode: 0o6755, text: "x"}, {name: "./d/", kind: tar.TypeDir, mode: 0o7777}}, []string{"d/", "s = x"}, false, 0},
		"long name":               {[]entry{root, {name: "./" + long, text: "x"}}, nil, true, 0},
		"long path":               {[]entry{root, {name: "./" + strings.Repeat("a/", 3000) + "f", text: "x"}}, nil, true, 0},
		"deep":                    {[]entry{root, {name: "./" + strings.Repeat("a/", 300) + "f", text: "x"}}, nil, true, 0},
		"long link":               {[]entry{root, {name: "./l", kind: tar.TypeSymlink, link: strings.Repeat("x/", 4000)}}, nil, true, 0},
		"file as a directory":     {[]entry{root, {name: "./f", text: "f"}, {name: "./f/x", text: "x"}}, []string{"f = f"}, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			plant(t, top, "outside/", "outside/kept = kept")
			target := filepath.Join(top, "target")
			sum, err := Unpack(bytes.NewReader(forged(t, c.stream...)), UnpackOptions{Target: target, Name: "n"})
			if (err != nil) != c.fatal || c.fatal && !errors.Is(err, ErrHostile) || sum.Failed != c.failed {
				t.Errorf("%v, %+v", err, sum)
			}
			var got []string
			for _, line := range tree(t, top) {
				switch below, ok := strings.CutPrefix(line, "target/"); {
				case ok && below != "":
					got = append(got, below)
				case ok || line == "outside/" || line == "outside/kept = kept":
				case name == "root becomes a link" && line == "target -> outside":
				default:
					t.Errorf("outside of the target: %q", line)
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			must(t, filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
				if err == nil {
					if info, ierr := d.Info(); ierr == nil && info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky|fs.ModeDevice) != 0 {
						t.Errorf("%s has mode %v", p, info.Mode())
					}
				}
				return err
			}))
		})
	}
}

// TestHoles: a file with holes costs its sender nothing and its receiver a disk.
func TestHoles(t *testing.T) {
	var b bytes.Buffer
	// PAX records for a sparse file are refused by the writer, so the header is
	// made as GNU tar makes its version 0.1 (the map is in the records).
	records := ""
	for _, r := range []string{"GNU.sparse.major=0", "GNU.sparse.minor=1", "GNU.sparse.name=x", "GNU.sparse.size=1099511627776", "GNU.sparse.numblocks=1", "GNU.sparse.map=0,1"} {
		n := len(r) + 3
		for len(fmt.Sprint(n))+1+len(r)+1 != n {
			n++
		}
		records += fmt.Sprintf("%d %s\n", n, r)
	}
	block := func(name string, kind byte, data string) {
		h := make([]byte, 512)
		copy(h, name)
		copy(h[100:], "0000644\x000000000\x000000000\x00")
		copy(h[124:], fmt.Sprintf("%011o\x00%011o\x00        ", len(data), 0))
		h[156] = kind
		copy(h[257:], "ustar\x0000")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		b.Write(h)
		b.WriteString(data + strings.Repeat("\x00", (512-len(data)%512)%512))
	}
	block("./", '5', "")
	block("PaxHeader/x", 'x', records)
	block("./x", '0', "d")
	b.Write(make([]byte, 1024))
	dir := filepath.Join(t.TempDir(), "d")
	_, err := Unpack(&b, UnpackOptions{Target: dir})
	if !errors.Is(err, ErrHostile) || !strings.Contains(err.Error(), "holes") {
		t.Errorf("got %v", err)
	}
	if got := tree(t, dir); len(got) > 0 {
		t.Errorf("made %q", got)
	}
}

func TestBrokenOff(t *testing.T) {
	src := t.TempDir()
	plant(t, src, "d/", "d/a = "+strings.Repeat("a", 3000), "d/b = "+strings.Repeat("b", 3000))
	stream, _ := pack(t, filepath.Join(src, "d"), PackOptions{})
	for _, cut := range []int{0, 100, 600, 3000, len(stream) - 3000} {
		dst := t.TempDir()
		_, err := Unpack(bytes.NewReader(stream[:cut]), UnpackOptions{Target: filepath.Join(dst, "d")})
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v", cut, err)
		}
		for _, line := range tree(t, dst) {
			if strings.Contains(line, " = ") && len(line) < 3000 {
				t.Errorf("cut at %d: half a file is left: %.20q of %d", cut, line, len(line))
			}
		}
	}
	// What goes on for ever is not read for ever.
	_, err := Unpack(io.MultiReader(bytes.NewReader(stream), zeros{}), UnpackOptions{Target: filepath.Join(t.TempDir(), "d")})
	if !errors.Is(err, ErrHostile) {
		t.Errorf("without an end: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestChanging packs a file that gets shorter under the reader's hands.
func TestChanging(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, bytes.Repeat([]byte("x"), 3*copyBuffer), 0o644))
	var once bool
	var b bytes.Buffer
	sum, err := Pack(writerFunc(func(p []byte) (int, error) {
		if b.Len() > copyBuffer && !once {
			once = true
			must(t, os.Truncate(path, copyBuffer))
		}
		return b.Write(p)
	}), path, PackOptions{Name: Root})
	if err != nil || sum.Failed != 1 || !strings.Contains(sum.FirstFailed, "changed") {
		t.Errorf("%v, %+v", err, sum)
	}
	got, err := Unpack(&b, UnpackOptions{Target: filepath.Join(dir, "g")})
	if err != nil || got.Failed != 0 {
		t.Errorf("the tar is not whole: %v, %+v", err, got)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestInto unpacks any tar into a directory, also one that names no directories.
func TestInto(t *testing.T) {
	dir := t.TempDir()
	stream := forged(t, entry{kind: tar.TypeXGlobalHeader}, entry{name: "a/b/c", text: "c"}, entry{name: "/abs", text: "abs"}, entry{name: "a/d", text: "d"})
	sum, err := Unpack(bytes.NewReader(stream), UnpackOptions{Target: dir, Into: true})
	if err != nil || sum.Failed > 0 {
		t.Errorf("%v, %+v", err, sum)
	}
	if d := cmp.Diff([]string{"a/", "a/b/", "a/b/c = c", "a/d = d", "abs = abs"}, tree(t, dir)); d != "" {
		t.Error(d)
	}
	if _, err := Unpack(bytes.NewReader(nil), UnpackOptions{Target: filepath.Join(dir, "none"), Into: true}); !errors.Is(err, unix.ENOENT) && !strings.Contains(fmt.Sprint(err), "no such file") {
		t.Errorf("into nothing: %v", err)
	}
}

// FuzzUnpack: whatever comes, nothing but what is below the target changes, and
// no mode gives rights.
func FuzzUnpack(f *testing.F) {
	root := entry{name: "./", kind: tar.TypeDir, mode: 0o755}
	for _, s := range [][]entry{
		{root, {name: "./a/b", text: "x"}, {name: "./l", kind: tar.TypeSymlink, link: "../outside"}, {name: "./l/kept", text: "evil"}},
		{root, {name: "./h", kind: tar.TypeLink, link: "./../outside/kept"}},
		{{name: ".", kind: tar.TypeSymlink, link: "outside"}, {name: "./x", text: "x"}},
		{root, {name: "./s", mode: 0o6777, text: "x"}, {name: "./c", kind: tar.TypeChar}},
	} {
		f.Add(forged(f, s...), true)
		f.Add(forged(f, s...), false)
	}
	f.Fuzz(func(t *testing.T, stream []byte, into bool) {
		top := t.TempDir()
		plant(t, top, "outside/", "outside/kept = kept", "target/")
		_, _ = Unpack(io.LimitReader(bytes.NewReader(stream), 1<<20), UnpackOptions{Target: filepath.Join(top, "target"), Name: "n", Into: into})
		outside := tree(t, filepath.Join(top, "outside"))
		if !slices.Equal(outside, []string{"kept = kept"}) {
			t.Fatalf("outside is %q", outside)
		}
		entries, err := os.ReadDir(top)
		must(t, err)
		if len(entries) != 2 {
			t.Fatalf("%d things beside the target", len(entries))
		}
	})
}

func BenchmarkRoundTrip(b *testing.B) {
	src := b.TempDir()
	must(b, os.WriteFile(filepath.Join(src, "f"), make([]byte, 64<<20), 0o644))
	b.SetBytes(64 << 20)
	for b.Loop() {
		r, w := io.Pipe()
		go func() {
			_, err := Pack(w, filepath.Join(src, "f"), PackOptions{Name: Root})
			_ = w.CloseWithError(err)
		}()
		if _, err := Unpack(r, UnpackOptions{Target: filepath.Join(src, "g")}); err != nil {
			b.Fatal(err)
		}
	}
}
