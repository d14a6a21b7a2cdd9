package change

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"cove/runtime/delta"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

// entry is what a sandbox has, with content.
type entry struct {
	delta.Entry
	text string
}

func file(p, text string, base *delta.Base) entry {
	return entry{delta.Entry{Path: p, Kind: delta.File, Mode: 0o644, Size: int64(len(text)), Base: base}, text}
}

// world is a directory of the host's and what of it is told.
type world struct {
	t    testing.TB
	path string
	dir  *Dir
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, path: t.TempDir()}
	var err error
	w.dir, err = OpenDir(w.path)
	must(t, err)
	t.Cleanup(func() { _ = w.dir.Close() })
	return w
}

// base is what is at p now.
func (w *world) base(p string) *delta.Base {
	b, err := w.dir.stat(p)
	must(w.t, err)
	return b
}

func (w *world) stream(entries ...entry) *bytes.Buffer {
	var st unix.Stat_t
	must(w.t, unix.Stat(w.path, &st))
	var b bytes.Buffer
	out := delta.NewWriter(&b)
	top := entry{Entry: delta.Entry{Path: ".", Kind: delta.Dir, Mode: 0o755, Base: &delta.Base{Kind: delta.Dir, Ino: st.Ino, Dev: st.Dev}}}
	for _, e := range append([]entry{top}, entries...) {
		must(w.t, out.Put(e.Entry))
		if e.text != "" {
			_, err := out.Write([]byte(e.text))
			must(w.t, err)
		}
	}
	must(w.t, out.Close(nil))
	return &b
}

func (w *world) compare(o Options, entries ...entry) []Found {
	found, err := Compare(w.t.Context(), w.stream(entries...), w.dir, o)
	must(w.t, err)
	return found
}

func (w *world) apply(plan []Found, entries ...entry) (failed []string) {
	_, err := Apply(w.t.Context(), w.stream(entries...), w.dir, plan, func(o Outcome) {
		if o.Err != nil {
			failed = append(failed, fmt.Sprintf("%s: %v", o.Path, o.Err))
		}
	})
	must(w.t, err)
	return failed
}

func TestConflicts(t *testing.T) {
	w := newWorld(t)
	write(t, w.path+"/a", "old")
	was := w.base("a")
	say := func(want string, e entry) {
		t.Helper()
		found := w.compare(Options{}, e)
		if len(found) != 1 || !strings.Contains(found[0].Conflict, want) || want == "" && found[0].Conflict != "" {
			t.Errorf("%q: %+v", want, found)
		}
	}
	say("", file("a", "new", was))
	say("made on the host", file("a", "new", nil))
	say("deleted on the host", file("b", "new", was))
	racy := *was
	racy.Racy = true
	say("while the sandbox was being made", file("a", "new", &racy))
	// What changes nothing of it is none: another name, a mode there and back.
	must(t, os.Link(w.path+"/a", w.path+"/second"))
	must(t, os.Chmod(w.path+"/a", 0o600))
	say("mode 644 -> 600", file("a", "new", was))
	must(t, os.Chmod(w.path+"/a", 0o644))
	say("", file("a", "new", was))
	write(t, w.path+"/a", "longer")
	say("size 3 -> 6", file("a", "new", was))
	must(t, os.Remove(w.path+"/a"))
	must(t, os.Mkdir(w.path+"/a", 0o755))
	say("file -> dir", file("a", "new", was))
	// The same on both sides is no change, whatever was there before.
	write(t, w.path+"/c", "same")
	if found := w.compare(Options{}, file("c", "same", nil)); len(found) > 0 {
		t.Errorf("what is the same is %+v", found)
	}
	// A change that was applied is none, also when the host goes on.
	e := file("c", "applied", nil)
	sum := delta.NewSum(e.Entry)
	_, _ = sum.Write([]byte(e.text))
	e.Applied = sum.String()
	if found := w.compare(Options{}, e); len(found) > 0 {
		t.Errorf("what was applied is %+v", found)
	}
}

// What an apply has made that was killed before it told of it is known as such.
func TestSettled(t *testing.T) {
	w := newWorld(t)
	write(t, w.path+"/a", "old")
	write(t, w.path+"/gone", "old")
	entries := []entry{file("a", "new", w.base("a")), {Entry: delta.Entry{Path: "gone", Kind: delta.Gone, Base: w.base("gone")}}}
	plan := w.compare(Options{}, entries...)
	if failed := w.apply(plan, entries...); len(failed) > 0 || len(plan) != 2 {
		t.Fatalf("%+v: %q", plan, failed)
	}
	var told []delta.Change
	if found := w.compare(Options{Settled: func(c delta.Change) { told = append(told, c) }}, entries...); len(found) > 0 || len(told) != 2 {
		t.Fatalf("found %+v, told of %+v", found, told)
	}
	for i, c := range told {
		entries[i].Applied, entries[i].Base = c.Sum, c.Base
	}
	told = nil
	if w.compare(Options{Settled: func(c delta.Change) { told = append(told, c) }}, entries...); len(told) > 0 {
		t.Errorf("told again of %+v", told)
	}
	again := file("a", "newer", entries[0].Base)
	if found := w.compare(Options{}, again); len(found) != 1 || found[0].Conflict != "" {
		t.Errorf("what comes next is %+v", found)
	}
}

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		path string
		kind delta.Kind
		mode uint32
		link string
		want string
	}{
		{"a", delta.File, 0o644, "", "[]"},
		{"a", delta.File, 0o755, "", "[executable]"},
		{"a", delta.File, 0o4644, "", "[setuid]"},
		{".git/config", delta.File, 0o644, "", "[git]"},
		{"sub/.GIT/config", delta.File, 0o644, "", "[git]"},
		{".git/hooks/pre-commit", delta.File, 0o755, "", "[hook executable]"},
		{".husky/x", delta.File, 0o644, "", "[hook]"},
		{"hooks/use.ts", delta.File, 0o644, "", "[]"},
		{".gitmodules", delta.File, 0o644, "", "[git]"},
		{".github/x", delta.File, 0o644, "", "[]"},
		{"d/.envrc", delta.Gone, 0, "", "[envrc]"},
		{"d/l", delta.Link, 0o777, "../x", "[]"},
		{"d/l", delta.Link, 0o777, "../../x", "[link out]"},
		{"d/l", delta.Link, 0o777, "x/../../../y", "[link out]"},
		{"l", delta.Link, 0o777, "..", "[link out]"},
		{"l", delta.Link, 0o777, "/x", "[link out]"},
	} {
		if got := fmt.Sprint(flags(c.path, c.kind, c.mode, c.link, nil)); got != c.want {
			t.Errorf("%s %s %o %s: %s, not %s", c.path, c.kind, c.mode, c.link, got, c.want)
		}
	}
	if got := flags("a", delta.File, 0o755, "", &delta.Base{Kind: delta.File, Mode: 0o755}); len(got) > 0 {
		t.Errorf("a program that was one: %v", got)
	}
}

// A patch makes in git's hands what the sandbox has.
func TestPatch(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	w := newWorld(t)
	long := strings.Repeat("line\n", 3000)
	bin := make([]byte, 100_001)
	for i := range bin {
		bin[i] = byte(i * i >> 3)
	}
	old := map[string]string{"text": "a\nb\nc\n", "no end": "x\ny", "bin": "b\x00c", "gone bin": "\x00", "long": long, "empty": "", "q\"uo\tte\n": "1\n"}
	now := map[string]string{"text": "a\nB\nc\nd", "no end": "x\ny\n", "bin": string(bin), "long": strings.Replace(long, "line\n", "", 1) + "z\n", "empty": "not\n", "q\"uo\tte\n": "2\n", "made": "m\n", "made bin": "\x00\x01", "sub/ümlaut": "u", "made empty": ""}
	for p, text := range old {
		write(t, filepath.Join(w.path, p), text)
	}
	var entries []entry
	for p, text := range now {
		if strings.HasPrefix(p, "sub/") {
			entries = append(entries, entry{Entry: delta.Entry{Path: "sub", Kind: delta.Dir, Mode: 0o755}})
		}
		entries = append(entries, file(p, text, w.base(p)))
	}
	entries = append(entries, entry{Entry: delta.Entry{Path: "gone bin", Kind: delta.Gone, Base: w.base("gone bin")}})
	var patch strings.Builder
	found := w.compare(Options{Text: Patch}, entries...)
	for _, f := range found {
		patch.WriteString(f.Diff)
	}
	copied := t.TempDir()
	run := func(in, name string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir, cmd.Stdin = copied, strings.NewReader(in)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v\n%s\n%s", name, args, err, out, in)
		}
	}
	run("", "cp", "-a", w.path+"/.", copied)
	run("", "git", "init", "-q")
	run(patch.String(), "git", "apply", "--whitespace=nowarn")
	if failed := w.apply(found, entries...); len(failed) > 0 {
		t.Errorf("failed: %q", failed)
	}
	run("", "diff", "-r", "--exclude=.git", w.path, copied)
	for p, want := range now {
		if got, err := os.ReadFile(filepath.Join(w.path, p)); err != nil || string(got) != want {
			t.Errorf("%q has %d bytes, %v", p, len(got), err)
		}
	}
}

// Whatever becomes of the directory between a comparison and an apply, nothing is
// written elsewhere, and nothing that somebody wrote meanwhile is lost.
func TestApplyMeanwhile(t *testing.T) {
	for name, change := range map[string]func(w *world, outside string){
		"written": func(w *world, _ string) { write(w.t, w.path+"/d/f", "mine") },
		"made":    func(w *world, _ string) { write(w.t, w.path+"/d/new", "mine") },
		"a link in its place": func(w *world, outside string) {
			must(w.t, os.Remove(w.path+"/d/f"))
			must(w.t, os.Symlink(outside+"/f", w.path+"/d/f"))
		},
		"its directory a link": func(w *world, outside string) {
			must(w.t, os.Rename(w.path+"/d", w.path+"/e"))
			must(w.t, os.Symlink(outside, w.path+"/d"))
		},
		"a directory to go has more": func(w *world, _ string) { write(w.t, w.path+"/g/mine", "mine") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			outside := t.TempDir()
			write(t, outside+"/f", "outside")
			write(t, w.path+"/d/f", "old")
			write(t, w.path+"/g/x", "old")
			entries := []entry{
				{Entry: delta.Entry{Path: "d", Kind: delta.Dir, Mode: 0o755, Base: w.base("d")}},
				file("d/f", "new", w.base("d/f")), file("d/new", "new", nil),
				{Entry: delta.Entry{Path: "g", Kind: delta.Gone, Base: w.base("g")}},
			}
			known := entry{Entry: delta.Entry{Path: "g/x", Kind: delta.Known, Base: w.base("g/x")}}
			entries = append([]entry{known}, entries...)
			plan := w.compare(Options{}, entries...)
			if len(plan) != 4 || slices.ContainsFunc(plan, func(f Found) bool { return f.Conflict != "" }) {
				t.Fatalf("the plan is %+v", plan)
			}
			change(w, outside)
			failed := w.apply(plan, entries...)
			if len(failed) == 0 {
				t.Error("all was applied")
			}
			if text, err := os.ReadFile(outside + "/f"); err != nil || string(text) != "outside" {
				t.Errorf("outside there is %q, %v", text, err)
			}
			if names, err := os.ReadDir(outside); err != nil || len(names) != 1 {
				t.Errorf("outside there are %v, %v", names, err)
			}
			err := filepath.WalkDir(w.path, func(p string, e os.DirEntry, err error) error {
				if strings.HasPrefix(e.Name(), Partial) {
					t.Errorf("%s is left", p)
				}
				return err
			})
			must(t, err)
			for _, p := range []string{"/d/f", "/d/new", "/g/mine"} {
				if text, err := os.ReadFile(w.path + p); err == nil && string(text) != "new" && string(text) != "mine" && string(text) != "outside" {
					t.Errorf("%s is %q", p, text)
				}
			}
		})
	}
}

// What the sandbox has changed since it was compared is not applied.
func TestApplyOfAnother(t *testing.T) {
	w := newWorld(t)
	plan := w.compare(Options{}, file("a", "looked at", nil), file("b", "looked at", nil), file("c", "looked at", nil))
	link := entry{Entry: delta.Entry{Path: "b", Kind: delta.Link, Mode: 0o777, Link: "/etc"}}
	failed := w.apply(plan, file("a", "another", nil), link)
	if len(failed) != 3 {
		t.Errorf("failed: %q", failed)
	}
	if names, err := os.ReadDir(w.path); err != nil || len(names) > 0 {
		t.Errorf("there are %v, %v", names, err)
	}
}

func TestCompareHidden(t *testing.T) {
	w := newWorld(t)
	for _, p := range []string{"op/kept", "op/gone", "op/sub/x", "op/sub/y", "op/old/z"} {
		write(t, filepath.Join(w.path, p), p)
	}
	known := func(p string) entry {
		return entry{Entry: delta.Entry{Path: p, Kind: delta.Known, Base: w.base(p)}}
	}
	entries := []entry{
		known("op/gone"), known("op/sub/y"), known("op/old"), known("op/old/z"),
		{Entry: delta.Entry{Path: "op", Kind: delta.Dir, Mode: 0o755, Opaque: true, Base: w.base("op")}},
		file("op/kept", "op/kept", w.base("op/kept")),
		{Entry: delta.Entry{Path: "op/sub", Kind: delta.Dir, Mode: 0o755, Base: w.base("op/sub")}},
		file("op/sub/x", "changed", w.base("op/sub/x")),
	}
	var got []string
	found := w.compare(Options{}, entries...)
	for _, f := range found {
		got = append(got, f.Kind+" "+f.Path+" "+f.Conflict)
	}
	want := []string{"deleted op/gone ", "deleted op/old ", "deleted op/old/z ", "modified op/sub/x ", "deleted op/sub/y "}
	if !slices.Equal(got, want) {
		t.Errorf("found %q, not %q", got, want)
	}
	if failed := w.apply(found, entries...); len(failed) > 0 {
		t.Errorf("failed: %q", failed)
	}
	if again := w.compare(Options{}, entries...); len(again) > 0 {
		t.Errorf("after apply there is %+v", again)
	}
}

func TestAnotherDirectory(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	_, err := Compare(t.Context(), w.stream(), other.dir, Options{})
	if !errors.Is(err, ErrAnother) {
		t.Errorf("another directory: %v", err)
	}
}
