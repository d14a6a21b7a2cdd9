package main

import (
	"os"

	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"

	"cove/runtime/api"
	"cove/tui"
)

// runBare is cove without a command: the TUI, or the plain list where there is
// no terminal that could show one.
func (a *app) runBare(cmd *cobra.Command, _ []string) error {
	if a.wantVersion {
		return a.printVersion(false)
	}
	if tui.Usable(a.stdin, a.stdout, os.Getenv("TERM")) != nil {
		return a.list(cmd.Context(), api.ListOptions{}, false)
	}
	return a.runTUI(cmd.Context())
}

func isTerminal(f *os.File) bool { return term.IsTerminal(f.Fd()) }
