package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/tui/meter"
	"cove/tui/plot"
	"cove/tui/text"
)

// pastView is what the daemon has kept of one sandbox: an element of "cove stats
// --since D --json".
type pastView struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	api.History
}

// sinceSpan reads the span of --since.
func sinceSpan(value string) (time.Duration, error) {
	d, err := config.ParseDuration(value)
	if err != nil {
		return 0, usagef("--since: %v", err)
	}
	if d <= 0 {
		return 0, usagef("--since %s is no span of time (up to 24h is kept: --since 1h)", d)
	}
	return d.Std(), nil
}

// statsSince prints what sandboxes, all of them where none is named, used during
// the last span of time. Of one alone it has a row for each part of the time.
func (a *app) statsSince(ctx context.Context, names []string, span time.Duration, asJSON bool) error {
	client, err := a.client(ctx)
	if err != nil {
		return err
	}
	only, err := statsOf(ctx, client, names)
	if err != nil {
		return err
	}
	var boxes []api.Sandbox
	for _, d := range only {
		boxes = append(boxes, d.Sandbox)
	}
	if len(names) == 0 {
		if boxes, err = client.List(ctx, api.ListOptions{}); err != nil {
			return explain(err, "")
		}
	}
	all := make([]pastView, 0, len(boxes))
	for _, b := range boxes {
		h, err := client.History(ctx, b.ID, span)
		if len(names) == 0 && errors.Is(err, api.ErrNotFound) {
			continue // deleted since it was listed
		}
		if err != nil {
			return explain(err, b.Name)
		}
		all = append(all, pastView{ID: b.ID, Name: b.Name, History: h})
	}
	if asJSON {
		return a.printJSON(all)
	}
	if span > api.HistorySpan {
		a.warn("only the last %.0f hours are kept", api.HistorySpan.Hours())
	}
	if len(names) == 1 {
		header, rows := pastRows(all[0], time.Now(), min(span, api.HistorySpan))
		return writeTable(a.stdout, header, rows)
	}
	header, rows := pastTable(all, span, time.Now(), a.width())
	return writeTable(a.stdout, header, rows)
}

// Cells of the graph of processor time, and the least that says anything.
const (
	pastGraph      = 40
	pastGraphLeast = 16
)

// pastTable is what was used, a row a sandbox: of the processor and GPUs the
// average and the most, of the rest the most there was. On a terminal width cells
// wide, not 0, the processor has a graph where there is room.
func pastTable(all []pastView, span time.Duration, now time.Time, width int) (header []string, rows [][]string) {
	some := func(of meter.Series) bool {
		return slices.ContainsFunc(all, func(v pastView) bool { _, most := of.Summary(v.Samples); return most > 0 })
	}
	percent := func(v float64) string { return strconv.FormatFloat(v*100, 'f', 1, 64) }
	size := func(v float64) string { return text.Bytes(int64(v)) }
	header = []string{"NAME"}
	rows = make([][]string, len(all))
	for i := range all {
		rows[i] = []string{all[i].Name}
	}
	column := func(title string, cell func(samples []api.Sample) string) {
		header = append(header, title)
		for i := range all {
			word := ""
			if len(all[i].Samples) > 0 {
				word = cell(all[i].Samples)
			}
			rows[i] = append(rows[i], word)
		}
	}
	for _, s := range meter.AllSeries() {
		mean := func(samples []api.Sample) string { mean, _ := s.Summary(samples); return percent(mean) }
		most := func(as func(float64) string) func([]api.Sample) string {
			return func(samples []api.Sample) string { _, most := s.Summary(samples); return as(most) }
		}
		switch s.Name {
		case "cpu":
			column("CPU%", mean)
			column("MOST", most(percent))
		case "memory":
			column("MEMORY", most(size))
		case "disk":
			if some(s) {
				column("DISK", most(size))
			}
		case "gpu":
			if some(s) {
				column("GPU%", mean)
				column("MOST", most(percent))
			}
		case "processes":
			column("PIDS", most(func(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) }))
		}
	}
	if room := min(width-tableWidth(header, rows)-columnGap, pastGraph); room >= pastGraphLeast {
		cpu := meter.AllSeries()[0]
		column(fmt.Sprintf("CPU%% OVER %s", config.Duration(span)), func(samples []api.Sample) string {
			values := cpu.Resample(samples, now.Add(-span), now, room)
			spark := plot.Spark("▁▂▃▄▅▆▇█", values, max(1, slices.Max(append(known(values), 0))), room)
			return strings.ReplaceAll(spark, " ", "·") // a cell's blanks at its ends are not kept
		})
	}
	return header, rows
}

// known are the values that are no gaps.
func known(values []float64) []float64 {
	return slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return v != v })
}
