package server

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// rewrite replaces a file as usermod(8) does.
func rewrite(t testing.TB, path, text string) {
	t.Helper()
	noError(t, os.WriteFile(path+".new", []byte(text), 0o644))
	noError(t, os.Rename(path+".new", path))
}

func remove(t testing.TB, path string) {
	t.Helper()
	noError(t, os.Remove(path))
}

func TestParseGroup(t *testing.T) {
	for name, tt := range map[string]struct {
		file  string
		gid   int
		names string
		ok    bool
	}{
		"nothing":           {file: ""},
		"another":           {file: "cove2:x:5:a\nxcove:x:6:b\n#cove:x:7:c\n"},
		"empty":             {file: "cove:x:5:\n", gid: 5, ok: true},
		"members":           {file: "a:x:1:z\ncove:x:5:a,b\n", gid: 5, names: "a b", ok: true},
		"no newline at end": {file: "cove:x:5:a", gid: 5, names: "a", ok: true},
		"empty members":     {file: "cove:x:5:,a,,b,\n", gid: 5, names: "a b", ok: true},
		"the first counts":  {file: "cove:x:5:a\ncove:x:6:b\n", gid: 5, names: "a", ok: true},
		"bad gid":           {file: "cove:x:-5:a\ncove:x::b\ncove:x:99999999999:c\ncove:x:0x5:d\n"},
		"few fields":        {file: "cove:x:5\n"},
		"many fields":       {file: "cove:x:5:a:b\n"},
		"no name":           {file: ":x:5:a\n+:::\n"},
		"a long line":       {file: "big:x:1:" + strings.Repeat("m,", 100_000) + "\ncove:x:5:a\n", gid: 5, names: "a", ok: true},
	} {
		gid, names, ok := parseGroup([]byte(tt.file), "cove")
		equal(t, tt.ok, ok, name)
		equal(t, tt.gid, gid, name)
		equal(t, tt.names, strings.Join(slices.Sorted(maps.Keys(names)), " "), name)
	}
}

func TestParsePasswd(t *testing.T) {
	file := "root:x:0:0:root:/root:/bin/sh\na:x:1:1:::\nb:x:2:900:::\nalias:x:1:5:::\nc:x:-1:900:::\nd:x:4294967296:900:::\n" +
		"e:x:5:900\n+::::::\nf:x::900:::\ng:x:7:xx:::\n"
	got := parsePasswd([]byte(file), 900, map[string]struct{}{"alias": {}, "root2": {}})
	equal(t, []int{1, 2}, slices.Sorted(maps.Keys(got)))
}

func FuzzMembers(f *testing.F) {
	f.Add([]byte(groupText), []byte(passwdText))
	f.Add([]byte("cove:x:0:\n"), []byte("a:x:1:0:::\n"))
	f.Fuzz(func(t *testing.T, group, passwd []byte) {
		gid, names, ok := parseGroup(group, "cove")
		if !ok {
			return
		}
		// Whoever is let in stands in both files.
		for uid := range parsePasswd(passwd, gid, names) {
			if uid < 0 || !strings.Contains(string(passwd), ":") {
				t.Errorf("uid %d out of nothing", uid)
			}
		}
	})
}

// A change in place, of the same length, is seen by the file's times.
func TestMembersSeeAChangeInPlace(t *testing.T) {
	dir := t.TempDir()
	m := &members{group: "cove", groupFile: filepath.Join(dir, "group"), passwdFile: filepath.Join(dir, "passwd")}
	noError(t, os.WriteFile(m.groupFile, []byte("cove:x:900:alice\n"), 0o644))
	noError(t, os.WriteFile(m.passwdFile, []byte(passwdText), 0o644))
	has := func(uid int) bool {
		t.Helper()
		ok, err := m.has(uid)
		noError(t, err)
		return ok
	}
	equal(t, true, has(owner))
	equal(t, false, has(outsider))
	noError(t, os.WriteFile(m.groupFile, []byte("cove:x:900:carol\n"), 0o644))
	// The clock of file times ticks every few milliseconds: make it another.
	noError(t, os.Chtimes(m.groupFile, time.Time{}, time.Unix(1, 0)))
	equal(t, false, has(owner))
	equal(t, true, has(outsider))
	noError(t, os.Truncate(m.passwdFile, 0))
	equal(t, false, has(outsider))
	// A file too large to be one of users lets nobody in.
	noError(t, os.Truncate(m.passwdFile, maxDatabase+1))
	if _, err := m.has(owner); err == nil {
		t.Error("a huge file was read")
	}
}

func BenchmarkMembers(b *testing.B) {
	m := &members{group: "root", groupFile: DefaultGroupFile, passwdFile: DefaultPasswdFile}
	for b.Loop() {
		if _, err := m.has(1001); err != nil {
			b.Fatal(err)
		}
	}
}
