package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cove/config"
	"cove/tui"
)

// profileSource is where the TUI has its profiles from: the places of this
// caller, the profile first offered before the others.
func profileSource(profiles *config.Profiles, first string) tui.Profiles {
	return tui.Profiles{
		List: func(context.Context) ([]tui.Profile, error) { return profileChoice(profiles, first) },
		Resolve: func(_ context.Context, name string, flags []tui.Flag) (config.Spec, error) {
			p, err := profiles.Resolve(name)
			if err != nil {
				return config.Spec{}, err
			}
			for _, f := range flags {
				if err := p.Override(f.Name, f.Values...); err != nil {
					return config.Spec{}, err
				}
			}
			return p.Spec, p.Check()
		},
		Preview: func(_ context.Context, name string, flags []tui.Flag) (tui.Preview, error) {
			return preview(profiles, name, flags)
		},
		Dirs: func(_ context.Context, typed string) string { return completeDir(profiles.Dir, typed) },
	}
}

// profileChoice lists the profiles that can be asked for by name, first before
// the others.
func profileChoice(profiles *config.Profiles, first string) ([]tui.Profile, error) {
	entries, err := profiles.List()
	entries = slices.DeleteFunc(entries, func(e config.Entry) bool { return e.Shadowed })
	if len(entries) == 0 && err != nil {
		return nil, err
	}
	slices.SortStableFunc(entries, func(x, y config.Entry) int {
		switch first {
		case x.Name:
			return -1
		case y.Name:
			return 1
		}
		return 0
	})
	list := make([]tui.Profile, 0, len(entries))
	for _, e := range entries {
		list = append(list, tui.Profile{Name: e.Name, Description: e.Description, Source: e.Source.String(), Err: e.Err})
	}
	return list, nil
}

// preview tells what a profile and flags over it come to. What is wrong with a
// flag and with the rest is told together.
func preview(profiles *config.Profiles, name string, flags []tui.Flag) (tui.Preview, error) {
	base, err := profiles.Resolve(name)
	if err != nil {
		return tui.Preview{}, err
	}
	// Once more, because flags change the profile.
	p, err := profiles.Resolve(name)
	if err != nil {
		return tui.Preview{}, err
	}
	out := tui.Preview{Base: base.Spec}
	problems := func(err error) {
		var wrong *config.ProfileError
		switch {
		case errors.As(err, &wrong):
			out.Problems = append(out.Problems, wrong.Problems...)
		case err != nil:
			out.Problems = append(out.Problems, config.Problem{Message: err.Error()})
		}
	}
	for _, f := range flags {
		problems(p.Override(f.Name, f.Values...))
	}
	problems(p.Check())
	for i, m := range p.Spec.Mounts {
		dirs, err := openDirs([]config.Mount{m})
		if err != nil {
			out.Problems = append(out.Problems, config.Problem{Key: fmt.Sprintf("mounts[%d].source", i), Message: err.Error()})
		}
		closeAll(dirs)
	}
	_, out.Missing = p.Spec.Secrets(os.LookupEnv)
	return out, nil
}

// dirsMost is how many entries of a directory are looked at for a completion.
const dirsMost = 10_000

// completeDir is what can be added to the path of a directory, relative to dir:
// as much as all directories have in common whose names begin as typed, and a
// slash when there is but one.
func completeDir(dir, typed string) string {
	at, begin := filepath.Split(typed)
	if begin == "." || begin == ".." {
		return ""
	}
	where := at
	if !filepath.IsAbs(where) {
		where = filepath.Join(dir, where)
	}
	d, err := os.Open(where)
	if err != nil {
		return ""
	}
	defer closeQuietly(d)
	entries, _ := d.ReadDir(dirsMost) // as much as can be read
	common, n := "", 0
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, begin) || begin == "" && name[0] == '.' || !isDir(where, e) {
			continue
		}
		if n++; n == 1 {
			common = name
			continue
		}
		for !strings.HasPrefix(name, common) {
			common = common[:len(common)-1]
		}
	}
	add := strings.ToValidUTF8(strings.TrimPrefix(common, begin), "")
	if n == 1 {
		add += "/"
	}
	return add
}

// isDir tells whether an entry is a directory, or a link to one.
func isDir(where string, e os.DirEntry) bool {
	if e.Type()&os.ModeSymlink == 0 {
		return e.IsDir()
	}
	info, err := os.Stat(filepath.Join(where, e.Name()))
	return err == nil && info.IsDir()
}
