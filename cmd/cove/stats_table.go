package main

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/sys/unix"

	"cove/runtime/api"
	"cove/tui/text"
)

// statsColumn is one column of the table of statistics.
type statsColumn struct {
	title string
	cell  func(s *api.Stats, now time.Time) string
	// there tells whether a sandbox has something to show in it; nil: always.
	there func(s *api.Stats) bool
	// leaves says when it gives way on a terminal that is too narrow: 0 never,
	// the highest first.
	leaves int
}

// statsColumns are all of them, in their order.
func statsColumns() []statsColumn {
	known := func(fields string, value func(*api.Stats) string) func(*api.Stats, time.Time) string {
		return func(s *api.Stats, _ time.Time) string {
			if slices.Contains(s.Missing, fields) {
				return ""
			}
			return value(s)
		}
	}
	rate := func(field string, of func(*api.Stats) float64) func(*api.Stats, time.Time) string {
		return known(field, func(s *api.Stats) string { return text.Bytes(int64(of(s))) })
	}
	hasIO := func(s *api.Stats) bool { return s.IORead+s.IOWrite > 0 }
	return []statsColumn{
		{title: "NAME", cell: func(s *api.Stats, _ time.Time) string { return s.Name }},
		{title: "CPU%", cell: known("cpu", func(s *api.Stats) string { return strconv.FormatFloat(s.CPU*100, 'f', 1, 64) })},
		{title: "CPUS", leaves: 5, cell: func(s *api.Stats, _ time.Time) string {
			if s.CPULimit == 0 {
				return ""
			}
			return strconv.FormatFloat(s.CPULimit, 'f', -1, 64)
		}},
		{title: "MEMORY", cell: known("memory", func(s *api.Stats) string { return text.Bytes(s.Memory) })},
		{title: "LIMIT", leaves: 3, cell: func(s *api.Stats, _ time.Time) string { return limitWord(s.MemoryLimit) }},
		{title: "MEM%", leaves: 10, cell: known("memory", func(s *api.Stats) string {
			if s.MemoryLimit == 0 {
				return ""
			}
			return text.Percent(float64(s.Memory) / float64(s.MemoryLimit))
		})},
		{title: "DISK", leaves: 2, there: func(s *api.Stats) bool { return s.Disk+s.DiskLimit > 0 }, cell: known("disk", diskCell)},
		{title: "READ/S", leaves: 9, there: hasIO, cell: rate("io_read_rate", func(s *api.Stats) float64 { return s.IOReadRate })},
		{title: "WRITE/S", leaves: 8, there: hasIO, cell: rate("io_write_rate", func(s *api.Stats) float64 { return s.IOWriteRate })},
		{title: "WAITS", leaves: 6, there: func(s *api.Stats) bool { return s.CPUPressure+s.MemoryPressure+s.IOPressure > 0 }, cell: pressureCell},
		{title: "GPU", leaves: 1, there: func(s *api.Stats) bool { return len(s.GPUs) > 0 }, cell: gpuCell},
		{title: "RX/S", leaves: 12, cell: rate("net_rx_rate", func(s *api.Stats) float64 { return s.NetRxRate })},
		{title: "TX/S", leaves: 11, cell: rate("net_tx_rate", func(s *api.Stats) float64 { return s.NetTxRate })},
		{title: "PIDS", leaves: 7, cell: known("pids", func(s *api.Stats) string { return strconv.FormatInt(s.Pids, 10) })},
		{title: "ACTIVE", leaves: 13, cell: func(s *api.Stats, now time.Time) string { return ago(now, s.Active) }},
		{title: "NEXT", leaves: 4, there: func(s *api.Stats) bool { return dueCell(s.Due, time.Time{}) != "" }, cell: func(s *api.Stats, now time.Time) string { return dueCell(s.Due, now) }},
	}
}

// diskCell is what a sandbox's files take, of its quota where it has one.
func diskCell(s *api.Stats) string {
	if s.DiskLimit == 0 {
		return text.Bytes(s.Disk)
	}
	return text.Bytes(s.Disk) + "/" + text.Bytes(s.DiskLimit)
}

// limitWord is a limit, "" where there is none.
func limitWord(n int64) string {
	if n == 0 {
		return ""
	}
	return text.Bytes(n)
}

// pressureCell is for how much of the last seconds programs waited for the
// processor, memory and disks, in percent; "" where nobody can tell.
func pressureCell(s *api.Stats, _ time.Time) string {
	if slices.Contains(s.Missing, "cpu_pressure") && slices.Contains(s.Missing, "memory_pressure") && slices.Contains(s.Missing, "io_pressure") {
		return ""
	}
	return fmt.Sprintf("%.0f/%.0f/%.0f", s.CPUPressure*100, s.MemoryPressure*100, s.IOPressure*100)
}

// gpuCell is how busy each device is, and what of its memory is used.
func gpuCell(s *api.Stats, _ time.Time) string {
	var all []string
	for _, g := range s.GPUs {
		word := "?"
		if !slices.Contains(g.Missing, "utilization") {
			word = text.Percent(g.Utilization)
		}
		if !slices.Contains(g.Missing, "memory") {
			word += " " + text.Bytes(g.Memory)
		}
		all = append(all, word)
	}
	return strings.Join(all, ", ")
}

// dueCell counts down to what a sandbox's automation does to it next; "" where
// there is nothing, or what it does holds it off.
func dueCell(d *api.Due, now time.Time) string {
	if d == nil || d.At.IsZero() {
		return ""
	}
	return string(d.Action) + " " + text.Age(d.At.Sub(now))
}

// statsTable is a sample as rows of a table, with the total where there is more
// than one sandbox. What is not known is left empty. Columns that nobody has
// anything for are left out, and those that matter least where width is more
// than 0 and they do not fit.
func statsTable(r api.StatsReport, width int) (header []string, rows [][]string) {
	columns := slices.DeleteFunc(statsColumns(), func(c statsColumn) bool {
		return c.there != nil && !slices.ContainsFunc(r.Sandboxes, func(s api.Stats) bool { return c.there(&s) })
	})
	total := api.Stats{Name: fmt.Sprintf("(%d)", len(r.Sandboxes)), Missing: []string{"cpu_pressure", "memory_pressure", "io_pressure"}}
	for i := range r.Sandboxes {
		s := &r.Sandboxes[i]
		rows = append(rows, statsRow(columns, s, r.Time))
		total.CPU += s.CPU
		total.Memory += s.Memory
		total.Disk += s.Disk
		total.IOReadRate += s.IOReadRate
		total.IOWriteRate += s.IOWriteRate
		total.NetRxRate += s.NetRxRate
		total.NetTxRate += s.NetTxRate
		total.Pids += s.Pids
	}
	if len(rows) > 1 {
		rows = append(rows, statsRow(columns, &total, r.Time))
	}
	for _, c := range columns {
		header = append(header, c.title)
	}
	for width > 0 && tableWidth(header, rows) > width {
		out := -1
		for i, c := range columns {
			if c.leaves > 0 && (out < 0 || c.leaves > columns[out].leaves) {
				out = i
			}
		}
		if out < 0 {
			break
		}
		columns, header = slices.Delete(columns, out, out+1), slices.Delete(header, out, out+1)
		for i := range rows {
			rows[i] = slices.Delete(rows[i], out, out+1)
		}
	}
	return header, rows
}

func statsRow(columns []statsColumn, s *api.Stats, now time.Time) []string {
	row := make([]string, 0, len(columns))
	for _, c := range columns {
		row = append(row, c.cell(s, now))
	}
	return row
}

// statsScreen repaints a table on the terminal's other screen; when it leaves,
// the last one stays on the usual screen.
type statsScreen struct {
	a       *app
	resized chan os.Signal
	done    chan struct{}
	wg      sync.WaitGroup

	mu   sync.Mutex
	last *api.StatsReport
	gone bool // there is no daemon: last is old
}

func newStatsScreen(a *app) *statsScreen {
	s := &statsScreen{a: a, resized: make(chan os.Signal, 1), done: make(chan struct{})}
	signal.Notify(s.resized, unix.SIGWINCH)
	// A terminal that does not take this shows the rest all the same.
	_ = a.printf("%s%s", ansi.SetModeAltScreenSaveCursor, ansi.HideCursor)
	s.wg.Go(func() {
		for {
			select {
			case <-s.resized:
				s.mu.Lock()
				_ = s.paint() // the next sample meets the same error
				s.mu.Unlock()
			case <-s.done:
				return
			}
		}
	})
	return s
}

// leave gives the terminal back.
func (s *statsScreen) leave() {
	signal.Stop(s.resized)
	close(s.done)
	s.wg.Wait()
	_ = s.a.printf("%s%s", ansi.ShowCursor, ansi.ResetModeAltScreenSaveCursor)
	if s.last != nil {
		cols, _ := terminalSize(s.a.stdout)
		header, rows := statsTable(*s.last, cols)
		_ = writeTable(s.a.stdout, header, rows)
	}
}

func (s *statsScreen) show(r api.StatsReport) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.gone = &r, false
	return s.paint()
}

func (s *statsScreen) lost() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	return s.paint()
}

// paint writes the whole screen, in one go and without clearing it first: what
// stays the same does not flicker. The caller holds s.mu.
func (s *statsScreen) paint() error {
	cols, lines := terminalSize(s.a.stdout)
	if cols <= 0 || lines <= 0 {
		cols, lines = 80, 24
	}
	var table bytes.Buffer
	if s.last != nil {
		header, rows := statsTable(*s.last, cols)
		if most := lines - 2; len(rows) > most && most > 0 { // the header and a line for what is left out
			hidden := len(rows) - most
			rows = append(rows[:most:most], []string{fmt.Sprintf("and %d more", hidden)})
		}
		if err := writeTable(&table, header, rows); err != nil {
			return err
		}
	}
	shown := strings.Split(strings.TrimSuffix(table.String(), "\n"), "\n")
	if s.gone {
		notice := "the daemon is gone; waiting for the next one"
		if s.last != nil {
			notice += "; below is what was at " + s.last.Time.Local().Format(time.TimeOnly)
		}
		shown = append([]string{notice}, shown...)
	}
	shown = shown[:min(len(shown), lines)]
	var out strings.Builder
	out.WriteString(ansi.SetModeSynchronizedOutput + ansi.CursorHomePosition)
	for i, line := range shown {
		if i > 0 {
			out.WriteString("\r\n")
		}
		// Erased first: behind a line that fills the terminal the cursor still
		// stands on its last cell.
		out.WriteString(ansi.EraseLineRight)
		out.WriteString(ansi.Truncate(line, cols, ""))
	}
	if len(shown) < lines {
		out.WriteString("\r\n" + ansi.EraseScreenBelow)
	}
	out.WriteString(ansi.ResetModeSynchronizedOutput)
	return s.a.printf("%s", out.String())
}
