package config

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Where a daemon keeps its things unless the environment says otherwise.
const (
	DefaultStateDir = "/var/lib/cove"
	DefaultRunDir   = "/run/cove"
)

// Dirs are the two directories that make one daemon: what survives a reboot,
// and what does not.
type Dirs struct {
	State string
	Run   string
}

// DirsFromEnv reads COVE_STATE_DIR and COVE_RUN_DIR by getenv ([os.Getenv]);
// unset or empty is [DefaultStateDir] and [DefaultRunDir]. A path that is not
// absolute and clean is an error: the daemon and its clients run in different
// directories and must mean the same place.
func DirsFromEnv(getenv func(string) string) (Dirs, error) {
	state, err := dirFromEnv(getenv, "COVE_STATE_DIR", DefaultStateDir)
	if err != nil {
		return Dirs{}, err
	}
	run, err := dirFromEnv(getenv, "COVE_RUN_DIR", DefaultRunDir)
	if err != nil {
		return Dirs{}, err
	}
	d := Dirs{State: state, Run: run}
	if state == run {
		return Dirs{}, fmt.Errorf("COVE_STATE_DIR and COVE_RUN_DIR are both %s: they must differ", quote(state))
	}
	// sun_path is 108 bytes with its NUL (unix(7)).
	if n := len(d.Socket()); n > 107 {
		return Dirs{}, fmt.Errorf("COVE_RUN_DIR %s is too long: the path of its socket is %d bytes, at most 107 work", quote(run), n)
	}
	return d, nil
}

func dirFromEnv(getenv func(string) string, name, byDefault string) (string, error) {
	dir := getenv(name)
	switch {
	case dir == "":
		return byDefault, nil
	case !filepath.IsAbs(dir):
		return "", fmt.Errorf("%s is %s: want an absolute path", name, quote(dir))
	case filepath.Clean(dir) != dir:
		return "", fmt.Errorf("%s is %s: want a clean path, %s", name, quote(dir), quote(filepath.Clean(dir)))
	case dir == "/":
		return "", fmt.Errorf("%s is the root directory: want a directory of its own", name)
	}
	return dir, nil
}

// CDIDirsVar is the environment variable that names the directories in which a
// daemon looks for CDI specifications of GPUs, separated by colons. Set, it looks
// nowhere else; it uses no directory that others than root can change.
const CDIDirsVar = "COVE_CDI_DIRS"

// CDIDirsFromEnv reads [CDIDirsVar]; nil where it is unset or empty. A path that
// is not absolute and clean is an error.
func CDIDirsFromEnv(getenv func(string) string) ([]string, error) {
	text := getenv(CDIDirsVar)
	if text == "" {
		return nil, nil
	}
	dirs := strings.Split(text, ":")
	for _, dir := range dirs {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
			return nil, fmt.Errorf("%s is %s: want clean absolute paths with colons between", CDIDirsVar, quote(text))
		}
	}
	return dirs, nil
}

// Socket is the path of the daemon's socket.
func (d Dirs) Socket() string { return filepath.Join(d.Run, "cove.sock") }
