package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cove/runtime/api"
	"cove/tui/text"
)

// daemonView is `daemon status --json`. Of a daemon that is down only the
// directories are known.
type daemonView struct {
	Pid       *int       `json:"pid"`
	Version   *string    `json:"version"`
	Socket    string     `json:"socket"`
	StateDir  string     `json:"state_dir"`
	Inst      *string    `json:"inst"`
	Started   *time.Time `json:"started"`
	Sandboxes *int       `json:"sandboxes"`
	// Disk is the file system of the state directory.
	Disk     *api.HostDisk `json:"disk"`
	Warnings []string      `json:"warnings"`
}

func (a *app) daemonStatusCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Tell whether the daemon runs (status 1: it does not)",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkDirs(); err != nil {
				return err
			}
			st, err := a.knownStatus(cmd.Context())
			switch {
			case errors.Is(err, errNotRunning):
				return errors.Join(a.printDown(asJSON), &exitError{status: statusFailed})
			case err != nil:
				return explain(err, "")
			case asJSON:
				return a.printJSON(daemonView{
					Pid: &st.Pid, Version: &st.Version, Socket: st.Socket, StateDir: st.StateDir,
					Inst: &st.Inst, Started: &st.Started, Sandboxes: &st.Sandboxes, Disk: st.Disk, Warnings: append([]string{}, st.Warnings...),
				})
			}
			return a.printStatus(st)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// knownStatus is the status of a daemon that runs; it starts nothing, and is
// errNotRunning where nothing listens on the socket.
func (a *app) knownStatus(ctx context.Context) (api.DaemonStatus, error) {
	conn, err := a.dialDaemon()
	if notListening(err) {
		return api.DaemonStatus{}, errNotRunning
	}
	if err != nil {
		return api.DaemonStatus{}, err
	}
	closeQuietly(conn)
	return a.status(ctx)
}

func (a *app) printDown(asJSON bool) error {
	if asJSON {
		return a.printJSON(daemonView{Socket: a.dirs.Socket(), StateDir: a.dirs.State, Warnings: []string{}})
	}
	return a.printf("not running (%s)\n", a.dirs.Socket())
}

func (a *app) printStatus(st api.DaemonStatus) error {
	return a.printFields([][2]string{
		{"pid", sprint(st.Pid)},
		{"version", st.Version},
		{"socket", st.Socket},
		{"state", st.StateDir},
		{"instance", st.Inst},
		{"started", st.Started.Local().Format(time.DateTime) + " (" + ago(time.Now(), st.Started) + ")"},
		{"sandboxes", sprint(st.Sandboxes)},
		{"disk", diskText(st.Disk)},
		{"warnings", strings.Join(st.Warnings, "; ")},
	})
}

// diskText is the host's disk in words.
func diskText(d *api.HostDisk) string {
	if d == nil {
		return ""
	}
	said := fmt.Sprintf("%s of %s free, %s kept free", text.Bytes(d.Free), text.Bytes(d.Total), text.Bytes(d.Reserve))
	// With a quarter more than what is kept free they are not told of.
	if d.Inodes > 0 && float64(d.InodesFree)/float64(d.Inodes) < 1.25*float64(d.Reserve)/float64(max(d.Total, 1)) {
		said += fmt.Sprintf(", %.1f%% of its inodes free", float64(d.InodesFree)*100/float64(d.Inodes))
	}
	if d.Promised > 0 {
		said += fmt.Sprintf(", quotas may take %s more", text.Bytes(d.Promised))
	}
	if d.Low {
		said += "; nearly full: sandboxes that write are held, and none starts"
	}
	return said
}
