package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"cove/runtime/api"
	"cove/runtime/change"
)

func (a *app) applyCommand() *cobra.Command {
	var force, yes bool
	c := &cobra.Command{
		Use:   "apply NAME [PATH...]",
		Short: "Make a sandbox's changes to its copy-on-write mounts real",
		Long: `Make what a sandbox has changed in directories that it has copy-on-write (see cove
diff) real in those directories, as you and with your rights: all of it, or PATH
with all below it. Each file is replaced as a whole, belongs to you and has the
sandbox's permissions, without setuid. The sandbox may go on meanwhile.

Nothing is done where a file has changed on this machine since the sandbox got the
directory: what is named and --force is written over all the same. Changes that
could have this machine run something (.git, hooks, .envrc, new executables) and
links that lead out of the directory are asked for.`,
		Example:           "  cove apply web\n  cove apply web src/main.py\n  cove apply web --force README.md",
		Args:              atLeastOneName,
		ValidArgsFunction: a.sandboxNames(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if force && len(args) == 1 {
				return usagef("--force needs the paths that are to be written over")
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			return a.apply(ctx, args[0], args[1:], force, yes)
		},
	}
	c.Flags().BoolVar(&force, "force", false, "also where the file has changed on this machine")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "also what could have this machine run something, without asking")
	return c
}

func (a *app) apply(ctx context.Context, ref string, paths []string, force, yes bool) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	d, err := client.Get(ctx, ref)
	if err != nil {
		return explain(err, ref)
	}
	mounts, err := cowMounts(d, paths)
	if err != nil {
		return err
	}
	whole := len(mounts) > 1
	var failed int
	plans := make([]*plan, len(mounts))
	for i, m := range mounts {
		p, err := m.plan(ctx, client, d.ID)
		if err != nil {
			return err
		}
		defer closeQuietly(p.dir)
		plans[i] = p
	}
	// All of it is looked at before any of it is done.
	if err := a.agree(d.Name, plans, whole, force, yes); err != nil {
		return err
	}
	for _, p := range plans {
		err := p.apply(ctx, client, d.ID, p.dir, p.found, func(o change.Outcome) {
			if o.Err != nil {
				failed++
				a.warn("apply: %s: %s: %v", d.Name, shownPath(p.mounted, o.Path, whole), reasonOf(o.Err))
				return
			}
			_ = a.printf("%s\n", shownPath(p.mounted, o.Path, whole))
		})
		if err != nil {
			return err
		}
	}
	if failed > 0 {
		return &exitError{statusFailed, fmt.Errorf("%s: %d changes were not applied", d.Name, failed)}
	}
	return nil
}

// plan is what is to be applied to one directory.
type plan struct {
	mounted
	dir   *change.Dir
	found []change.Found
}

func (m mounted) plan(ctx context.Context, client *api.Client, ref string) (*plan, error) {
	dir, err := change.OpenDir(m.mount.Source)
	if err != nil {
		return nil, mountError(m.mount, err)
	}
	found, settled, err := m.compareTo(ctx, client, ref, dir, change.NoText)
	if err == nil {
		// What one that was killed has made is no conflict with what comes next.
		err = m.mark(ctx, client, ref, settled)
	}
	if err != nil {
		closeQuietly(dir)
		return nil, err
	}
	return &plan{m, dir, found}, nil
}

// refused is the first reason why a plan cannot be carried out, and of how many.
func (p *plan) refused(force bool) (conflicts []change.Found) {
	for _, f := range p.found {
		if f.Conflict != "" && (f.Hard || !force) {
			conflicts = append(conflicts, f)
		}
	}
	return conflicts
}

func (p *plan) flagged() (list []change.Found) {
	for _, f := range p.found {
		if len(f.Flags) > 0 {
			list = append(list, f)
		}
	}
	return list
}

// agree shows what stands in the way, and asks where somebody may decide.
func (a *app) agree(name string, plans []*plan, whole, force, yes bool) error {
	conflicts, flagged := 0, 0
	for _, p := range plans {
		for _, f := range p.refused(force) {
			conflicts++
			a.warn("apply: %s: %s: %s", name, shownPath(p.mounted, f.Path, whole), f.Conflict)
		}
	}
	if conflicts > 0 {
		return &exitError{statusFailed, hint(fmt.Errorf("%s: %w: conflicts: %d", name, errRefused, conflicts),
			"look at them with cove diff %[1]s PATH; to write over yours: cove apply %[1]s --force PATH; to take theirs back: cove discard %[1]s PATH", name)}
	}
	if yes {
		return nil
	}
	for _, p := range plans {
		for _, f := range p.flagged() {
			flagged++
			line := statLine(p.mounted, f.FileChange, whole)
			if isTerminal(a.stdin) {
				_ = a.printf("%s\n", line)
			} else {
				a.warn("apply: %s: look at %s", name, line)
			}
		}
	}
	if flagged == 0 {
		return nil
	}
	if !isTerminal(a.stdin) {
		return &exitError{statusFailed, hint(fmt.Errorf("%s: %w: to be looked at first: %d", name, errRefused, flagged), "then: cove apply %s --yes", name)}
	}
	if err := a.printf("Apply these with the rest? [y/N] "); err != nil {
		return err
	}
	answer, err := bufio.NewReader(io.LimitReader(a.stdin, 64)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return &exitError{statusFailed, fmt.Errorf("%s: %w", name, errRefused)}
}
