package main

import (
	"path"
	"strings"

	"github.com/spf13/cobra"
)

// endpoint is one side of a copy.
type endpoint struct {
	sandbox string // empty: this machine
	path    string
	tar     bool // "-": a tar on standard input or output
}

// parseEndpoint reads NAME:PATH, PATH and "-". A colon after a slash belongs to
// a path.
func parseEndpoint(arg string) endpoint {
	if arg == "-" {
		return endpoint{tar: true}
	}
	name, p, ok := strings.Cut(arg, ":")
	if !ok || strings.Contains(name, "/") || name == "" || name == "." || name == ".." {
		return endpoint{path: arg}
	}
	return endpoint{sandbox: name, path: p}
}

func (e endpoint) String() string {
	switch {
	case e.tar:
		return "-"
	case e.sandbox != "":
		return e.sandbox + ":" + e.path
	}
	return e.path
}

// name is what a source is called below a directory that it is copied into;
// empty for one whose contents are.
func (e endpoint) name() string {
	base := path.Base(e.path)
	if e.path == "" || base == "." || base == ".." || base == "/" || base == "~" || strings.HasSuffix(e.path, "/.") {
		return ""
	}
	return base
}

// copyFlags say how to copy.
type copyFlags struct {
	follow, quiet bool
	user          string
}

func (a *app) cpCommand() *cobra.Command {
	var flags copyFlags
	c := &cobra.Command{
		Use:   "cp SRC DST",
		Short: "Copy files into a sandbox or out of it",
		Long: `Copy a file or a directory with all that is in it. NAME:PATH is a path in a
sandbox, which may be started or stopped; any other is one of this machine
(./a:b where its name has a colon). A relative PATH begins at the sandbox's
working directory, ~/ at its user's home.

What SRC is called it is called below DST where DST is a directory; else DST is
what it is to be called. The contents of a directory without itself: SRC/. as
SRC. Directories that exist are filled, files that exist are replaced. A link is
copied as a link, and what is there at DST is never written through one; -L, or
a slash at its end, takes what the link SRC leads to. Modes, times and hard links
are kept, owners are not: what is made belongs to you here and to the sandbox's
user there. Bits that give rights (setuid, setgid), sockets and devices are not
copied.

With - as SRC a tar is read from standard input and unpacked below the directory
DST; with - as DST one of SRC is written to standard output.`,
		Example: "  cove cp . web:/workspace\n  cove cp web:results/. ./results\n  cove cp web:/var/log - | tar tv\n  cove cp a:data b:data",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("takes what to copy and where to, got %d (see: %s --help)", len(args), cmd.CommandPath())
			}
			return checkEndpoints(parseEndpoint(args[0]), parseEndpoint(args[1]))
		},
		ValidArgsFunction: a.completeEndpoint,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.copyFiles(cmd.Context(), parseEndpoint(args[0]), parseEndpoint(args[1]), flags)
		},
	}
	c.Flags().BoolVarP(&flags.follow, "follow-link", "L", false, "where SRC is a symbolic link, copy what it leads to")
	c.Flags().BoolVarP(&flags.quiet, "quiet", "q", false, "show no progress")
	c.Flags().StringVarP(&flags.user, "user", "u", "", "`USER` in the sandbox who reads or owns the files (default: the sandbox's)")
	must(c.RegisterFlagCompletionFunc("user", cobra.NoFileCompletions))
	return c
}

func checkEndpoints(src, dst endpoint) error {
	switch {
	case src.sandbox == "" && dst.sandbox == "":
		return usagef("copies into a sandbox or out of it: one of the two must be NAME:PATH")
	case src.path == "" && src.sandbox == "" && !src.tar, dst.path == "" && dst.sandbox == "" && !dst.tar:
		return usagef("an empty path is no file")
	}
	for _, e := range []endpoint{src, dst} {
		if strings.IndexByte(e.path, 0) >= 0 {
			return usagef("a path holds a zero byte")
		}
	}
	return nil
}

// completeEndpoint offers the names of sandboxes, with their colon, and files.
func (a *app) completeEndpoint(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if strings.ContainsAny(toComplete, "/:") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	names, _ := a.sandboxNames(0)(cmd, nil, toComplete)
	for i, n := range names {
		name, what, _ := strings.Cut(n, "\t")
		names[i] = cobra.CompletionWithDesc(name+":", what)
	}
	return names, cobra.ShellCompDirectiveNoSpace
}
