package config

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// MissingCommand says in one line, for a person, that the program of the Spec's
// Command is not there, and how it can be had.
func MissingCommand(s Spec) string {
	if len(s.Command) == 0 {
		return ""
	}
	line := clip(clean(s.Command[0])) + " is not installed here"
	if s.Install != "" {
		line += "; to install it: " + clean(s.Install)
	}
	return line
}

// CommandError is a Command whose program sandboxes of this machine's own system
// would not find.
type CommandError struct {
	Program string
	// Elsewhere is where the caller has it, in a place that sandboxes do not
	// see; or "".
	Elsewhere string
	Install   string // [Spec.Install]
}

func (e *CommandError) Error() string {
	var b strings.Builder
	b.WriteString(clean(e.Program))
	if e.Elsewhere != "" {
		fmt.Fprintf(&b, " is at %s, which sandboxes do not see: of this machine they see what is in /usr", clean(e.Elsewhere))
	} else {
		b.WriteString(" is not installed on this machine where sandboxes see it, in /usr or /usr/local")
	}
	return b.String()
}

// FindCommand looks, as the calling process, whether the program of the Spec's
// Command is there in a new sandbox whose system is that at root ("/"), and
// returns a *[CommandError] when it is not. What cannot be told from outside
// passes: another image, a program that a setup step may install, or that may
// be in a directory which is mounted. callerPath is the caller's own PATH.
func FindCommand(root string, s Spec, callerPath string) error {
	if len(s.Command) == 0 || s.Image != "host" || len(s.Setup) > 0 {
		return nil
	}
	program := s.Command[0]
	candidates := []string{program}
	if !strings.Contains(program, "/") {
		candidates = nil
		searched := DefaultPath
		if v, ok := s.Env["PATH"]; ok {
			searched = v.Value
		}
		for dir := range strings.SplitSeq(searched, ":") {
			if path.IsAbs(dir) {
				candidates = append(candidates, path.Join(dir, program))
			}
		}
	}
	for _, c := range candidates {
		if s.brings(c) || visible(root, c) {
			return nil
		}
	}
	e := &CommandError{Program: program, Install: s.Install}
	for dir := range strings.SplitSeq(callerPath, ":") {
		if at := filepath.Join(dir, path.Base(program)); filepath.IsAbs(dir) && executable(at) {
			e.Elsewhere = at
			break
		}
	}
	return e
}

// brings tells whether a path inside comes from outside of the image.
func (s Spec) brings(name string) bool {
	if !path.IsAbs(name) {
		return true // relative to the working directory
	}
	for _, t := range s.Targets() {
		if name == t || strings.HasPrefix(name, strings.TrimSuffix(t, "/")+"/") {
			return true
		}
	}
	return false
}

// visible tells whether a program of the system at root is there in its
// sandboxes: in /usr, links and all.
func visible(root, name string) bool {
	real, err := filepath.EvalSymlinks(filepath.Join(root, name))
	if err != nil {
		return false
	}
	usr, err := filepath.EvalSymlinks(filepath.Join(root, "usr"))
	return err == nil && strings.HasPrefix(real, usr+"/") && executable(real)
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
