package assets_test

import (
	"archive/zip"
	"bufio"
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cove/assets"
	"cove/config"
)

func profiles() *config.Profiles { return &config.Profiles{BuiltIn: assets.Profiles()} }

func resolve(t *testing.T, name string) config.Spec {
	t.Helper()
	p, err := profiles().Resolve(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	return p.Spec
}

// Every built-in profile is valid, enforced, described, and safe in what all of
// them promise.
func TestBuiltInProfiles(t *testing.T) {
	entries, err := profiles().List()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
		if e.Err != nil {
			t.Errorf("%s: %v", e.Name, e.Err)
		}
		if e.Description == "" || e.Shadowed || e.Source.Kind != config.SourceBuiltIn {
			t.Errorf("%+v", e)
		}
		s := resolve(t, e.Name)
		if s.Image != "host" || s.Network.BlockAll != (e.Name == "untrusted") || s.User != "dev" || s.Workdir != "/workspace" || s.Resources.Pids == 0 || s.Resources.Memory == 0 {
			t.Errorf("%s: %+v", e.Name, s)
		}
		if path := s.Env["PATH"].Value; path != config.DefaultPath && !strings.HasSuffix(path, ":"+config.DefaultPath) {
			t.Errorf("%s: PATH is %s", e.Name, path)
		}
	}
	want := []string{"base", "claude", "codex", "go", "node", "opencode", "python", "shell", "untrusted"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	files, err := fs.Glob(assets.Profiles(), "*")
	if err != nil || len(files) != len(want) {
		t.Errorf("%v, %v", files, err)
	}
}

// An agent's profile names its program and how to get it, takes its keys from
// whoever has them, and starts without.
func TestAgents(t *testing.T) {
	for name, key := range map[string]string{"claude": "ANTHROPIC_API_KEY", "codex": "OPENAI_API_KEY", "opencode": "OPENAI_API_KEY"} {
		s := resolve(t, name)
		if len(s.Command) != 1 || s.Command[0] != name || !strings.HasPrefix(s.Install, "npm install -g ") {
			t.Errorf("%s: %q, %q", name, s.Command, s.Install)
		}
		if !strings.HasPrefix(s.Env["PATH"].Value, s.Env["NPM_CONFIG_PREFIX"].Value+"/bin:") {
			t.Errorf("%s: what npm installs is not found on %s", name, s.Env["PATH"].Value)
		}
		values, missing := s.Secrets(func(name string) (string, bool) { return "v", name == key })
		if len(missing) != 0 || len(values) != 1 || values[key] != "v" {
			t.Errorf("%s: %v, missing %v", name, values, missing)
		}
	}
}

func TestUntrusted(t *testing.T) {
	s, base := resolve(t, "untrusted"), resolve(t, "base")
	if !s.NoNewPrivileges || s.Git.Identity || !base.Git.Identity || !s.Automation.Ephemeral() || base.Automation.Ephemeral() ||
		s.Resources.CPU >= base.Resources.CPU || s.Resources.Memory >= base.Resources.Memory || s.Resources.Pids >= base.Resources.Pids || s.Resources.Swap != 0 {
		t.Errorf("%+v", s)
	}
}

func TestDefaultProfileIsBuiltIn(t *testing.T) {
	p, err := profiles().Default(config.DefaultSettings())
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "shell" || p.Spec.Language != "bash" {
		t.Errorf("%+v", p)
	}
}

// The setup of the python profile makes an environment in which this
// machine's interpreter runs, to which pip installs, and it may run twice: a
// creation that was interrupted begins anew.
func TestPythonEnvironment(t *testing.T) {
	const python = "/usr/bin/python3"
	if _, err := os.Stat(python); err != nil {
		t.Skip("no " + python)
	}
	s := resolve(t, "python")
	venv := filepath.Join(t.TempDir(), ".venv")
	home := strings.TrimSuffix(s.Env["VIRTUAL_ENV"].Value, "/.venv")
	if home != "/home/dev" {
		t.Fatalf("VIRTUAL_ENV is %q", s.Env["VIRTUAL_ENV"].Value)
	}
	env := []string{"HOME=" + filepath.Dir(venv), "PIP_CONFIG_FILE=/dev/null"}
	for name, v := range s.Env {
		env = append(env, name+"="+strings.ReplaceAll(v.Value, home, filepath.Dir(venv)))
	}
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = env
		cmd.Dir = filepath.Dir(venv)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	for range 2 {
		for _, step := range s.Setup {
			run("/bin/sh", "-c", step)
		}
	}
	const where = "import sys; print(sys.prefix, sys.base_prefix)"
	for _, name := range []string{"python3", "python"} {
		if got := run("/bin/sh", "-c", name+" -c '"+where+"'"); got != venv+" /usr" {
			t.Errorf("%s: %q", name, got)
		}
	}
	// The profile's own shell must leave PATH alone.
	shell := slices.Concat(s.Shell, []string{"-i", "-c", "command -v python3"})
	if got := run(shell[0], shell[1:]...); !strings.HasSuffix(got, venv+"/bin/python3") {
		t.Errorf("in the shell: %q", got)
	}
	if exec.Command(python, "-m", "pip", "--version").Run() != nil {
		t.Skip("this machine has no pip")
	}
	wheel := filepath.Join(filepath.Dir(venv), "covetest-1-py3-none-any.whl")
	writeWheel(t, wheel)
	run("/bin/sh", "-c", "pip install --no-index --no-deps "+wheel)
	got := run("/bin/sh", "-c", "python3 -c 'import covetest; print(covetest.__file__)'")
	if !strings.HasPrefix(got, venv+"/lib/python3.") {
		t.Errorf("installed to %s", got)
	}
	if got := run("/bin/sh", "-c", "covetest"); got != "42" {
		t.Errorf("its command printed %q", got)
	}
}

// writeWheel makes the smallest wheel that has a module and a command.
func writeWheel(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(f)
	for _, file := range [][2]string{
		{"covetest.py", "def main():\n    print(42)\n"},
		{"covetest-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: covetest\nVersion: 1\n"},
		{"covetest-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{"covetest-1.dist-info/entry_points.txt", "[console_scripts]\ncovetest = covetest:main\n"},
		{"covetest-1.dist-info/RECORD", "covetest.py,,\ncovetest-1.dist-info/METADATA,,\ncovetest-1.dist-info/WHEEL,,\ncovetest-1.dist-info/entry_points.txt,,\ncovetest-1.dist-info/RECORD,,\n"},
	} {
		part, err := w.Create(file[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Write([]byte(file[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// What the daemon relies on under systemd.
func TestUnit(t *testing.T) {
	var lines []string
	unit, err := os.ReadFile("systemd/cove.service")
	if err != nil {
		t.Fatal(err)
	}
	for scan := bufio.NewScanner(bytes.NewReader(unit)); scan.Scan(); {
		lines = append(lines, scan.Text())
	}
	for _, want := range []string{
		"ExecStart=/usr/local/bin/cove daemon run", "Delegate=yes", "KillMode=process", "OOMPolicy=continue",
		"StateDirectory=cove", "StateDirectoryMode=0700",
		"RuntimeDirectory=cove", "RuntimeDirectoryMode=0711", "RuntimeDirectoryPreserve=yes",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q", want)
		}
	}
}
