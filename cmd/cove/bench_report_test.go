package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// figure is one line of the benchmark: what was measured, and what it is held
// against.
type figure struct {
	Group  string  `json:"group"`
	Name   string  `json:"name"`
	Unit   string  `json:"unit"`
	N      int     `json:"n"`
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	P99    float64 `json:"p99"`
	// Against is the median in relation to what Budget speaks of.
	Against string `json:"against,omitempty"`
	Budget  string `json:"budget,omitempty"`
	Met     *bool  `json:"met,omitempty"`
	// Skipped is why there is no figure.
	Skipped string `json:"skipped,omitempty"`
}

// Units of figures.
const (
	millis  = "ms"
	mebi    = "MiB"
	percent = "% of a core"
)

// report collects figures.
type report struct {
	b       *testing.B
	group   string
	figures []*figure
	printed int
}

// in begins a group.
func (r *report) in(group string) { r.group = group }

// add adds a figure of samples.
func (r *report) add(name, unit string, samples []float64) *figure {
	f := &figure{Group: r.group, Name: name, Unit: unit, N: len(samples)}
	r.figures = append(r.figures, f)
	if len(samples) == 0 {
		f.Skipped = "nothing was measured"
		return f
	}
	s := slices.Clone(samples)
	slices.Sort(s)
	f.Min, f.Median, f.P99 = s[0], s[len(s)/2], s[min(len(s)-1, len(s)*99/100)]
	return f
}

func (r *report) times(name string, samples []time.Duration) *figure {
	var ms []float64
	for _, d := range samples {
		ms = append(ms, float64(d)/float64(time.Millisecond))
	}
	return r.add(name, millis, ms)
}

func (r *report) one(name, unit string, v float64) *figure { return r.add(name, unit, []float64{v}) }

func (r *report) skip(name, why string) {
	r.figures = append(r.figures, &figure{Group: r.group, Name: name, Skipped: oneLine(why)})
}

// budget holds a figure against a budget.
func (f *figure) budget(got, most float64, format string, args ...any) *figure {
	if f.Skipped == "" {
		met := got <= most
		f.Budget, f.Met = fmt.Sprintf(format, args...), &met
	}
	return f
}

// within wants the median to be at most so much.
func (f *figure) within(most float64) *figure {
	return f.budget(f.Median, most, "%g %s", most, f.Unit)
}

// times says how many times another figure's median this one's is.
func (f *figure) ratio(of *figure) float64 {
	if f.Skipped != "" || of.Skipped != "" || of.Median == 0 {
		return 0
	}
	x := f.Median / of.Median
	f.Against = fmt.Sprintf("%.2f x %s", x, of.short())
	return x
}

// over says by how much this median is over another's.
func (f *figure) over(of *figure) float64 {
	if f.Skipped != "" || of.Skipped != "" {
		return 0
	}
	d := f.Median - of.Median
	f.Against = fmt.Sprintf("%+.2f %s to %s", d, f.Unit, of.short())
	return d
}

// short is the name without what comes after a comma.
func (f *figure) short() string {
	name, _, _ := strings.Cut(f.Name, ",")
	return name
}

func (f *figure) row() []string {
	if f.Skipped != "" {
		return []string{f.Name, "", "", "", "", "skipped, see below", ""}
	}
	value := func(v float64) string {
		switch {
		case v >= 100:
			return fmt.Sprintf("%.0f", v)
		case v >= 10:
			return fmt.Sprintf("%.1f", v)
		}
		return fmt.Sprintf("%.2f", v)
	}
	row := []string{f.Name, fmt.Sprint(f.N), value(f.Min), value(f.Median), "", f.Against, ""}
	if f.N > 1 {
		row[4] = value(f.P99)
	} else {
		row[2] = ""
	}
	if f.Unit != millis {
		row[3] += " " + f.Unit
	}
	if f.Met != nil {
		row[6] = "met: " + f.Budget
		if !*f.Met {
			row[6] = "NOT MET: " + f.Budget
		}
	}
	return row
}

// print writes the figures that are new to stdout, a table for each group.
func (r *report) print() {
	var out strings.Builder
	for _, g := range r.groups() {
		var rows [][]string
		var notes string
		for _, f := range r.figures[r.printed:] {
			if f.Group != g {
				continue
			}
			rows = append(rows, f.row())
			if f.Skipped != "" {
				notes += fmt.Sprintf("skipped: %s: %s\n", f.Name, f.Skipped)
			}
		}
		if rows != nil {
			out.WriteByte('\n')
			must(writeTable(&out, []string{strings.ToUpper(g), "N", "MIN", "MEDIAN", "P99", "AGAINST", "BUDGET"}, rows))
			out.WriteString(notes)
		}
	}
	fmt.Print(out.String())
	r.printed = len(r.figures)
}

// write writes all figures to a file.
func (r *report) write() {
	path := os.Getenv("COVE_BENCH_JSON")
	if path == "" {
		path = filepath.Join(binDir(r.b), "bench.json")
	}
	var uts unix.Utsname
	_ = unix.Uname(&uts)
	data, err := json.MarshalIndent(map[string]any{
		"time": time.Now().UTC().Format(time.RFC3339), "kernel": unix.ByteSliceToString(uts.Release[:]), "cpus": runtime.NumCPU(), "figures": r.figures,
	}, "", "  ")
	must(err)
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		r.b.Errorf("write the figures: %v", err)
		return
	}
	fmt.Println("\nall figures:", path)
}

func (r *report) groups() []string {
	var groups []string
	for _, f := range r.figures {
		if !slices.Contains(groups, f.Group) {
			groups = append(groups, f.Group)
		}
	}
	return groups
}

func median(v []float64) float64 {
	s := slices.Clone(v)
	slices.Sort(s)
	return s[len(s)/2]
}

func timed(b *testing.B, f func() error) time.Duration {
	b.Helper()
	begin := time.Now()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return time.Since(begin)
}

// cpuOf is the processor time that all threads of a process have had
// (schedstat, Documentation/scheduler/sched-stats.rst).
func cpuOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		b.Fatalf("the threads of %d: %v", pid, err)
	}
	var sum time.Duration
	for _, f := range files {
		var ns int64
		data, err := os.ReadFile(f)
		if err != nil {
			continue // a thread that has just ended
		}
		if _, err := fmt.Sscan(string(data), &ns); err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(ns)
	}
	return sum
}

// childrenOf is the processor time of a process's children that have ended, and
// of theirs (proc_pid_stat(5): cutime and cstime, ticks of a hundredth of a second).
func childrenOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	// Behind the name, which may hold anything: the state is the third field.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	var user, system int64
	if _, err := fmt.Sscan(fields[16-3]+" "+fields[17-3], &user, &system); err != nil {
		b.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// kib reads a value in kB of one of /proc's files.
func kib(b *testing.B, path, key string) float64 {
	b.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var n float64
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			if _, err := fmt.Sscan(rest, &n); err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatalf("%s has no %s", path, key)
	return 0
}
