package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxFile is the longest profile or settings file, in bytes.
const maxFile = 64 << 10

// ProjectFile is the project's own profile, beside which .cove/ may stand.
const ProjectFile = "cove.toml"

// SourceKind is the kind of place a profile comes from. Kinds are in the order
// of look-up: an earlier one shadows a later one of the same name.
type SourceKind int

// The kinds of places.
const (
	// SourceFile is a file that was named by its path.
	SourceFile SourceKind = iota
	// SourceProject is ./.cove/NAME.toml. Like any file of a project it may
	// come from a stranger's clone.
	SourceProject
	// SourceUser is $XDG_CONFIG_HOME/cove/profiles/NAME.toml.
	SourceUser
	// SourceSystem is /etc/cove/profiles/NAME.toml.
	SourceSystem
	// SourceBuiltIn is part of the program.
	SourceBuiltIn
)

// Source is where a profile comes from.
type Source struct {
	Kind SourceKind
	// Path is the file, empty for SourceBuiltIn. Below the current
	// directory it is relative to it.
	Path string
}

// String is the path, or "built-in".
func (s Source) String() string {
	if s.Kind == SourceBuiltIn {
		return "built-in"
	}
	return s.Path
}

// Profiles finds profiles. It reads files as the calling process, so it belongs
// in the command line and the TUI and never in the daemon. An empty directory
// is a place that is not looked into.
type Profiles struct {
	// Dir is the directory cove was called in: the place of .cove/ and
	// cove.toml, and what relative paths are relative to. It is absolute.
	Dir string
	// UserDir is the user's configuration directory (see [UserDir]).
	UserDir string
	// SystemDir is /etc/cove.
	SystemDir string
	// Home is the user's home, which "~" in the source of a mount stands for;
	// empty leaves it as it is.
	Home string
	// TrustFile is where the user's trust is kept (see [TrustFile]); empty is
	// nowhere.
	TrustFile string
	// BuiltIn has the built-in profiles as NAME.toml at its top.
	BuiltIn fs.FS
}

// SystemDir is the machine's configuration directory.
const SystemDir = "/etc/cove"

// UserDir is the user's configuration directory, by getenv ([os.Getenv]):
// $XDG_CONFIG_HOME/cove, or $HOME/.config/cove; empty when neither is set to
// an absolute path (the XDG base directory specification has relative ones
// ignored).
func UserDir(getenv func(string) string) string {
	if dir := getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "cove")
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".config", "cove")
	}
	return ""
}

// layer is one profile file as it was found: one link of an extends chain.
type layer struct {
	name   string
	source Source
	text   []byte
	dir    string // what its relative extends is relative to; empty for built-in
}

// id names the file itself, for the discovery of cycles.
func (l *layer) id() string {
	if l.source.Kind == SourceBuiltIn {
		return "built-in:" + l.name
	}
	return filepath.Join(l.dir, filepath.Base(l.source.Path))
}

// file is how problems name the file.
func (l *layer) file() string {
	if l.source.Kind == SourceBuiltIn {
		return "built-in/" + l.name + ".toml"
	}
	return l.source.Path
}

// isPath tells a path from a profile's name.
func isPath(name string) bool {
	return strings.ContainsRune(name, '/') || strings.HasSuffix(name, ".toml")
}

// validProfileName keeps names that could be taken for something else, or
// that a terminal would act on, out of look-ups and lists.
func validProfileName(name string) bool {
	if name == "" || len(name) > 64 || strings.HasSuffix(name, ".toml") {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !letter(c) && !digit(c) && (i == 0 || strings.IndexByte("._-", c) < 0) {
			return false
		}
	}
	return true
}

// dirOf is the directory that kind looks into, or "".
func (p *Profiles) dirOf(kind SourceKind) string {
	base, sub := "", "profiles"
	switch kind {
	case SourceProject:
		base, sub = p.Dir, ".cove"
	case SourceUser:
		base = p.UserDir
	case SourceSystem:
		base = p.SystemDir
	case SourceFile, SourceBuiltIn:
	}
	if base == "" {
		return ""
	}
	return filepath.Join(base, sub)
}

// find looks a name up, beginning with the places of kind from.
func (p *Profiles) find(name string, from SourceKind) (*layer, error) {
	if !validProfileName(name) {
		return nil, &NoProfileError{Name: name, Nearest: Nearest(name, p.names(from))}
	}
	for kind := max(from, SourceProject); kind < SourceBuiltIn; kind++ {
		dir := p.dirOf(kind)
		if dir == "" {
			continue
		}
		l, err := p.read(filepath.Join(dir, name+".toml"), name, kind)
		if absent(err) {
			continue
		}
		return l, err
	}
	if p.BuiltIn != nil {
		text, err := fs.ReadFile(p.BuiltIn, name+".toml")
		if err == nil {
			return &layer{name: name, source: Source{Kind: SourceBuiltIn}, text: text}, nil
		}
		if !absent(err) {
			return nil, fmt.Errorf("read built-in profile %s: %w", name, err)
		}
	}
	return nil, &NoProfileError{Name: name, Nearest: Nearest(name, p.names(from))}
}

// open reads a profile by its path; a relative one is below dir.
func (p *Profiles) open(path, dir string) (*layer, error) {
	full := path
	if !filepath.IsAbs(full) {
		if dir == "" {
			return nil, fmt.Errorf("the profile %s is relative to no directory", quote(path))
		}
		full = filepath.Join(dir, path)
	}
	return p.read(filepath.Clean(full), filepath.Base(full), SourceFile)
}

func (p *Profiles) read(path, name string, kind SourceKind) (*layer, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return &layer{name: name, source: Source{kind, p.display(path)}, text: text, dir: filepath.Dir(path)}, nil
}

// display shortens a path below the current directory.
func (p *Profiles) display(path string) string {
	if p.Dir == "" {
		return path
	}
	if rel, err := filepath.Rel(p.Dir, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// absent tells that a file is simply not there. One that is there and cannot
// be read is an error: what it shadows must not take its place.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// readFile reads a configuration file. It must be a regular one: a clone may
// hold a FIFO of that name, and opening it would wait for ever.
func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	text, err := readRegular(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", clean(path), err)
	}
	return text, nil
}

func readRegular(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("it is longer than %d bytes", maxFile)
	}
	return text, nil
}
