package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cove/config"
)

func (a *app) trustCommand() *cobra.Command {
	var list, remove, yes, asJSON bool
	c := &cobra.Command{
		Use:   "trust [FILE]",
		Short: "Trust a project's own profile, after telling what it asks for",
		Long: `A project's own profile (./cove.toml, what is in ./.cove/, or any file named with
-p) may come from a stranger's clone. Until you trust it, it may narrow what your
default profile grants, and mount what lies in the project. You trust it as it is
now: when it changes, or what it extends in the project does, you are asked again.
A trusted ./cove.toml is the default profile in its directory.`,
		Args: atMostOne("profile"),
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case list && (remove || yes || len(args) > 0), remove && yes, asJSON && !list:
				return usagef("--list, --remove and --yes exclude each other, and --json is for --list")
			case list:
				return a.listTrust(asJSON)
			case remove:
				return a.removeTrust(args)
			}
			return a.trust(args, yes)
		},
	}
	flags := c.Flags()
	flags.BoolVar(&list, "list", false, "list what is trusted")
	flags.BoolVar(&remove, "remove", false, "trust it no longer")
	flags.BoolVarP(&yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&asJSON, "json", false, "print JSON (with --list)")
	return c
}

// trustView is one file of `trust --list --json`.
type trustView struct {
	Path   string    `json:"path"`
	SHA256 string    `json:"sha256"`
	Since  time.Time `json:"since"`
}

func (a *app) listTrust(asJSON bool) error {
	trust, err := config.LoadTrust(config.TrustFile(os.Getenv))
	if err != nil {
		return err
	}
	views := []trustView{}
	rows := [][]string{}
	for _, e := range trust.Entries() {
		views = append(views, trustView(e))
		rows = append(rows, []string{e.Path, e.Since.Local().Format(time.DateTime)})
	}
	if asJSON {
		return a.printJSON(views)
	}
	return writeTable(a.stdout, []string{"FILE", "SINCE"}, rows)
}

// removeTrust takes a file that may be gone.
func (a *app) removeTrust(args []string) error {
	trust, err := config.LoadTrust(config.TrustFile(os.Getenv))
	if err != nil {
		return err
	}
	path, err := filepath.Abs(trustArg(args))
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	removed, err := trust.Remove(path)
	if err != nil {
		return err
	}
	if !removed {
		return hint(fmt.Errorf("%s is not trusted", path), "see: cove trust --list")
	}
	return nil
}

func trustArg(args []string) string {
	if len(args) == 0 {
		return "./" + config.ProjectFile
	}
	return args[0]
}

// trust tells what a profile asks for, and trusts it when the person says yes.
func (a *app) trust(args []string, yes bool) error {
	profiles, err := a.profiles()
	if err != nil {
		return err
	}
	name := trustArg(args)
	p, err := profiles.Resolve(name)
	if err != nil {
		return err
	}
	if p.Project == nil {
		return fmt.Errorf("the profile %s is %s, and no project's: it needs no trust", p.Name, p.Source)
	}
	if p.Project.Trusted {
		return a.printf("%s is trusted already\n", oneLine(p.Project.Path))
	}
	if err := a.printf("%s", trustText(p)); err != nil {
		return err
	}
	if !yes {
		if err := a.confirmTrust(); err != nil {
			return err
		}
	}
	// What was told is what is trusted, whatever the file has become since.
	trust, err := config.LoadTrust(profiles.TrustFile)
	if err != nil {
		return err
	}
	return trust.Add(*p.Project, time.Now())
}

// trustText tells in plain words what a profile asks for.
func trustText(p *config.Profile) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", oneLine(p.Project.Path))
	if p.Spec.Description != "" {
		fmt.Fprintf(&b, "  %s\n", oneLine(p.Spec.Description))
	}
	for _, m := range p.Spec.Mounts {
		if m.Within != "" && m.Mode != config.MountRWAsRoot {
			fmt.Fprintf(&b, "  mounts %s (%s) at %s, of the project\n", oneLine(m.Source), m.Mode, oneLine(m.Target))
		}
	}
	if len(p.Project.Beyond) == 0 {
		b.WriteString("It asks for nothing that your default profile does not grant.\n")
		return b.String()
	}
	b.WriteString("It asks for more than your default profile grants. It\n")
	for _, asked := range p.Project.Beyond {
		at := asked.Key
		if asked.Line > 0 {
			at = fmt.Sprintf("%s, %s:%d", asked.Key, asked.File, asked.Line)
		}
		fmt.Fprintf(&b, "  - %s  (%s)\n", oneLine(asked.Message), oneLine(at))
	}
	before := len(p.Spec.Setup) - len(p.Project.Setup)
	for i, step := range p.Project.Setup {
		// Line by line: joined, what follows a comment would read as part of it.
		at := fmt.Sprintf("  setup %d: ", before+i+1)
		for line := range strings.Lines(step) {
			fmt.Fprintf(&b, "%s%s\n", at, oneLine(line))
			at = strings.Repeat(" ", len(at))
		}
	}
	return b.String()
}

// confirmTrust asks the person at the terminal.
func (a *app) confirmTrust() error {
	if !isTerminal(a.stdin) {
		return hint(errors.New("nobody is there to ask"), "say so with --yes")
	}
	if err := a.printf("Trust it as it is now? [y/N] "); err != nil {
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
	return errors.New("not trusted")
}
