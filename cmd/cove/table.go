package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
)

// columnGap is the space between two columns of a table.
const columnGap = 2

// tableWidth is how many cells the table is wide.
func tableWidth(header []string, rows [][]string) int {
	total := columnGap * (len(header) - 1)
	for j := range header {
		w := ansi.StringWidth(header[j])
		for _, row := range rows {
			w = max(w, ansi.StringWidth(oneLine(row[j])), 1)
		}
		total += w
	}
	return total
}

// width is how many cells standard output has, 0 where it is no terminal.
func (a *app) width() int {
	if !isTerminal(a.stdout) {
		return 0
	}
	cols, _ := terminalSize(a.stdout)
	return max(cols, 0)
}

// writeTable writes a header and rows in aligned columns. Cells are made safe
// to print; the last column is not padded.
func writeTable(w io.Writer, header []string, rows [][]string) error {
	all := append([][]string{header}, rows...)
	widths := make([]int, len(header))
	clean := make([][]string, len(all))
	for i, row := range all {
		clean[i] = make([]string, len(row))
		for j, cell := range row {
			cell = oneLine(cell)
			if cell == "" {
				cell = "-"
			}
			clean[i][j] = cell
			widths[j] = max(widths[j], ansi.StringWidth(cell))
		}
	}
	var b strings.Builder
	for _, row := range clean {
		for j, cell := range row {
			b.WriteString(cell)
			if j < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[j]-ansi.StringWidth(cell)+columnGap))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ago says how long before now t was, in the largest unit that fits.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	d := now.Sub(t)
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d/time.Minute))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d/time.Hour))
	}
	return fmt.Sprintf("%dd ago", int(d/(24*time.Hour)))
}

// printFields prints names and values in two columns and leaves out what has
// no value.
func (a *app) printFields(fields [][2]string) error {
	width := 0
	for _, f := range fields {
		if f[1] != "" {
			width = max(width, len(f[0]))
		}
	}
	var b strings.Builder
	for _, f := range fields {
		if f[1] != "" {
			fmt.Fprintf(&b, "%-*s  %s\n", width, f[0], oneLine(f[1]))
		}
	}
	return a.printf("%s", b.String())
}

func sprint(v any) string { return fmt.Sprint(v) }
