package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/change"
)

// diffFlags say what of changes is shown.
type diffFlags struct{ stat, names, json, patch, root bool }

func (a *app) diffCommand() *cobra.Command {
	var f diffFlags
	c := &cobra.Command{
		Use:   "diff NAME [PATH...]",
		Short: "Show what a sandbox changed in its copy-on-write mounts",
		Long: `Show what a sandbox has changed in directories of this machine that it has
copy-on-write (create --mount SRC:DST:cow), against what is in them now. PATH is
one inside; a relative one begins at the mount. With --root, or where there is no
such mount, it is a list of what it has changed in its own root, without what was
there before. The sandbox may be started or stopped.`,
		Example:           "  cove diff web\n  cove diff web --stat\n  cove diff web src | less\n  cove diff web --patch | git apply",
		Args:              atLeastOneName,
		ValidArgsFunction: a.sandboxNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.diff(cmd.Context(), args[0], args[1:], f)
		},
	}
	flags := c.Flags()
	flags.BoolVar(&f.stat, "stat", false, "one line for each file: what happened to it, lines, and what to look at")
	flags.BoolVar(&f.names, "name-only", false, "the names alone")
	flags.BoolVar(&f.json, "json", false, "as JSON")
	flags.BoolVarP(&f.patch, "patch", "p", false, "a patch for git apply, with binary files in it")
	flags.BoolVar(&f.root, "root", false, "the sandbox's own root in place of mounts")
	c.MarkFlagsMutuallyExclusive("stat", "name-only", "json", "patch")
	c.MarkFlagsMutuallyExclusive("root", "patch")
	return c
}

// atLeastOneName is the Args of a command on one sandbox and paths in it.
func atLeastOneName(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("takes a sandbox (see: %s --help)", cmd.CommandPath())
	}
	return nil
}

func (a *app) diff(ctx context.Context, ref string, paths []string, f diffFlags) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	d, err := client.Get(ctx, ref)
	if err != nil {
		return explain(err, ref)
	}
	text := change.Unified
	switch {
	case f.patch:
		text = change.Patch
	case f.stat, f.names, f.json:
		text = change.NoText
	}
	var all []foundIn
	if f.root || len(paths) == 0 && !hasCow(d) && !f.patch {
		if all, err = rootChanges(ctx, client, d, paths); err != nil {
			return err
		}
		f.stat = !f.names && !f.json
	} else {
		mounts, err := cowMounts(d, paths)
		if err != nil {
			return err
		}
		for _, m := range mounts {
			c, err := m.compare(ctx, client, d.ID, text)
			if err != nil {
				return err
			}
			all = append(all, c)
		}
	}
	return a.showChanges(d, all, f)
}

func hasCow(d api.Detail) bool {
	return slices.ContainsFunc(d.Spec.Mounts, func(m config.Mount) bool { return m.Mode == config.MountCOW })
}

// rootChanges lists what is changed in the sandbox's own root, which the host's
// image has in two parts.
func rootChanges(ctx context.Context, client *api.Client, d api.Detail, paths []string) ([]foundIn, error) {
	root := foundIn{mounted: mounted{mount: config.Mount{Target: "/"}}}
	parts := []string{"/"}
	if d.Spec.Image == "host" {
		parts = append(parts, "/usr")
	}
	for _, part := range parts {
		stream, err := client.Changes(ctx, d.ID, api.ChangesRequest{Target: part, Root: true, List: true})
		if err != nil {
			return nil, explain(err, d.Name)
		}
		found, err := change.Compare(ctx, stream, nil, change.Options{})
		closeQuietly(stream)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Name, err)
		}
		for _, f := range found {
			f.Path = strings.TrimPrefix(path.Join(part, f.Path), "/")
			if len(paths) == 0 || slices.ContainsFunc(paths, func(p string) bool {
				p = strings.TrimPrefix(path.Clean(p), "/")
				return p == "" || f.Path == p || strings.HasPrefix(f.Path, p+"/")
			}) {
				root.found = append(root.found, f)
			}
		}
	}
	return []foundIn{root}, nil
}

func (a *app) showChanges(d api.Detail, all []foundIn, f diffFlags) error {
	if f.json {
		sets := make([]api.ChangeSet, len(all))
		for i, c := range all {
			sets[i] = c.set()
		}
		return a.printJSON(sets)
	}
	var b strings.Builder
	for _, c := range all {
		for i := range c.found {
			ch := &c.found[i]
			switch {
			case f.names:
				b.WriteString(shownPath(c.mounted, ch.Path, len(all) > 1 || c.mount.Source == "") + "\n")
			case f.stat:
				b.WriteString(statLine(c.mounted, ch.FileChange, len(all) > 1 || c.mount.Source == "") + "\n")
			default:
				b.WriteString(ch.Diff)
			}
		}
	}
	out := b.String()
	if isTerminal(a.stdout) && !f.stat && !f.names {
		out = colorDiff(out)
	}
	err := a.printf("%s", out)
	if f.stat || f.names || f.patch {
		return err
	}
	for _, c := range all {
		for _, ch := range c.found {
			if ch.Conflict != "" {
				a.warn("diff: %s: %s: %s", d.Name, change.Quote(ch.Path), ch.Conflict)
			}
		}
	}
	return err
}

// shownPath is a path as a person may give it again.
func shownPath(m mounted, p string, whole bool) string {
	if whole {
		p = path.Join(m.mount.Target, p)
	}
	return change.Quote(p)
}

// changeLetter is git's for a kind of change.
func changeLetter(kind string) string {
	switch kind {
	case api.ChangeAdded:
		return "A"
	case api.ChangeDeleted:
		return "D"
	case api.ChangeMode:
		return "m"
	case api.ChangeType:
		return "T"
	}
	return "M"
}

func statLine(m mounted, c api.FileChange, whole bool) string {
	name := shownPath(m, c.Path, whole)
	if c.Type == "dir" {
		name += "/"
	}
	out := []string{changeLetter(c.Kind), name}
	switch {
	case m.mount.Source == "":
		if c.Kind != api.ChangeDeleted && c.Type == "file" {
			out = append(out, fmt.Sprintf("%d bytes", c.Size))
		}
	case c.Kind == api.ChangeType:
		out = append(out, c.OldType+" -> "+c.Type)
	case c.Binary:
		out = append(out, fmt.Sprintf("binary %d -> %d bytes", c.OldSize, c.Size))
	case c.Added+c.Removed > 0:
		out = append(out, fmt.Sprintf("+%d -%d", c.Added, c.Removed))
	}
	if c.OldMode != "" && c.Mode != "" && c.OldMode != c.Mode && c.Kind != api.ChangeType {
		out = append(out, "mode "+c.OldMode+" -> "+c.Mode)
	}
	if c.Link != "" && c.Kind != api.ChangeDeleted {
		out = append(out, "-> "+change.Quote(c.Link))
	}
	if len(c.Flags) > 0 {
		out = append(out, "["+strings.Join(c.Flags, ", ")+"]")
	}
	if c.Conflict != "" {
		out = append(out, "CONFLICT: "+c.Conflict)
	}
	return strings.Join(out, "  ")
}

// colorDiff makes a diff fit for a terminal: coloured, and what would control the
// terminal shown in its place.
func colorDiff(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		text := strings.TrimSuffix(line, "\n")
		code := ""
		switch {
		case strings.HasPrefix(text, "+++ "), strings.HasPrefix(text, "--- "), strings.HasPrefix(text, "diff "):
			code = "1"
		case strings.HasPrefix(text, "+"):
			code = "32"
		case strings.HasPrefix(text, "-"):
			code = "31"
		case strings.HasPrefix(text, "@@"):
			code = "36"
		}
		plain := plainText(text)
		if code != "" {
			plain = "\x1b[" + code + "m" + plain + "\x1b[m"
		}
		b.WriteString(plain + "\n")
	}
	return b.String()
}

// plainText shows control characters as such.
func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return r
		case r < 0x20:
			return 0x2400 + r // its picture
		case r == 0x7f:
			return 0x2421
		case r > 0x7f && r < 0xa0, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			return '\ufffd'
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// errRefused is what somebody has to look at before it is done.
var errRefused = errors.New("nothing was applied")
