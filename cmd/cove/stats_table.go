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

// statsTable is a sample as rows of a table, with the total where there is more
// than one sandbox. What is not known is left empty.
func statsTable(r api.StatsReport) (header []string, rows [][]string) {
	header = []string{"NAME", "CPU%", "CPUS", "MEMORY", "LIMIT", "MEM%", "RX/S", "TX/S", "PIDS", "ACTIVE"}
	total := api.Stats{Name: fmt.Sprintf("(%d)", len(r.Sandboxes))}
	for _, s := range r.Sandboxes {
		rows = append(rows, statsRow(s, r.Time))
		total.CPU += s.CPU
		total.Memory += s.Memory
		total.NetRxRate += s.NetRxRate
		total.NetTxRate += s.NetTxRate
		total.Pids += s.Pids
	}
	if len(rows) > 1 {
		rows = append(rows, statsRow(total, r.Time))
	}
	return header, rows
}

func statsRow(s api.Stats, now time.Time) []string {
	known := func(field, value string) string {
		if slices.Contains(s.Missing, field) {
			return ""
		}
		return value
	}
	limit := func(n int64, f func(int64) string) string {
		if n == 0 {
			return ""
		}
		return f(n)
	}
	share := ""
	if s.MemoryLimit > 0 {
		share = known("memory", text.Percent(float64(s.Memory)/float64(s.MemoryLimit)))
	}
	cpus := ""
	if s.CPULimit > 0 {
		cpus = strconv.FormatFloat(s.CPULimit, 'f', -1, 64)
	}
	return []string{
		s.Name, known("cpu", strconv.FormatFloat(s.CPU*100, 'f', 1, 64)), cpus,
		known("memory", text.Bytes(s.Memory)), limit(s.MemoryLimit, text.Bytes), share,
		known("net_rx_rate", text.Bytes(int64(s.NetRxRate))), known("net_tx_rate", text.Bytes(int64(s.NetTxRate))),
		known("pids", strconv.FormatInt(s.Pids, 10)), ago(now, s.Active),
	}
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
		header, rows := statsTable(*s.last)
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
		header, rows := statsTable(*s.last)
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
