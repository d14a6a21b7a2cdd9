package sandbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cove/config"
)

// What git reads is what was meant, whatever is in it.
func TestGitConfig(t *testing.T) {
	if got := gitConfig(config.Spec{}); got != "" {
		t.Errorf("out of nothing: %q", got)
	}
	s := config.Spec{
		Git:     config.Git{Name: `Ann "A" O\Neill; # [x]`, Email: " a@example.org"},
		Mounts:  []config.Mount{{Target: "/work space"}, {Target: "/"}},
		Volumes: []config.Volume{{Target: "/line\nbreak"}},
	}
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git")
	}
	file := filepath.Join(t.TempDir(), "gitconfig")
	if err := os.WriteFile(file, []byte(gitConfig(s)), 0o600); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"user.name": s.Git.Name + "\x00", "user.email": s.Git.Email + "\x00",
		"safe.directory": "/work space\x00/work space/*\x00/\x00/*\x00/line\nbreak\x00/line\nbreak/*\x00",
	} {
		out, err := exec.Command("git", "config", "-z", "-f", file, "--get-all", key).CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("%s: %q, %v, want %q in\n%s", key, out, err, want, gitConfig(s))
		}
	}
	if strings.Contains(gitConfig(config.Spec{Git: s.Git}), "safe") {
		t.Error("directories are safe that nobody mounted")
	}
}
