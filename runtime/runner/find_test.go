package runner

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestVersions(t *testing.T) {
	for line, want := range map[string]struct {
		version  string
		ok, safe bool
	}{
		"runc version 1.5.2":                       {"1.5.2", true, true},
		"runc version 1.5.2\nspec: 1.3.0\ngo: x\n": {"1.5.2", true, true},
		"runc version 1.0.0-rc93":                  {"1.0.0-rc.93", true, false},
		"runc version 1.0.3":                       {"1.0.3", true, false},
		"runc version 1.1.5+ds1":                   {"1.1.5", true, false},
		"runc version 1.1.15":                      {"1.1.15", true, false},
		"runc version 1.2.9":                       {"1.2.9", true, false},
		"runc version 1.3.0":                       {"1.3.0", true, false},
		"runc version 1.3.5":                       {"1.3.5", true, false},
		"runc version 1.3.6-rc.1":                  {"1.3.6-rc.1", true, false},
		"runc version 1.3.6":                       {"1.3.6", true, true},
		"runc version 1.3.10-0ubuntu1~22.04":       {"1.3.10", true, true},
		"runc version 1.4.0-rc.1":                  {"1.4.0-rc.1", true, false},
		"runc version 1.4.0":                       {"1.4.0", true, false},
		"runc version 1.4.2":                       {"1.4.2", true, false},
		"runc version 1.4.3":                       {"1.4.3", true, true},
		"runc version 1.5.0-rc.1":                  {"1.5.0-rc.1", true, false},
		"runc version 1.5.0-rc.2+dev":              {"1.5.0-rc.2", true, false},
		"runc version 1.5.0-rc.3":                  {"1.5.0-rc.3", true, true},
		"runc version 1.5.0":                       {"1.5.0", true, true},
		"runc version 1.6.0-rc.1":                  {"1.6.0-rc.1", true, true},
		"runc version 2.0.0":                       {"2.0.0", true, true},
		"runc version unknown":                     {},
		"runc version 1.5":                         {},
		"runc version 1.5.2-rc.x":                  {},
		"runc version 1.5.2evil":                   {},
		"runc version 99999999999999999999.0.0":    {},
		"crun version 1.14":                        {},
		"crun version 1.14\nrunc version 1.5.2":    {},
		"":                                         {},
	} {
		v, err := parseVersion(line)
		if (err == nil) != want.ok {
			t.Errorf("%q: %v", line, err)
			continue
		}
		if err == nil && (v.String() != want.version || v.Safe() != want.safe) {
			t.Errorf("%q: %v, safe %v", line, v, v.Safe())
		}
	}
}

func FuzzParseVersion(f *testing.F) {
	f.Add("runc version 1.5.2+dev\nspec: 1.3.0")
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parseVersion(s)
		if err != nil {
			return
		}
		if again, err := parseVersion("runc version " + v.String()); err != nil || again != v {
			t.Errorf("%q: %v, then %v, %v", s, v, again, err)
		}
	})
}

func TestFind(t *testing.T) {
	script := func(version string) string { return "#!/bin/sh\necho runc version " + version + "\n" }
	// install makes a prefix with cove in bin, and runc where it is told.
	install := func(t *testing.T, where, text string) (self, runc string) {
		t.Helper()
		prefix := t.TempDir()
		self = filepath.Join(prefix, "bin", "cove")
		runc = filepath.Join(prefix, where, "runc")
		for _, p := range []string{self, runc} {
			must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		}
		must(t, os.WriteFile(self, nil, 0o755))
		must(t, os.WriteFile(runc, []byte(text), 0o755))
		return self, runc
	}
	for _, where := range []string{"bin", "libexec/cove"} {
		self, runc := install(t, where, script("1.5.2"))
		if got, err := Find(t.Context(), self); err != nil || got != runc {
			t.Errorf("%s: %q, %v", where, got, err)
		}
	}

	self, runc := install(t, "elsewhere", script("1.5.2"))
	t.Setenv("PATH", filepath.Dir(runc)+":"+os.Getenv("PATH"))
	if got, err := Find(t.Context(), self); !errors.Is(err, ErrNotFound) {
		t.Errorf("only on PATH: %q, %v", got, err)
	}

	self, _ = install(t, "bin", script("1.1.5+ds1"))
	_, err := Find(t.Context(), self)
	var v *VersionError
	if !errors.Is(err, ErrVulnerable) || !errors.As(err, &v) || v.Version != (Version{1, 1, 5, 0}) || !strings.Contains(err.Error(), "1.1.5") {
		t.Errorf("an old one: %v", err)
	}
	self, _ = install(t, "bin", "#!/bin/sh\necho something else\n")
	if _, err := Find(t.Context(), self); !errors.Is(err, ErrVulnerable) {
		t.Errorf("not runc: %v", err)
	}
	self, _ = install(t, "bin", "#!/bin/sh\nexit 1\n")
	if _, err := Find(t.Context(), self); err == nil {
		t.Error("one that fails was found")
	}

	// A link to the program is followed, and so is one to runc.
	self, runc = install(t, "bin", script("1.5.2"))
	link := filepath.Join(t.TempDir(), "cove")
	must(t, os.Symlink(self, link))
	must(t, os.Rename(runc, runc+"-1.5"))
	must(t, os.Symlink("runc-1.5", runc))
	runc += "-1.5"
	if got, err := Find(t.Context(), link); err != nil || got != runc {
		t.Errorf("by a link: %q, %v", got, err)
	}

	for name, spoil := range map[string]func(runc string) error{
		"writable by others":  func(p string) error { return os.Chmod(p, 0o757) },
		"writable by a group": func(p string) error { return os.Chmod(p, 0o775) },
		"directory writable":  func(p string) error { return os.Chmod(filepath.Dir(p), 0o777) },
		"another's":           func(p string) error { return os.Chown(p, 4711, 0) },
		"another's directory": func(p string) error { return os.Chown(filepath.Dir(p), 4711, 0) },
		"a link in a directory of others": func(p string) error {
			return errors.Join(os.Rename(p, p+"-1.5"), os.Symlink("runc-1.5", p), os.Chmod(filepath.Dir(p), 0o777))
		},
		"not executable": func(p string) error { return os.Chmod(p, 0o644) },
		"a directory": func(p string) error {
			return errors.Join(os.Remove(p), os.Mkdir(p, 0o755))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if os.Geteuid() != 0 {
				t.Skip("only root trusts nobody")
			}
			self, runc := install(t, "bin", script("1.5.2"))
			must(t, spoil(runc))
			if got, err := Find(t.Context(), self); !errors.Is(err, ErrUntrusted) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	t.Run("all is the builder's", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("only root gives files away")
		}
		self, runc := install(t, "bin", script("1.5.2"))
		must(t, filepath.WalkDir(filepath.Dir(runc), func(p string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Chown(p, 4711, 4711))
		}))
		if got, err := Find(t.Context(), self); err != nil || got != runc {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// The runc that this repository builds is one that it takes.
func TestFindBuilt(t *testing.T) {
	r := realRunc(t)
	if got, err := Find(t.Context(), r.Binary); err != nil || got != r.Binary {
		t.Errorf("%q, %v", got, err)
	}
}
