package main

import (
	"github.com/spf13/cobra"
)

func (a *app) daemonCommand() *cobra.Command {
	return group("daemon", "The daemon: run, start, stop, status",
		a.daemonRunCommand(), a.daemonStartCommand(), a.daemonStopCommand(), a.daemonStatusCommand())
}
