package server

import (
	"context"
	"net/http"

	"cove/runtime/api"
	"cove/runtime/cgroup"
	"cove/runtime/sandbox"
)

// stats answers with one sample of what the running sandboxes use, or streams
// one a second.
func (q *request) stats() error {
	v, err := query(q.r, "follow")
	if err != nil {
		return err
	}
	follow, err := flag(v, "follow", false)
	if err != nil {
		return err
	}
	if !follow {
		report, err := q.s.opt.Manager.Stats(q.r.Context(), q.caller)
		if err != nil {
			return err
		}
		return q.reply(http.StatusOK, toStatsReport(report))
	}
	// The stream ends with the client and with the server.
	ctx, cancel := context.WithCancel(q.r.Context())
	defer cancel()
	stop := context.AfterFunc(q.s.under.streams, cancel)
	defer stop()
	reports, err := q.s.opt.Manager.FollowStats(ctx, q.caller)
	if err != nil {
		return err
	}
	q.startLines()
	for r := range reports {
		// A client that does not take a line in time is gone; one that is
		// merely slow misses lines.
		if q.failure = q.send(toStatsReport(r)); q.failure != nil {
			return nil
		}
	}
	return nil
}

func toStatsReport(r sandbox.StatsReport) api.StatsReport {
	out := api.StatsReport{Time: r.Time, Sandboxes: make([]api.Stats, 0, len(r.Sandboxes))}
	for i := range r.Sandboxes {
		out.Sandboxes = append(out.Sandboxes, toStats(&r.Sandboxes[i]))
	}
	return out
}

func toStats(s *sandbox.Stats) api.Stats {
	u := &s.Usage
	return api.Stats{
		ID: s.ID, Name: s.Name,
		CPU: s.CPU, CPUTotal: u.CPU.Seconds(), CPULimit: u.CPULimit,
		Memory: u.Memory, MemoryPeak: u.MemoryPeak, MemoryLimit: u.MemoryLimit, Swap: u.Swap,
		Pids: u.Pids, PidsLimit: u.PidsLimit,
		NetRx: s.NetRx, NetTx: s.NetTx, NetRxRate: s.NetRxRate, NetTxRate: s.NetTxRate,
		Disk: s.Disk, DiskLimit: s.DiskLimit,
		GPUs:   toGPUUses(s.GPUs),
		IORead: u.IORead, IOWrite: u.IOWrite, IOReadRate: s.IOReadRate, IOWriteRate: s.IOWriteRate,
		CPUPressure: u.CPUPressure, MemoryPressure: u.MemoryPressure, IOPressure: u.IOPressure,
		CPUThrottled: u.Throttled.Seconds(), OOMKills: u.OOMKills,
		Due: toDue(s.Due), Active: s.Active, Missing: missing(s.Missing),
	}
}

// missing are the names on the wire of what is not known.
func missing(quantities []string) []string {
	var names []string
	for _, q := range quantities {
		switch q {
		case string(cgroup.CPU):
			names = append(names, "cpu", "cpu_total")
		case sandbox.MissingRates:
			names = append(names, "cpu", "net_rx_rate", "net_tx_rate", "io_read_rate", "io_write_rate")
		case string(cgroup.IO):
			names = append(names, "io_read", "io_write", "io_read_rate", "io_write_rate")
		default:
			names = append(names, q)
		}
	}
	return names
}
