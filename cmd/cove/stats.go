package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"cove/runtime/api"
)

func (a *app) statsCommand() *cobra.Command {
	var follow, once, asJSON bool
	var since string
	c := &cobra.Command{
		Use:   "stats [NAME...]",
		Short: "Show what running sandboxes use",
		Long: "stats shows the processor time, memory, disk, GPUs, network and processes of running sandboxes, the busiest first.\n" +
			"On a terminal the table is live until ctrl+c; elsewhere, and with --no-stream, there is one.\n" +
			"CPU% is of one core; MEMORY leaves out the file pages that the kernel gives back first;\n" +
			"WAITS is for how much of the last ten seconds programs waited for the processor, memory and disks, in percent;\n" +
			"NEXT is what the sandbox's automation does to it, and when; ? is what this host cannot tell. A column that nobody has anything for is left out, and\n" +
			"on a terminal those that do not fit.\n" +
			"With --since and one name there is a row for each part of the time, with what became of the sandbox.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if follow && once {
				return usagef("--follow and --no-stream exclude each other")
			}
			if cmd.Flags().Changed("since") && (follow || once) {
				return usagef("--since tells of the past: --follow and --no-stream do not go with it")
			}
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			if cmd.Flags().Changed("since") {
				span, err := sinceSpan(since)
				if err != nil {
					return err
				}
				return a.statsSince(ctx, args, span, asJSON)
			}
			if !follow && (once || asJSON || !isTerminal(a.stdout)) {
				return a.statsOnce(ctx, args, asJSON)
			}
			err := a.statsLive(ctx, args, asJSON)
			if errors.Is(err, context.Canceled) {
				return nil // ctrl+c is how it ends
			}
			return err
		},
		Example:           "  cove stats\n  cove stats --since 6h web",
		ValidArgsFunction: a.sandboxNames(0),
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on, one table or JSON line a second, also without a terminal")
	c.Flags().BoolVar(&once, "no-stream", false, "print one table and end")
	c.Flags().StringVar(&since, "since", "", "tell what was used during the last `DURATION` instead, up to 24h, also by what does not run now")
	must(c.RegisterFlagCompletionFunc("since", cobra.FixedCompletions([]string{"15m", "1h", "6h", "24h"}, cobra.ShellCompDirectiveNoFileComp)))
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON: an array, with -f one sample a line, with --since the kept samples and changes")
	return c
}

// statsOnce prints one sample. A sandbox that was named and does not run is a
// failure; the others are printed all the same.
func (a *app) statsOnce(ctx context.Context, names []string, asJSON bool) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	only, err := statsOf(ctx, client, names)
	if err != nil {
		return err
	}
	report, err := client.Stats(ctx)
	if err != nil {
		return explain(err, "")
	}
	report.Sandboxes = only.of(report.Sandboxes)
	if asJSON {
		err = a.printJSON(report.Sandboxes)
	} else {
		header, rows := statsTable(report, a.width())
		if len(only) == 0 || len(rows) > 0 { // of those named that do not run, it is said below
			err = writeTable(a.stdout, header, rows)
		}
	}
	if err != nil {
		return err
	}
	for _, d := range only {
		if !slices.ContainsFunc(report.Sandboxes, func(s api.Stats) bool { return s.ID == d.ID }) {
			complain(a.stderr, "stats", hint(fmt.Errorf("%s does not run: it is %s", d.Name, stateWord(d.Sandbox)), "start it with: cove start %s", d.Name))
			err = &exitError{status: statusFailed}
		}
	}
	return err
}

// statsLive shows samples until ctx ends. It outlives the daemon: it waits for
// the next one, without starting it.
func (a *app) statsLive(ctx context.Context, names []string, asJSON bool) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	only, err := statsOf(ctx, client, names)
	if err != nil {
		return err
	}
	var out statsOutput = statsLines{a}
	switch {
	case asJSON:
		out = statsJSON{a}
	case isTerminal(a.stdout):
		screen := newStatsScreen(a)
		defer screen.leave()
		out = screen
	}
	for {
		err := a.showStats(ctx, only, out)
		var refused *api.Error
		var output *outputError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &output):
			return err
		case errors.As(err, &refused) && refused.Code != api.CodeUnavailable:
			return explain(err, "")
		}
		if err := out.lost(); err != nil {
			return err
		}
		if err := a.awaitSocket(ctx); err != nil {
			return err
		}
	}
}

// statsOutput shows samples one after the other.
type statsOutput interface {
	show(r api.StatsReport) error
	// lost says that there is no daemon at the moment.
	lost() error
}

// showStats shows one stream of samples to its end.
func (a *app) showStats(ctx context.Context, only statsFilter, out statsOutput) error {
	stream, err := api.New(a.dirs.Socket()).FollowStats(ctx)
	if err != nil {
		return err
	}
	defer closeQuietly(stream)
	for {
		r, err := stream.Next()
		if err != nil {
			return err
		}
		r.Sandboxes = only.of(r.Sandboxes)
		if err := out.show(r); err != nil {
			return &outputError{err}
		}
	}
}

// statsFilter are the sandboxes that were named; none names all.
type statsFilter []api.Detail

func statsOf(ctx context.Context, client *api.Client, names []string) (statsFilter, error) {
	var f statsFilter
	for _, n := range names {
		d, err := client.Get(ctx, n)
		if err != nil {
			return nil, explain(err, n)
		}
		f = append(f, d)
	}
	return f, nil
}

// of is what the filter leaves of a sample, the busiest first.
func (f statsFilter) of(all []api.Stats) []api.Stats {
	all = slices.DeleteFunc(slices.Clone(all), func(s api.Stats) bool {
		return len(f) > 0 && !slices.ContainsFunc(f, func(d api.Detail) bool { return d.ID == s.ID })
	})
	slices.SortStableFunc(all, func(a, b api.Stats) int {
		return cmp.Or(cmp.Compare(b.CPU, a.CPU), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// statsJSON writes a sample a line.
type statsJSON struct{ a *app }

func (o statsJSON) show(r api.StatsReport) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = o.a.stdout.Write(append(escapeControls(line), '\n'))
	return err
}

func (o statsJSON) lost() error { return nil }

// statsLines writes a table for each sample below the one before.
type statsLines struct{ a *app }

func (o statsLines) show(r api.StatsReport) error {
	header, rows := statsTable(r, o.a.width())
	if err := writeTable(o.a.stdout, header, rows); err != nil {
		return err
	}
	return o.a.printf("\n")
}

func (o statsLines) lost() error {
	o.a.warn("the daemon is gone; waiting for the next one")
	return nil
}
