package api

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// StatsInterval is how often a stream of statistics has a line.
const StatsInterval = time.Second

// Stats is what one running sandbox uses. Sizes are in bytes; 0 is "no limit"
// for limits. What this host cannot tell is 0, see Missing.
type Stats struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// CPU is how many cores were used, on average, since the sample before:
	// 1.5 is one and a half. CPUTotal is the processor time in seconds since
	// the start.
	CPU      float64 `json:"cpu"`
	CPUTotal float64 `json:"cpu_total"`
	CPULimit float64 `json:"cpu_limit,omitempty"`
	// Memory is what counts against the limit less what the kernel would
	// give back first (inactive file pages), as docker and kubectl count it.
	Memory      int64 `json:"memory"`
	MemoryPeak  int64 `json:"memory_peak,omitempty"`
	MemoryLimit int64 `json:"memory_limit,omitempty"`
	Swap        int64 `json:"swap,omitempty"`
	Pids        int64 `json:"pids"`
	PidsLimit   int64 `json:"pids_limit,omitempty"`
	// NetRx and NetTx are bytes that the sandbox received and sent since its
	// start; the rates are bytes per second since the sample before.
	NetRx     int64   `json:"net_rx"`
	NetTx     int64   `json:"net_tx"`
	NetRxRate float64 `json:"net_rx_rate"`
	NetTxRate float64 `json:"net_tx_rate"`
	// Disk is what the sandbox's own files take of its quota, DiskLimit the
	// quota; without one, what they occupied when they were last counted, half a
	// minute ago or more.
	Disk      int64 `json:"disk"`
	DiskLimit int64 `json:"disk_limit,omitempty"`
	// IORead and IOWrite are bytes that went between the sandbox and block
	// devices since its start; the rates are per second.
	IORead      int64   `json:"io_read"`
	IOWrite     int64   `json:"io_write"`
	IOReadRate  float64 `json:"io_read_rate"`
	IOWriteRate float64 `json:"io_write_rate"`
	// The pressures are the part, 0 to 1, of the last ten seconds in which some
	// process of the sandbox waited for that resource (PSI "some avg10",
	// Documentation/accounting/psi.rst).
	CPUPressure    float64 `json:"cpu_pressure"`
	MemoryPressure float64 `json:"memory_pressure"`
	IOPressure     float64 `json:"io_pressure"`
	// CPUThrottled is for how many seconds since its start its limit kept it
	// from running.
	CPUThrottled float64 `json:"cpu_throttled"`
	// OOMKills is how many of its processes the kernel has killed for memory
	// since its start.
	OOMKills int64 `json:"oom_kills,omitempty"`
	// GPUs are the devices that it holds.
	GPUs []GPUUse `json:"gpus,omitempty"`
	// Due is what its automation does to it next.
	Due *Due `json:"due,omitempty"`
	// Active is when something was last seen to happen: its start, a program
	// run or a byte passed through the daemon, and, while somebody asks for
	// statistics, a hundredth of a core in use or output on a terminal that
	// nobody is attached to (that some seconds late).
	Active time.Time `json:"active,omitzero"`
	// Missing names the fields, by their JSON names, that this host cannot
	// tell, and the rates where the daemon had no sample to count from: the
	// first of a sandbox.
	Missing []string `json:"missing,omitempty"`
}

// StatsReport is one sample of all running sandboxes that the caller may see,
// by name: a line of GET /v1/stats.
type StatsReport struct {
	Time      time.Time `json:"time"`
	Sandboxes []Stats   `json:"sandboxes"`
}

// Stats takes one sample of all running sandboxes. Rates are over the time
// since the daemon's sample before, at most a few seconds old; where there is
// none the daemon takes two. Stable.
func (c *Client) Stats(ctx context.Context) (StatsReport, error) {
	var r StatsReport
	return r, c.do(ctx, http.MethodGet, "/stats", nil, nil, &r)
}

// StatsStream is a stream of samples. Its owner reads it in one goroutine and
// closes it.
type StatsStream struct{ *lines[StatsReport] }

// FollowStats opens the stream of samples, one every [StatsInterval], the first
// at once and, where that had no rates, the second soon after. A reader that is
// slow misses lines. It goes on until ctx ends or Close is called. Codes: unavailable.
// Stable.
func (c *Client) FollowStats(ctx context.Context) (StatsStream, error) {
	l, err := follow[StatsReport](ctx, c, "/stats", url.Values{"follow": {"1"}}, true)
	return StatsStream{l}, err
}
