package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// TrustEntry is one profile of a project that its user trusts: as long as it,
// and what it extends in files of projects, has this content.
type TrustEntry struct {
	// Path is the file, absolute and without symbolic links.
	Path string `json:"path"`
	// SHA256 is over all files of the chain that are the project's.
	SHA256 string    `json:"sha256"`
	Since  time.Time `json:"since"`
}

// Trust is what one user trusts, kept in a file of that user's. It is used by
// one goroutine.
type Trust struct {
	path    string
	entries []TrustEntry
}

// maxTrust is the longest file of trust, in bytes.
const maxTrust = 8 << 20

// TrustFile is where the user's trust is kept, by getenv ([os.Getenv]):
// $XDG_STATE_HOME/cove/trust.json, or $HOME/.local/state/cove/trust.json; empty
// when neither is set to an absolute path.
func TrustFile(getenv func(string) string) string {
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "cove", "trust.json")
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "cove", "trust.json")
	}
	return ""
}

// LoadTrust reads what the calling user trusts; a file that is not there, and
// a path that is "", trusts nothing. A file that somebody else could have
// written is an error.
func LoadTrust(path string) (*Trust, error) {
	t := &Trust{path: path}
	if path == "" {
		return t, nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if absent(err) {
		return t, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what you trust: %w", err)
	}
	text, err := readOwn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read what you trust: %s: %w", clean(path), err)
	}
	if err := json.Unmarshal(text, &t.entries); err != nil {
		return nil, fmt.Errorf("read what you trust: %s: %w; remove it to begin anew", clean(path), err)
	}
	return t, nil
}

func readOwn(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("it is not yours alone: uid %d with mode %#o; chown it and chmod 600", st.Uid, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxTrust+1))
	if err == nil && len(text) > maxTrust {
		err = fmt.Errorf("it is longer than %d bytes", maxTrust)
	}
	return text, err
}

// Entries lists what is trusted, by path.
func (t *Trust) Entries() []TrustEntry { return slices.Clone(t.entries) }

// Has tells whether the profile is trusted as it is now.
func (t *Trust) Has(p Project) bool {
	return slices.ContainsFunc(t.entries, func(e TrustEntry) bool { return e.Path == p.Path && e.SHA256 == p.SHA256 })
}

// Add trusts the profile as it is now, and no longer as it was, and saves that.
func (t *Trust) Add(p Project, now time.Time) error {
	entries := slices.DeleteFunc(slices.Clone(t.entries), func(e TrustEntry) bool { return e.Path == p.Path })
	entries = append(entries, TrustEntry{Path: p.Path, SHA256: p.SHA256, Since: now.UTC().Truncate(time.Second)})
	slices.SortFunc(entries, func(a, b TrustEntry) int { return cmp.Compare(a.Path, b.Path) })
	return t.save(entries)
}

// Remove trusts the file no longer, and tells whether it was trusted.
func (t *Trust) Remove(path string) (bool, error) {
	entries := slices.DeleteFunc(slices.Clone(t.entries), func(e TrustEntry) bool { return e.Path == path })
	if len(entries) == len(t.entries) {
		return false, nil
	}
	return true, t.save(entries)
}

// save replaces the file.
func (t *Trust) save(entries []TrustEntry) (err error) {
	if t.path == "" {
		return errors.New("there is no place to keep what you trust: neither HOME nor XDG_STATE_HOME is set")
	}
	text, err := json.MarshalIndent(entries, "", "  ")
	if err != nil {
		return fmt.Errorf("keep what you trust: %w", err)
	}
	dir := filepath.Dir(t.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keep what you trust: %w", err)
	}
	f, err := os.CreateTemp(dir, ".trust-*") // 0600
	if err != nil {
		return fmt.Errorf("keep what you trust: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("keep what you trust: %w", err)
		}
	}()
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), t.path); err != nil {
		return err
	}
	t.entries = entries
	return nil
}

// Project is the part of a profile that comes from files of a project, which
// may be a stranger's: ./cove.toml, what is in ./.cove/, and any other file but
// those of the user's and the machine's own configuration.
type Project struct {
	// Path is the first of these files, absolute and without symbolic links.
	Path string
	// SHA256 is over the paths and contents of all of them.
	SHA256 string
	// Trusted says that the user trusts them as they are.
	Trusted bool
	// Beyond is what the profile asks for over what the user's default profile
	// grants, each in words and with the place it is written at.
	Beyond []Problem
	// Setup are the last of the profile's steps of setup: those behind what its
	// files extend that is no project's.
	Setup []string
}

// strangers tells whether a file may be somebody else's than the user's or the
// machine administrator's.
func (p *Profiles) strangers(l *layer) bool {
	switch l.source.Kind {
	case SourceProject:
		return true
	case SourceFile:
		for _, own := range []string{p.UserDir, p.SystemDir} {
			if own != "" && below(l.dir, own) {
				return false
			}
		}
		return true
	case SourceUser, SourceSystem, SourceBuiltIn:
	}
	return false
}

// projectDir is the project that a file belongs to.
func projectDir(l *layer) string {
	if filepath.Base(l.dir) == ".cove" {
		return filepath.Dir(l.dir)
	}
	return l.dir
}

// inspect finds out what of a profile is a project's, and what that asks for.
// It is nil when nothing is.
func (p *Profiles) inspect(profile *Profile, chain []link) (*Project, error) {
	sum := sha256.New()
	var first *layer
	for _, l := range chain {
		if !p.strangers(l.layer) {
			continue
		}
		if first == nil {
			first = l.layer
		}
		for _, part := range [][]byte{[]byte(l.id()), l.text} {
			sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
			sum.Write(part)
		}
	}
	if first == nil {
		return nil, nil
	}
	path, err := filepath.EvalSymlinks(first.id())
	if err != nil {
		return nil, fmt.Errorf("find the profile's file: %w", err)
	}
	project := &Project{Path: path, SHA256: hex.EncodeToString(sum.Sum(nil))}
	trust, err := LoadTrust(p.TrustFile)
	if err != nil {
		return nil, err
	}
	project.Trusted = trust.Has(*project)
	granted, err := p.granted()
	if err != nil {
		return nil, err
	}
	inherited := Defaults()
	last := len(chain) - 1
	for last > 0 && !p.strangers(chain[last].layer) {
		last--
	}
	if last+1 < len(chain) {
		own, _, err := p.combine(chain[last+1].layer)
		if err != nil {
			return nil, err
		}
		inherited = own.Spec
	}
	project.Setup = stepsBehind(profile.Spec.Setup, inherited.Setup)
	// One by one: they stay in the order of what matters most.
	for _, asked := range beyond(profile.Spec, granted, inherited, projectDir(first)) {
		project.Beyond = append(project.Beyond, profile.located([]Problem{asked})...)
	}
	return project, nil
}

// granted is what the user's default profile gives.
func (p *Profiles) granted() (Spec, error) {
	settings, err := LoadSettings(p.SystemDir, p.UserDir)
	if err != nil {
		return Spec{}, err
	}
	l, err := p.find(settings.DefaultProfile, SourceUser)
	if err != nil {
		return Spec{}, fmt.Errorf("default profile: %w", err)
	}
	profile, _, err := p.combine(l)
	if err != nil {
		return Spec{}, fmt.Errorf("default profile: %w", err)
	}
	return profile.Spec, nil
}

// Own resolves the project's own profile, ./cove.toml; nil when there is none.
// Errors are those of [Profiles.Resolve].
func (p *Profiles) Own() (*Profile, error) {
	if p.Dir == "" {
		return nil, nil
	}
	l, err := p.open("./"+ProjectFile, p.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return p.resolve(l)
}

// untrusted is what keeps the profile of a project from being used.
func (p *Profile) untrusted() []Problem {
	if p.Project == nil || p.Project.Trusted {
		return nil
	}
	if len(p.Project.Beyond) == 0 {
		return nil
	}
	// One is enough to refuse it; "cove trust" tells all.
	first := p.Project.Beyond[0]
	const room = 300 // for one line; what is cut off "cove trust" tells
	if len(first.Message) > room {
		first.Message = strings.ToValidUTF8(first.Message[:room], "") + "…"
	}
	first.Message = "it is not trusted, and " + first.Message
	if n := len(p.Project.Beyond) - 1; n > 0 {
		first.Message += fmt.Sprintf(", and asks for %d more", n)
	}
	first.Hint = "to be told all, and to trust it: cove trust " + clean(p.file)
	return []Problem{first}
}
