package config

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// maxExtends is the longest chain of profiles that extend each other.
const maxExtends = 16

// Profile is a resolved profile: a Spec, and the memory of where each of its
// values is written. It is used by one goroutine.
type Profile struct {
	Name   string
	Source Source
	// Spec is complete. [Profile.Check] tells whether it can be used.
	Spec Spec
	// Project is the part that comes from files of a project; nil when
	// nothing does. It tells of the files, not of flags over them.
	Project *Project

	dir     string // what a relative source of a mount is relative to
	home    string // what "~" in one stands for
	file    string // how problems name the profile's own file
	origins origins
}

// Resolve finds a profile and puts its chain of extends together over
// [Defaults]: tables merge, lists and values replace, but for the steps of setup,
// which come behind those of what is extended; an empty list takes those away. A
// name with a slash, or that ends in ".toml", is a path; a name is looked up in ./.cove/, the user's
// and the machine's directory and the built-in ones.
//
// Errors: *[NoProfileError], which is [io/fs.ErrNotExist], when there is no
// such profile; *[ProfileError] with all problems when its text is wrong; an
// error of the file system. What is right as text and wrong as a Spec, or not
// enforced, [Profile.Check] tells: flags may still change it.
func (p *Profiles) Resolve(name string) (*Profile, error) {
	var l *layer
	var err error
	if isPath(name) {
		l, err = p.open(name, p.Dir)
		if absent(err) {
			err = &NoProfileError{Name: name}
		}
	} else {
		l, err = p.find(name, SourceProject)
	}
	if err != nil {
		return nil, err
	}
	return p.resolve(l)
}

// Default resolves the profile that is used where none is named: the one that
// the settings name, never one of the project's. Files of a project may come
// from a stranger's clone, and what nobody asked for by name must not decide
// what is granted. [Profiles.Own] gives that of the project, for who trusts it.
// Errors are those of [Profiles.Resolve].
func (p *Profiles) Default(s Settings) (*Profile, error) {
	l, err := p.find(s.DefaultProfile, SourceUser)
	if err != nil {
		return nil, fmt.Errorf("default profile: %w", err)
	}
	return p.resolve(l)
}

// resolve puts the chain that begins with first together, and finds out what of
// it is a project's.
func (p *Profiles) resolve(first *layer) (*Profile, error) {
	profile, chain, err := p.combine(first)
	if err != nil {
		return nil, err
	}
	profile.Project, err = p.inspect(profile, chain)
	return profile, err
}

// combine puts the chain that begins with first together.
func (p *Profiles) combine(first *layer) (*Profile, []link, error) {
	chain, problems := p.chain(first)
	profile := &Profile{
		Name: first.name, Source: first.source, Spec: Defaults(),
		dir: p.Dir, home: p.Home, file: first.file(), origins: origins{},
	}
	for _, link := range slices.Backward(chain) {
		// Each profile describes itself only.
		profile.Spec.Description = ""
		var h header
		f := profileFields(&profile.Spec, &h)
		setup, from := profile.Spec.Setup, maps.Clone(profile.origins)
		if image, ok := link.doc.root["image"].(string); ok && image != HostImage && image != profile.Spec.Image {
			profile.Spec.otherImage(func(string) bool { return false })
		}
		problems = append(problems, decode(link.doc, f, profile.origins)...)
		if _, ok := link.doc.root["setup"]; ok && len(profile.Spec.Setup) > 0 {
			// A step counts on what those of the profile that it extends made.
			profile.Spec.Setup = slices.Concat(setup, profile.Spec.Setup)
			profile.origins.behind("setup", len(setup), from)
		}
		if _, ok := link.doc.root["mounts"]; ok {
			for i := range profile.Spec.Mounts {
				m := &profile.Spec.Mounts[i]
				m.Source = profile.absolute(m.Source)
				if dir := projectDir(link.layer); p.strangers(link.layer) && below(m.Source, dir) {
					m.Within = dir
				}
			}
		}
	}
	profile.Spec.Profile = profile.Name
	if len(problems) == 0 {
		return profile, chain, nil
	}
	// The rest of what is wrong is told at once too, except for what may
	// only look wrong because a value could not be read.
	told := map[string]bool{}
	for _, pr := range problems {
		told[pr.Key] = true
	}
	for _, pr := range profile.located(profile.Spec.Validate()) {
		if !told[pr.Key] {
			problems = append(problems, pr)
		}
	}
	sortProblems(problems)
	return nil, nil, &ProfileError{Problems: problems}
}

// absolute makes the host's path of a mount absolute.
func (p *Profile) absolute(path string) string {
	if rest, ok := strings.CutPrefix(path, "~"); ok && p.home != "" && (rest == "" || rest[0] == '/') {
		return filepath.Join(p.home, rest)
	}
	if path == "" || filepath.IsAbs(path) || p.dir == "" {
		return path
	}
	return filepath.Join(p.dir, path)
}

// link is a layer that has been read as TOML.
type link struct {
	*layer
	doc *document
}

// chain follows extends from first to the last ancestor. With problems the
// chain ends where they are.
func (p *Profiles) chain(first *layer) ([]link, []Problem) {
	var chain []link
	for l := first; ; {
		doc, problem := parse(l.file(), l.text)
		if problem != nil {
			return chain, []Problem{*problem}
		}
		chain = append(chain, link{l, doc})
		parent, named := doc.root["extends"].(string)
		if !named {
			return chain, nil // a wrong type is told when it is decoded
		}
		next, err := p.parent(l, parent)
		if err != nil {
			return chain, []Problem{extendsProblem(doc, parent, err)}
		}
		for i, seen := range chain {
			if seen.id() == next.id() {
				names := make([]string, 0, len(chain)+1)
				for _, c := range chain[i:] {
					names = append(names, c.name)
				}
				names = append(names, next.name)
				return chain, []Problem{doc.problem("extends", "it is a circle: "+strings.Join(names, " -> "), "")}
			}
		}
		if len(chain) == maxExtends {
			return chain, []Problem{doc.problem("extends", fmt.Sprintf("the chain is longer than %d profiles", maxExtends), "")}
		}
		l = next
	}
}

// parent finds what l extends. A name is looked up from l's own place
// downwards: what is in a project cannot slip under the user's own profiles. A
// profile that extends its own name extends the one that it shadows.
func (p *Profiles) parent(l *layer, name string) (*layer, error) {
	if isPath(name) {
		if l.source.Kind == SourceBuiltIn {
			return nil, errors.New("a built-in profile extends no file")
		}
		return p.open(name, l.dir)
	}
	from := l.source.Kind
	if from != SourceFile && name == l.name && from < SourceBuiltIn {
		from++
	}
	return p.find(name, from)
}

func extendsProblem(doc *document, name string, err error) Problem {
	var none *NoProfileError
	if errors.As(err, &none) {
		hint := ""
		if none.Nearest != "" {
			hint = fmt.Sprintf("did you mean %s?", quote(none.Nearest))
		}
		return doc.problem("extends", fmt.Sprintf("there is no profile %s", quote(name)), hint)
	}
	if absent(err) {
		return doc.problem("extends", fmt.Sprintf("there is no file %s", quote(name)), "it is relative to the file that names it")
	}
	return doc.problem("extends", err.Error(), "")
}

// Check tells whether a sandbox may and can be made from the profile, after
// flags: nil, or a *[ProfileError] with what [Profile.Valid] finds and, before
// what is not enforced, what a project's profile that is not trusted asks for.
func (p *Profile) Check() error {
	if problems := p.untrusted(); len(problems) > 0 && len(p.Spec.Validate()) == 0 {
		return asError(problems)
	}
	return p.Valid()
}

// Valid tells whether a sandbox can be made from the profile: nil, or a
// *[ProfileError] with all that [Spec.Validate] finds or, when that is nothing,
// all that [Unenforced] lists, each with the place it is written at.
func (p *Profile) Valid() error {
	if problems := p.Spec.Validate(); len(problems) > 0 {
		return asError(p.located(problems))
	}
	return asError(p.located(Unenforced(p.Spec)))
}

// located fills in where the keys of the problems are written.
func (p *Profile) located(problems []Problem) []Problem {
	p.origins.locate(problems, p.file)
	return problems
}
