package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/tuitest"
)

func someStats() api.StatsReport {
	now := time.Now().UTC()
	return api.StatsReport{Time: now, Sandboxes: []api.Stats{
		{ID: "aaaaaaaaaaaa", Name: "idle", CPULimit: 2, Memory: 1 << 20, MemoryLimit: 4 << 30, Pids: 1, Active: now.Add(-3 * time.Minute)},
		{
			ID: "bbbbbbbbbbbb", Name: "busy", CPU: 1.503, CPUTotal: 9, CPULimit: 1.5, Memory: 1 << 30, MemoryLimit: 4 << 30, Pids: 7,
			NetRx: 1 << 20, NetRxRate: 2048, NetTxRate: 10, Active: now,
		},
		{ID: "cccccccccccc", Name: "new", Pids: 2, Active: now, Missing: []string{"cpu", "net_rx_rate", "net_tx_rate", "memory"}},
	}}
}

func TestStatsTable(t *testing.T) {
	r := someStats()
	r.Sandboxes = statsFilter(nil).of(r.Sandboxes)
	var out strings.Builder
	header, rows := statsTable(r, 0)
	if err := writeTable(&out, header, rows); err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"NAME  CPU%   CPUS  MEMORY  LIMIT  MEM%  RX/S  TX/S  PIDS  ACTIVE",
		"busy  150.3  1.5   1G      4G     25%   2K    10    7     now",
		"idle  0.0    2     1M      4G     0%    0     0     1     3m ago",
		"new   -      -     -       -      -     -     -     2     now",
		"(3)   150.3  -     1G      -      -     2K    10    10    -",
	}, "\n") + "\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// Columns are there for who has something to show in them, and on a narrow
// terminal those that matter least go first.
func TestStatsTableOfLimits(t *testing.T) {
	now := time.Now().UTC()
	r := api.StatsReport{Time: now, Sandboxes: []api.Stats{
		{
			Name: "trainer", CPU: 1.5, CPULimit: 2, Memory: 1 << 30, MemoryLimit: 4 << 30, Disk: 62 << 20, DiskLimit: 64 << 20, IORead: 1, IOReadRate: 1e6, IOWriteRate: 2e6,
			CPUPressure: 0.12, MemoryPressure: 0.004, IOPressure: 1, Pids: 7, Active: now,
			GPUs: []api.GPUUse{{ID: "x=0", Utilization: 0.92, Memory: 71 << 30}, {ID: "x=1", Missing: []string{"utilization", "memory"}}},
			Due:  &api.Due{Action: lifecycle.OpStop, Key: "auto_stop", At: now.Add(4 * time.Minute)},
		},
		{
			Name: "old", Disk: 5, Missing: []string{"disk", "cpu_pressure", "memory_pressure", "io_pressure", "io_read_rate"}, Active: now,
			Due: &api.Due{Action: lifecycle.OpStop, Busy: []string{"cpu"}},
		},
	}}
	for width, want := range map[int]string{
		0: "NAME     CPU%   CPUS  MEMORY  LIMIT  MEM%  DISK     READ/S  WRITE/S  WAITS     GPU         RX/S  TX/S  PIDS  ACTIVE  NEXT\n" +
			"trainer  150.0  2     1G      4G     25%   62M/64M  977K    1.9M     12/0/100  92% 71G, ?  0     0     7     now     stop 4m\n" +
			"old      0.0    -     0       -      -     -        -       0        -         -           0     0     0     now     -\n" +
			"(2)      150.0  -     1G      -      -     62M      977K    1.9M     -         -           0     0     7     -       -\n",
		80: "NAME     CPU%   CPUS  MEMORY  LIMIT  DISK     WAITS     GPU         NEXT\n",
		40: "NAME     CPU%   MEMORY  GPU\n",
		9:  "NAME     CPU%   MEMORY\n",
	} {
		header, rows := statsTable(r, width)
		var out strings.Builder
		if err := writeTable(&out, header, rows); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(out.String(), want) {
			t.Errorf("at %d: got\n%swant\n%s", width, out.String(), want)
		}
		if widest := len(strings.SplitN(out.String(), "\n", 2)[0]); width >= 40 && widest > width {
			t.Errorf("%d cells at %d", widest, width)
		}
	}
}

// statistics makes a stand-in answer with reports: one where there is no
// follower, and for followers each that is sent to the channel.
func (s *standIn) statistics(reports <-chan api.StatsReport) {
	s.mux.HandleFunc("GET /v1/sandboxes/{ref}", func(w http.ResponseWriter, r *http.Request) {
		for _, st := range someStats().Sandboxes {
			if st.Name == r.PathValue("ref") {
				reply(w, http.StatusOK, api.Detail{Sandbox: api.Sandbox{ID: st.ID, Name: st.Name, State: lifecycle.Started}})
				return
			}
		}
		if r.PathValue("ref") == "still" {
			reply(w, http.StatusOK, api.Detail{Sandbox: api.Sandbox{ID: "dddddddddddd", Name: "still", State: lifecycle.Stopped}})
			return
		}
		reply(w, http.StatusNotFound, api.Error{Code: api.CodeNotFound, Message: "no such sandbox"})
	})
	s.mux.HandleFunc("GET /v1/stats", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("follow") != "1" {
			reply(w, http.StatusOK, someStats())
			return
		}
		w.WriteHeader(http.StatusOK)
		rc := http.NewResponseController(w)
		_ = rc.Flush()
		for {
			select {
			case rep, ok := <-reports:
				if !ok {
					return
				}
				_ = json.NewEncoder(w).Encode(rep)
				_ = rc.Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
}

func TestStatsOnce(t *testing.T) {
	s := newStandIn(t)
	s.statistics(nil)
	for _, tt := range []struct {
		args   string
		status int
		rows   []string // first words of the lines
		stderr string
	}{
		{args: "", rows: []string{"NAME", "busy", "idle", "new", "(3)"}},
		{args: "--no-stream idle busy", rows: []string{"NAME", "busy", "idle", "(2)"}},
		{args: "idle", rows: []string{"NAME", "idle"}},
		{args: "idle still", status: 1, rows: []string{"NAME", "idle"}, stderr: "cove: stats: still does not run: it is stopped (start it with: cove start still)\n"},
		{args: "still", status: 1, stderr: "cove: stats: still does not run: it is stopped (start it with: cove start still)\n"},
		{args: "nowhere", status: 1, stderr: "cove: stats: nowhere: no such sandbox (see: cove ls)\n"},
		{args: "-f --no-stream", status: 2, stderr: "cove: stats: --follow and --no-stream exclude each other\n"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			out, stderr, status := s.cove(nil, append([]string{"stats"}, strings.Fields(tt.args)...)...)
			var rows []string
			for line := range strings.Lines(out) {
				rows = append(rows, strings.Fields(line)[0])
			}
			if status != tt.status || !slices.Equal(rows, tt.rows) || stderr != tt.stderr {
				t.Errorf("status %d, %q, %q", status, rows, stderr)
			}
		})
	}
	out, _, status := s.cove(nil, "stats", "--json", "busy")
	var list []api.Stats
	if err := json.Unmarshal([]byte(out), &list); err != nil || status != 0 || len(list) != 1 || list[0].CPUTotal != 9 {
		t.Errorf("status %d, %v, %s", status, err, out)
	}
}

// TestStatsFollow has lines until it is interrupted, over the end of a stream.
func TestStatsFollow(t *testing.T) {
	s := newStandIn(t)
	reports := make(chan api.StatsReport)
	s.statistics(reports)
	cmd := s.command("stats", "-f", "--json", "idle")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := json.NewDecoder(stdout)
	for range 2 {
		reports <- someStats()
		var r api.StatsReport
		if err := lines.Decode(&r); err != nil || len(r.Sandboxes) != 1 || r.Sandboxes[0].Name != "idle" {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if status := exitStatus(t, cmd.Wait()); status != 0 {
		t.Errorf("status %d after ctrl+c", status)
	}
}

// TestStatsLive is the table on a terminal: it follows what is sent and the
// terminal's size, says that the daemon is gone, and leaves the terminal as it was.
func TestStatsLive(t *testing.T) {
	s := newStandIn(t)
	reports := make(chan api.StatsReport)
	end := sync.OnceFunc(func() { close(reports) })
	defer end()
	s.statistics(reports)
	cmd := s.command("stats")
	program := filepath.Join(t.TempDir(), "cove")
	if err := os.Symlink(cmd.Path, program); err != nil {
		t.Fatal(err)
	}
	tt := tuitest.Start(t, tuitest.Config{Cols: 60, Rows: 6, Env: cmd.Env}, program, cmd.Args[1:]...)
	send := func(r api.StatsReport) {
		t.Helper()
		select {
		case reports <- r:
		case <-time.After(20 * time.Second):
			t.Fatalf("nobody follows:\n%s", tt.Screen().Text())
		}
	}
	send(someStats())
	tt.Wait("the whole table, cut to the width", func(s tuitest.Screen) bool {
		_, busy := s.Line("busy  150.3")
		_, total := s.Line("(3)   150.3")
		return busy == 1 && total == 4
	})
	// Shorter lines leave nothing of the longer ones, and fewer none of the more.
	few := someStats()
	few.Sandboxes = few.Sandboxes[:1]
	send(few)
	tt.Wait("one row and nothing below", func(s tuitest.Screen) bool {
		return strings.HasPrefix(s.Lines[1], "idle") && strings.TrimSpace(strings.Join(s.Lines[2:], "")) == ""
	})
	send(someStats())
	tt.See("busy")
	tt.Resize(60, 4)
	tt.See("and 2 more")
	tt.Resize(120, 10)
	tt.See("ACTIVE")
	// The stream ends; the daemon that answers then has nothing to say.
	send(someStats())
	end()
	tt.See("the daemon is gone")
	tt.Send("\x03")
	if err := tt.Exit(); err != nil {
		t.Errorf("ctrl+c: %v", err)
	}
	if tt.Mode(1049) {
		t.Error("the other screen is still on")
	}
	tt.See("busy  150.3") // the last table stays
}

func TestPastTable(t *testing.T) {
	now := time.Now()
	at := func(ago time.Duration, cpu float64, memory, pids int64) api.Sample {
		return api.Sample{Time: now.Add(-ago), Span: config.Duration(15 * time.Minute), CPU: cpu, Memory: memory, Pids: pids}
	}
	all := []pastView{
		{Name: "busy", History: api.History{Samples: []api.Sample{at(30*time.Minute, 0.5, 1<<30, 3), at(0, 1.5, 2<<30, 9)}}},
		{Name: "never"},
	}
	for width, want := range map[int]string{
		0: "NAME   CPU%   MOST   MEMORY  PIDS\n" +
			"busy   100.0  150.0  2G      9\n" +
			"never  -      -      -       -\n",
		51: "NAME   CPU%   MOST   MEMORY  PIDS  CPU% OVER 1h\n" +
			"busy   100.0  150.0  2G      9     ····▄▄▄▄····████\n" +
			"never  -      -      -       -     -\n",
		50: "NAME   CPU%   MOST   MEMORY  PIDS\n",
	} {
		header, rows := pastTable(all, time.Hour, now, width)
		var out strings.Builder
		if err := writeTable(&out, header, rows); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(out.String(), want) {
			t.Errorf("at %d: got\n%swant\n%s", width, out.String(), want)
		}
	}
	all[0].Samples[0].Disk, all[0].Samples[0].GPU = 5<<20, 0.5
	header, rows := pastTable(all, time.Hour, now, 0)
	if got := strings.Join(header, " ") + "|" + strings.Join(rows[0], " "); got != "NAME CPU% MOST MEMORY DISK GPU% MOST PIDS|busy 100.0 150.0 2G 5M 25.0 50.0 9" {
		t.Error(got)
	}
}

func TestStatsSinceUsage(t *testing.T) {
	s := newStandIn(t)
	for args, want := range map[string]string{
		"--since 1h -f": "cove: stats: --since tells of the past: --follow and --no-stream do not go with it\n",
		"--since 0":     "cove: stats: --since 0 is no span of time (up to 24h is kept: --since 1h)\n",
		"--since never": "cove: stats: --since never is no span of time (up to 24h is kept: --since 1h)\n",
		"--since soon":  `cove: stats: --since: bad duration "soon"`,
		"--since=":      `cove: stats: --since: bad duration ""`,
	} {
		_, stderr, status := s.cove(nil, append([]string{"stats"}, strings.Fields(args)...)...)
		if status != 2 || !strings.HasPrefix(stderr, want) {
			t.Errorf("%s: status %d, %q", args, status, stderr)
		}
	}
}
