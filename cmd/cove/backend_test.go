package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"cove/assets"
	"cove/config"
	"cove/tui"
)

// words are what a shell makes of a command line.
func words(t interface{ Fatal(...any) }, line string) []string {
	cmd := exec.Command("/bin/sh", "-c", `for a in `+line+`; do printf '%s\0' "$a"; done`)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(line, err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

// What the form shows is what makes the same sandbox: it is given to a shell,
// and its words to the real command.
func TestFormsCommandLineMakesTheSame(t *testing.T) {
	dir := openDir(t)
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	source := profileSource(&config.Profiles{Dir: dir, BuiltIn: assets.Profiles()}, "shell")
	t.Chdir(dir)
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringMatching(`[-a-zA-Z0-9 '"$\\!*?~#;&|<>()\[\]{}=,:./%日é]{0,12}`)
		name := rapid.SampledFrom([]string{"", "box", "a-1"}).Draw(rt, "name")
		profile := rapid.SampledFrom([]string{"shell", "python", "untrusted"}).Draw(rt, "profile")
		var flags []tui.Flag
		add := func(name string, values ...string) {
			if rapid.Bool().Draw(rt, "give "+name) {
				flags = append(flags, tui.Flag{Name: name, Values: values})
			}
		}
		add("image", "host")
		add("cpu", rapid.SampledFrom([]string{"0", "1.5", "2"}).Draw(rt, "cpu"))
		add("memory", rapid.SampledFrom([]string{"0", "512MiB", "4GiB"}).Draw(rt, "memory"))
		add("pids", rapid.SampledFrom([]string{"0", "64"}).Draw(rt, "pids"))
		add("block-all", rapid.SampledFrom([]string{"true", "false"}).Draw(rt, "block"))
		add("lan", rapid.SampledFrom([]string{"true", "false"}).Draw(rt, "lan"))
		add("mount", "/src"+text.Draw(rt, "source")+":/dst", "rel "+text.Draw(rt, "source")+":/dst/2:rw")
		add("env", "A="+text.Draw(rt, "value"), "HOME")
		add("label", "team="+text.Draw(rt, "label"))
		if rapid.Bool().Draw(rt, "ephemeral") { // the form gives one of them
			add("rm", "true")
		} else {
			add("auto-delete", "never")
		}

		line := tui.CreateCommand(profile, name, flags)
		argv := words(rt, line)
		if len(argv) < 2 || argv[0] != "cove" || argv[1] != "create" {
			rt.Fatalf("%q is %q", line, argv)
		}
		var got specFlags
		create := a.createCommand()
		create.ResetFlags()
		got.register(a, create)
		if err := create.ParseFlags(argv[2:]); err != nil {
			rt.Fatalf("%s: %v", line, err)
		}
		want, wantErr := source.Resolve(context.Background(), profile, flags)
		spec, err := got.resolve(a)
		if got.name != name || (err == nil) != (wantErr == nil) {
			rt.Fatalf("%s: name %q, error %v, want %v", line, got.name, err, wantErr)
		}
		if err != nil {
			if err.Error() != wantErr.Error() {
				rt.Fatalf("%s: %v, want %v", line, err, wantErr)
			}
			return
		}
		if d := cmp.Diff(want, spec); d != "" {
			rt.Fatalf("%s (-form +command):\n%s", line, d)
		}
	})
}

func TestPreviewTellsAllThatIsWrong(t *testing.T) {
	dir := openDir(t)
	source := profileSource(&config.Profiles{Dir: dir, BuiltIn: assets.Profiles()}, "shell")
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := source.Preview(context.Background(), "shell", []tui.Flag{
		{Name: "cpu", Values: []string{"two"}}, {Name: "memory", Values: []string{"4G"}},
		{Name: "mount", Values: []string{"nowhere:/a", "file:/b", ".:/c"}}, {Name: "env", Values: []string{"COVE_TEST_NOT_SET"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for _, pr := range p.Problems {
		all.WriteString(pr.String() + "\n")
	}
	for _, want := range []string{"--cpu: ", "--memory: ", "mounts[0].source: mount " + dir + "/nowhere: there is no such directory", "mounts[1].source: mount " + file + ": it is no directory"} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("%q is not in\n%s", want, all.String())
		}
	}
	if strings.Contains(all.String(), "mounts[2]") {
		t.Errorf("a directory that is there: %s", all.String())
	}
	if p.Base.Resources.CPU != 2 || len(p.Base.Mounts) != 0 || p.Base.Env["COVE_TEST_NOT_SET"] != (config.EnvVar{}) {
		t.Errorf("flags have changed what the profile is without them: %+v", p.Base)
	}
	if len(p.Missing) != 1 || p.Missing[0] != "COVE_TEST_NOT_SET" {
		t.Errorf("missing %q", p.Missing)
	}
	if _, err := source.Preview(context.Background(), "no-such", nil); err == nil {
		t.Error("a profile that is not there has a preview")
	}
}

func TestCompleteDir(t *testing.T) {
	dir := openDir(t)
	for _, d := range []string{"src/one", "src/only/deep", "srv", ".hidden", "日本"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "src", "only-a-file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("src", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for typed, want := range map[string]string{
		"s": "r", "src": "/", "src/": "on", "src/onl": "y/", "src/only/": "deep/", "l": "ink/", ".h": "idden/", ".": "", "..": "",
		"日": "本/", "nowhere": "", "nowhere/x": "", dir + "/sr": "", dir + "/srv": "/",
	} {
		if got := completeDir(dir, typed); got != want {
			t.Errorf("%q is completed by %q, want %q", typed, got, want)
		}
	}
}
