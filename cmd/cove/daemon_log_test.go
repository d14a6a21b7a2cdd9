package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestOpenRunDir(t *testing.T) {
	base := t.TempDir()
	path := filepath.Join(base, "a", "run")
	dir, err := openRunDir(path)
	if err != nil {
		t.Fatal(err)
	}
	closeQuietly(dir)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	open := filepath.Join(base, "open")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(base, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{open, link, file} {
		if dir, err := openRunDir(bad); err == nil {
			closeQuietly(dir)
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestDaemonLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run")
	dir, err := openRunDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer closeQuietly(dir)
	write := func(text string) {
		t.Helper()
		log, err := openDaemonLog(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer closeQuietly(log)
		if _, err := log.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(path, daemonLog)
	write("one\n")
	write("two\n")
	if got, err := os.ReadFile(name); err != nil || string(got) != "one\ntwo\n" {
		t.Errorf("the log holds %q, %v", got, err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v, %v", info.Mode(), err)
	}
	for range 2 {
		if err := os.Truncate(name, maxDaemonLog); err != nil {
			t.Fatal(err)
		}
		write("new\n")
		if got, err := os.ReadFile(name); err != nil || string(got) != "new\n" {
			t.Errorf("after it grew the log holds %d bytes, %v", len(got), err)
		}
	}
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) != 2 {
		t.Errorf("%d files, %v: want the log and the one before", len(entries), err)
	}
	// A planted link is not followed.
	if err := errors.Join(os.Remove(name), os.Symlink("/dev/null", name)); err != nil {
		t.Fatal(err)
	}
	if log, err := openDaemonLog(dir); err == nil {
		closeQuietly(log)
		t.Error("a symbolic link is followed")
	}
}
