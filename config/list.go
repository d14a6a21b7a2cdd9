package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Entry is one profile of a list.
type Entry struct {
	// Name is what [Profiles.Resolve] takes.
	Name        string
	Description string
	Source      Source
	// Shadowed says that another profile of the same name comes first, so
	// that Name does not mean this one.
	Shadowed bool
	// Err is why the profile cannot be used as it is: a *[ProfileError], or
	// an error of reading it.
	Err error
}

// List lists all profiles there are, by name, those of one name in the order of
// look-up. A broken one is listed with its error. The project's own profile is
// listed by its path, "./cove.toml". The error is that of a directory that
// cannot be listed; the entries of the others are returned with it.
func (p *Profiles) List() ([]Entry, error) {
	var all []Entry
	var failed error
	for kind := SourceProject; kind <= SourceBuiltIn; kind++ {
		names, err := p.namesOf(kind)
		failed = errors.Join(failed, err)
		for _, name := range names {
			shadowed := slices.ContainsFunc(all, func(e Entry) bool { return e.Name == name })
			e := Entry{Name: name, Shadowed: shadowed, Source: Source{Kind: kind}}
			if dir := p.dirOf(kind); dir != "" {
				e.Source.Path = p.display(filepath.Join(dir, name+".toml"))
			}
			all = append(all, p.describe(e))
		}
	}
	if p.Dir != "" {
		if _, err := os.Lstat(filepath.Join(p.Dir, ProjectFile)); err == nil {
			all = append(all, p.describe(Entry{Name: "./" + ProjectFile, Source: Source{SourceFile, ProjectFile}}))
		}
	}
	slices.SortStableFunc(all, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	return all, failed
}

// describe reads and checks one profile for a list.
func (p *Profiles) describe(e Entry) Entry {
	var l *layer
	var err error
	if e.Source.Kind == SourceFile {
		l, err = p.open(e.Name, p.Dir)
	} else {
		l, err = p.find(e.Name, e.Source.Kind)
	}
	if err != nil {
		e.Err = err
		return e
	}
	profile, err := p.resolve(l)
	if err != nil {
		e.Err = err
		return e
	}
	e.Description = clean(profile.Spec.Description)
	e.Err = profile.Check()
	return e
}

// names lists the names that a look-up beginning with from can find.
func (p *Profiles) names(from SourceKind) []string {
	var all []string
	for kind := max(from, SourceProject); kind <= SourceBuiltIn; kind++ {
		// What cannot be listed cannot be suggested; the look-up itself
		// tells errors.
		names, _ := p.namesOf(kind)
		all = append(all, names...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// namesOf lists the names in one place.
func (p *Profiles) namesOf(kind SourceKind) ([]string, error) {
	var entries []fs.DirEntry
	var err error
	if kind == SourceBuiltIn {
		if p.BuiltIn == nil {
			return nil, nil
		}
		entries, err = fs.ReadDir(p.BuiltIn, ".")
	} else if dir := p.dirOf(kind); dir != "" {
		entries, err = os.ReadDir(dir)
	}
	if err != nil && !absent(err) {
		return nil, fmt.Errorf("list profiles: %w", err)
	}
	var names []string
	for _, e := range entries {
		name, isTOML := strings.CutSuffix(e.Name(), ".toml")
		if isTOML && !e.IsDir() && validProfileName(name) {
			names = append(names, name)
		}
	}
	return names, nil
}
