package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestFindCommand(t *testing.T) {
	root := t.TempDir()
	program := func(path string, mode os.FileMode) string {
		t.Helper()
		path = filepath.Join(root, path)
		noError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		noError(t, os.WriteFile(path, nil, mode))
		return path
	}
	link := func(target, path string) {
		t.Helper()
		noError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755))
		noError(t, os.Symlink(target, filepath.Join(root, path)))
	}
	program("usr/bin/there", 0o755)
	program("usr/bin/data", 0o644)
	program("usr/local/lib/node_modules/agent/cli.js", 0o755)
	link("../lib/node_modules/agent/cli.js", "usr/local/bin/linked")
	program("opt/agent/bin/opt", 0o755)
	link("../../../opt/agent/bin/opt", "usr/local/bin/opt")
	link("usr/bin", "bin")
	nvm := program("home/me/.nvm/bin/mine", 0o755)

	spec := func(command ...string) Spec {
		s := Defaults()
		s.Command, s.Install = command, "get it"
		return s
	}
	for name, s := range map[string]Spec{
		"none": Defaults(), "on PATH": spec("there", "-x"), "by path": spec("/usr/bin/there"), "by the old path": spec("/bin/there"),
		"linked": spec("linked"), "of the working directory": spec("./run.sh"),
		"of another image": func() Spec { s := spec("nowhere"); s.Image = "debian"; return s }(),
		"set up":           func() Spec { s := spec("nowhere"); s.Setup = []string{"make it"}; return s }(),
		"mounted": func() Spec {
			s := spec("/tools/agent")
			s.Mounts = []Mount{{Source: "/srv", Target: "/tools", Mode: MountRO}}
			return s
		}(),
		"on a mounted PATH": func() Spec {
			s := spec("agent")
			s.Env = map[string]EnvVar{"PATH": {Value: "/tools/bin:/usr/bin"}}
			s.Volumes = []Volume{{Name: "tools", Target: "/tools"}}
			return s
		}(),
	} {
		noError(t, FindCommand(root, s, ""), name)
	}
	for name, want := range map[string]string{"nowhere": "", "data": "", "opt": "", "mine": nvm, "/opt/agent/bin/opt": "", "/toolsx/agent": ""} {
		s := spec(name)
		s.Mounts = []Mount{{Source: "/srv", Target: "/tools", Mode: MountRO}}
		err := FindCommand(root, s, "relative:"+filepath.Dir(nvm))
		var missing *CommandError
		if !errors.As(err, &missing) {
			t.Fatalf("%s: %v", name, err)
		}
		equal(t, &CommandError{Program: name, Elsewhere: want, Install: "get it"}, missing, name)
	}
	equal(t, "agent is not installed on this machine where sandboxes see it, in /usr or /usr/local", (&CommandError{Program: "agent"}).Error())
	equal(t, "agent is at /x/agent, which sandboxes do not see: of this machine they see what is in /usr", (&CommandError{Program: "agent", Elsewhere: "/x/agent"}).Error())
	equal(t, "no?thing is not installed here; to install it: get it", MissingCommand(spec("no\nthing")))
	equal(t, "", MissingCommand(Defaults()))
}
