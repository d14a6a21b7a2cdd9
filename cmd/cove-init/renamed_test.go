package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestRenamed(t *testing.T) {
	for _, c := range []struct {
		edit            func(string, string, []byte) []byte
		text, old, want string
	}{
		{editHostname, "web\n", "web", "shop\n"},
		{editHostname, "mine\n", "web", "mine\n"},
		{editHostname, "web\n", "", "web\n"},
		{editHosts, "127.0.0.1\tlocalhost\n127.0.1.1\tweb\n", "web", "127.0.0.1\tlocalhost\n127.0.1.1\tshop\n"},
		{editHosts, "127.0.1.1\tweb", "web", "127.0.1.1\tshop\n"},
		{editHosts, "127.0.1.1\tweb www\n# web\n", "web", "127.0.1.1\tweb www\n# web\n"},
	} {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		err := renamed(path, c.old, "shop", c.edit)
		got, rerr := os.ReadFile(path)
		if err != nil || rerr != nil || string(got) != c.want {
			t.Errorf("%q of %q: %q, want %q (%v)", c.text, c.old, got, c.want, err)
		}
	}
	dir := t.TempDir()
	fifo, link := filepath.Join(dir, "fifo"), filepath.Join(dir, "link")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hosts", link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, link, dir, filepath.Join(dir, "none")} {
		if renamed(path, "web", "shop", editHosts) == nil {
			t.Errorf("%s was taken for a file", path)
		}
	}
}
