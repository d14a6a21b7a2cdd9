package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/text"
)

// logFlags say which lines of a log are shown, and how.
type logFlags struct {
	follow, asJSON bool
	lines          int
	since          durationFlag
}

func (a *app) logsCommand() *cobra.Command {
	var flags logFlags
	c := &cobra.Command{
		Use:   "logs NAME",
		Short: "Show what a sandbox's programs printed",
		Long: `Show what the setup steps of a sandbox printed, and what programs run by exec,
run and code did. The setup's is kept with the sandbox, in any state; the rest may
hold secrets, so that only the last of it (1 MiB) is kept, in the sandbox's memory,
for as long as it runs. Each line is a time, a source and a text; ! marks standard
error, $ the beginning of a program and = its end. Terminals keep their own: attach.`,
		Example:           "  cove logs a --lines 20\n  cove logs a -f --since 10m",
		ValidArgsFunction: a.sandboxNames(1),
		Args: func(cmd *cobra.Command, args []string) error {
			if flags.lines < -1 {
				return usagef("--lines %d: want a number of lines", flags.lines)
			}
			return oneName(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.logs(cmd.Context(), args[0], flags)
		},
	}
	c.Flags().BoolVarP(&flags.follow, "follow", "f", false, "go on with what comes, until the sandbox stops")
	c.Flags().IntVarP(&flags.lines, "lines", "n", -1, "only the last `N` lines of what was before")
	c.Flags().Lookup("lines").DefValue = "0" // pflag's word for none to show: all of them
	c.Flags().Var(&flags.since, "since", "only what is not older")
	c.Flags().BoolVar(&flags.asJSON, "json", false, "print JSON, one line a line")
	for _, name := range []string{"lines", "since"} {
		must(c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	return c
}

func (a *app) logs(ctx context.Context, name string, flags logFlags) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	d, err := client.Get(ctx, name)
	if err != nil {
		return explain(err, name)
	}
	stream, err := client.Logs(ctx, name, flags.follow)
	if err != nil {
		return explain(err, name)
	}
	defer closeQuietly(stream)
	l := &logPrinter{a: a, flags: flags}
	if flags.since.Duration > 0 {
		l.from = time.Now().Add(-flags.since.Std())
	}
	for {
		line, err := stream.Next()
		if err == nil {
			err = l.take(line)
			if err == nil {
				continue
			}
			return err
		}
		switch {
		case ctx.Err() != nil:
			return context.Canceled
		case !errors.Is(err, io.EOF):
			return explain(err, name)
		}
		break
	}
	if err := l.through(); err != nil {
		return err
	}
	if d.State != lifecycle.Started && !flags.asJSON {
		a.warn("logs: %s does not run (%s): of what was printed in it, only that of its setup is kept", d.Name, d.State)
	}
	return nil
}

// logPrinter shows lines, of those before now only the last.
type logPrinter struct {
	a     *app
	flags logFlags
	from  time.Time
	now   bool // what was before is through
	kept  []api.LogLine
}

func (l *logPrinter) take(line api.LogLine) error {
	switch {
	case line.Stream == api.LogPing:
		return l.through()
	case line.Time.Before(l.from):
		return nil
	case l.now || l.flags.lines < 0:
		return l.show(line)
	case l.flags.lines == 0:
		return nil
	}
	if len(l.kept) == l.flags.lines {
		l.kept = append(l.kept[:0], l.kept[1:]...)
	}
	l.kept = append(l.kept, line)
	return nil
}

// through shows what was kept of the lines before now.
func (l *logPrinter) through() error {
	for _, line := range l.kept {
		if err := l.show(line); err != nil {
			return err
		}
	}
	l.kept, l.now = nil, true
	return nil
}

func (l *logPrinter) show(line api.LogLine) error {
	if l.flags.asJSON {
		b, err := json.Marshal(line)
		if err != nil {
			return err
		}
		_, err = l.a.stdout.Write(append(escapeControls(b), '\n'))
		return err
	}
	mark := " "
	switch line.Stream {
	case api.LogStderr:
		mark = "!"
	case api.LogStart:
		mark = "$"
	case api.LogEnd:
		mark = "="
	case api.LogStdout, api.LogPing:
	}
	return l.a.printf("%s  %-8s %s %s\n", line.Time.Local().Format("2006-01-02 15:04:05"), oneLine(line.Source), mark, logText(line.Text))
}

// logText is a line of a program's as a terminal may get it: its own colours and
// whatever else it does to a terminal left out.
func logText(s string) string {
	if i := strings.LastIndexByte(strings.TrimRight(s, "\r"), '\r'); i >= 0 {
		s = s[i+1:] // what was written over it: a line of progress
	}
	return text.Clean(strings.ReplaceAll(s, "\t", "    "))
}
