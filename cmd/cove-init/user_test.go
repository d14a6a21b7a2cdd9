package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLookupUser(t *testing.T) {
	dev := identity{uid: 1000, gid: 1000, groups: []uint32{5, 2000}, name: "dev", home: "/mnt/dev", shell: "/bin/bash"}
	for _, tt := range []struct {
		spec   string
		want   identity
		err    string
		passwd string
		group  string
	}{
		{spec: "dev", want: dev},
		{spec: "1000", want: dev},
		{spec: "", want: identity{name: "root", home: "/root", shell: "/bin/bash"}},
		{spec: "root", want: identity{name: "root", home: "/root", shell: "/bin/bash"}},
		{spec: "odd", want: identity{uid: 1001, gid: 1001, name: "odd", home: "/"}},
		{spec: "dev:build", want: identity{uid: 1000, gid: 2000, name: "dev", home: "/mnt/dev", shell: "/bin/bash"}},
		{spec: "12:34", want: identity{uid: 12, gid: 34, home: "/"}},
		{spec: ":34", want: identity{gid: 34, name: "root", home: "/root", shell: "/bin/bash"}},
		{spec: "nobody", err: "does not exist"},
		{spec: "dev:nobody", err: "does not exist"},
		{spec: "4294967295", err: "does not exist"},
		{spec: "-1", err: "does not exist"},
		{spec: "root", passwd: "\n", want: identity{name: "root", home: "/"}},
		{spec: "a", passwd: "a:x:1:2:x:/home/a:/bin/sh", group: "g:x:7:b,a,c", want: identity{uid: 1, gid: 2, groups: []uint32{7}, name: "a", home: "/home/a", shell: "/bin/sh"}},
		{spec: "a", passwd: "a:x:99999999999:2:x:/home/a:/bin/sh\na:x:1:2:x:/home/a:/bin/sh\r\n", group: "\n", want: identity{uid: 1, gid: 2, name: "a", home: "/home/a", shell: "/bin/sh"}},
		{spec: "a", passwd: "#a:x:1:2:x:/:/bin/sh\n:x:1:2:::\na:x\n", err: "does not exist"},
	} {
		passwd, group := tt.passwd, tt.group
		if passwd == "" {
			passwd = testPasswd
		}
		if group == "" {
			group = testGroup
		}
		got, err := lookupUser(tt.spec, []byte(passwd), []byte(group))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: got %+v, %v", tt.spec, got, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(*got, tt.want) {
			t.Errorf("%q: got %+v, %v, want %+v", tt.spec, got, err, tt.want)
		}
	}
}

func FuzzLookupUser(f *testing.F) {
	f.Add("dev", []byte(testPasswd), []byte(testGroup))
	f.Add("1000:build", []byte(testPasswd), []byte(testGroup))
	f.Add("", []byte(":::::::\n\x00"), []byte(strings.Repeat("g:x:1:dev\n", 3000)))
	f.Fuzz(func(t *testing.T, spec string, passwd, group []byte) {
		id, err := lookupUser(spec, passwd, group)
		if err != nil {
			return
		}
		if id.uid == 1<<32-1 || id.gid == 1<<32-1 || len(id.groups) > maxGroups || !strings.HasPrefix(id.home, "/") {
			t.Errorf("%q: %+v", spec, id)
		}
	})
}

func TestReadUserFile(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if b, err := readUserFile(path("none")); err != nil || len(b) != 0 {
		t.Errorf("no file: %q, %v", b, err)
	}
	if err := os.WriteFile(path("file"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := readUserFile(path("file")); err != nil || string(b) != "text" {
		t.Errorf("file: %q, %v", b, err)
	}
	if err := os.WriteFile(path("big"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path("big"), 1<<40); err != nil {
		t.Fatal(err)
	}
	// Opening it the usual way would wait for a writer.
	if err := unix.Mkfifo(path("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"big", "pipe", "."} {
		if b, err := readUserFile(path(name)); err == nil {
			t.Errorf("%s: read %d bytes", name, len(b))
		}
	}
}
