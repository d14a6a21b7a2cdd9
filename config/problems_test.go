package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// builtIn stands in for the built-in profiles.
func builtIn() fstest.MapFS {
	return fstest.MapFS{
		"base.toml":  {Data: []byte("description = \"the base\"\nno_new_privileges = false\n[network]\nblock_all = true\n[env]\nPATH = \"/bin\"\nA = \"base\"\n[labels]\nfrom = \"base\"\n")},
		"shell.toml": {Data: []byte("extends = \"base\"\ndescription = \"a shell\"\nlanguage = \"bash\"\n")},
	}
}

// Every file of testdata/problems has its lines of errors beside it. They are
// written anew with COVE_UPDATE=1.
func TestProblemLines(t *testing.T) {
	files, err := filepath.Glob("testdata/problems/*.toml")
	noError(t, err)
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			dir := t.TempDir()
			text, err := os.ReadFile(file)
			noError(t, err)
			name := filepath.Base(file)
			noError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
			p := &Profiles{Dir: dir, BuiltIn: builtIn()}
			profile, err := p.Resolve("./" + name)
			if err == nil {
				err = profile.Valid()
			}
			var problems *ProfileError
			if !errors.As(err, &problems) {
				t.Fatalf("want a ProfileError, got %v", err)
			}
			got := strings.ReplaceAll(err.Error(), dir, "DIR") + "\n"
			if n := strings.Count(got, "\n"); n != len(problems.Problems) {
				t.Errorf("%d problems on %d lines", len(problems.Problems), n)
			}
			golden := strings.TrimSuffix(file, ".toml") + ".golden"
			if os.Getenv("COVE_UPDATE") != "" {
				noError(t, os.WriteFile(golden, []byte(got), 0o600))
			}
			want, err := os.ReadFile(golden)
			noError(t, err)
			equal(t, strings.Split(string(want), "\n"), strings.Split(got, "\n"))
		})
	}
}

func TestProblemString(t *testing.T) {
	for want, p := range map[string]Problem{
		"f.toml:3:5: a.b: bad; do this": {File: "f.toml", Line: 3, Column: 5, Key: "a.b", Message: "bad", Hint: "do this"},
		"f.toml:3: bad":                 {File: "f.toml", Line: 3, Message: "bad"},
		"--cpu: bad":                    {File: "--cpu", Message: "bad"},
		"image: bad":                    {Key: "image", Message: "bad"},
		"a?[31mb: x??y?z":               {Key: "a\x1b[31mb", Message: "x\r\ny\u202ez"},
	} {
		equal(t, want, p.String())
	}
}

// A key of the schema that a profile sets must be known, and one letter off
// must not be.
func TestEveryKeyIsKnown(t *testing.T) {
	var s Spec
	var h header
	keys := profileFields(&s, &h).keys("")
	want := []string{
		"automation", "automation.activity", "automation.auto_archive", "automation.auto_delete", "automation.auto_pause",
		"automation.auto_stop", "automation.pre_stop", "automation.pre_stop_timeout", "automation.stop_timeout", "automation.ttl",
		"command", "description", "env", "extends", "git", "git.email", "git.identity", "git.name", "image", "install", "labels", "language", "mounts", "network", "network.allow", "network.ask",
		"network.block_all", "network.deny", "network.domains", "network.host_ports", "network.lan", "no_new_privileges", "ports",
		"resources", "resources.all_cpus", "resources.cpu", "resources.disk", "resources.disk_reserve", "resources.gpu", "resources.gpu_shared",
		"resources.io_read", "resources.io_write", "resources.memory", "resources.pids", "resources.swap", "runtime", "setup", "shell",
		"user", "volumes", "workdir",
	}
	equal(t, want, keys)
	for _, key := range keys {
		if strings.HasPrefix(key, "network.") && !slices.Contains([]string{"network.ask", "network.lan"}, key) {
			doc, problem := parse("f", []byte(key+"x = 1"))
			if problem != nil {
				t.Fatal(problem)
			}
			problems := decode(doc, profileFields(&s, &h), origins{})
			if len(problems) != 1 || !strings.Contains(problems[0].Hint, `"`+key+`"`) {
				t.Errorf("%s: %v", key, lines(problems))
			}
		}
	}
}

// No text makes the reading of a profile panic, every problem has a message
// and stays on one line, and a profile that passes the check is one whose Spec
// the daemon takes too.
func FuzzProfile(f *testing.F) {
	files, err := filepath.Glob("testdata/problems/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("extends = \"shell\"\n[env]\nA = {from = \"env\"}\n[automation]\nauto_delete = \"0\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		p := &Profiles{BuiltIn: fstest.MapFS{"fuzz.toml": {Data: []byte(text)}, "base.toml": builtIn()["base.toml"], "shell.toml": builtIn()["shell.toml"]}}
		profile, err := p.Resolve("fuzz")
		if err == nil {
			err = profile.Check()
		}
		var problems *ProfileError
		switch {
		case errors.As(err, &problems):
			for _, pr := range problems.Problems {
				if line := pr.String(); pr.Message == "" || strings.ContainsFunc(line, unsafeRune) || pr.File == "" {
					t.Fatalf("%q from %q", line, text)
				}
			}
		case err != nil:
			t.Fatalf("%v from %q", err, text)
		case len(profile.Spec.Validate()) > 0 || len(Unenforced(profile.Spec)) > 0:
			t.Fatalf("passed the check: %+v", profile.Spec)
		}
	})
}
