package main

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/text"
)

// sinceRows is how many rows there are of one sandbox at most; its samples are put
// together for that.
const sinceRows = 48

// pastRows is a row for each part of the time, the oldest first, with what became of
// the sandbox in it.
func pastRows(p pastView, now time.Time, since time.Duration) (header []string, rows [][]string) {
	part := rowSpan(since)
	header = []string{"TIME", "CPU%", "MEMORY", "DISK", "GPU%", "PIDS", "CHANGES"}
	end := now.Truncate(part).Add(part)
	begin := now.Add(-since).Truncate(part)
	buckets := divide(p.Samples, end, end.Sub(begin), int(end.Sub(begin)/part))
	layout := "15:04:05"
	if part >= time.Minute {
		layout = "15:04"
	}
	for i, b := range buckets {
		from := begin.Add(time.Duration(i) * part)
		changes := strings.Join(changesIn(p.Changes, from, from.Add(part)), ", ")
		if b.Span == 0 && changes == "" {
			continue
		}
		row := []string{from.Local().Format(layout), "", "", "", "", "", changes}
		if b.Span > 0 {
			copy(row[1:], []string{hundredths(b.CPU), text.Bytes(b.Memory), diskOf(b), gpuOf(b), strconv.FormatInt(b.Pids, 10)})
		}
		rows = append(rows, row)
	}
	return withoutEmpty(header, rows, "DISK", "GPU%", "CHANGES")
}

// rowSpan is the shortest of the usual spans of which there are not too many.
func rowSpan(since time.Duration) time.Duration {
	for _, d := range []time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute} {
		if since <= sinceRows*d {
			return d
		}
	}
	return 30 * time.Minute
}

// divide puts the samples of the time until now together in n parts of it; one without
// any has no Span. A sample belongs where its middle is.
func divide(samples []api.Sample, now time.Time, since time.Duration, n int) []api.Sample {
	parts := make([][]api.Sample, n)
	for _, s := range samples {
		at := s.Time.Add(-s.Span.Std() / 2).Sub(now.Add(-since))
		i := int(float64(at) / float64(since) * float64(n))
		if i = min(i, n-1); i >= 0 && at >= 0 {
			parts[i] = append(parts[i], s)
		}
	}
	out := make([]api.Sample, n)
	for i, list := range parts {
		out[i] = inOne(list)
	}
	return out
}

// inOne is one sample of all.
func inOne(list []api.Sample) api.Sample {
	var sum api.Sample
	for _, s := range list {
		sum.Time, sum.Span = s.Time, sum.Span+s.Span
		sum.CPU += s.CPU * s.Span.Std().Seconds()
		sum.GPU += s.GPU * s.Span.Std().Seconds()
		sum.Memory, sum.Disk, sum.Pids = max(sum.Memory, s.Memory), max(sum.Disk, s.Disk), max(sum.Pids, s.Pids)
	}
	if d := sum.Span.Std().Seconds(); d > 0 {
		sum.CPU, sum.GPU = sum.CPU/d, sum.GPU/d
	}
	return sum
}

// changesIn is what a sandbox became from one time to before another, in words. What it
// only passed through on its way is left out.
func changesIn(all []api.Change, from, to time.Time) []string {
	var words []string
	for i, c := range all {
		if c.Time.Before(from) || !c.Time.Before(to) || passing(all, i) {
			continue
		}
		words = append(words, changeWord(all, i))
	}
	return words
}

// passing tells whether the next change follows from the same operation.
func passing(all []api.Change, i int) bool {
	return i+1 < len(all) && all[i].Op != "" && all[i+1].Op == all[i].Op && all[i].Held == all[i+1].Held
}

// changeWord is what a sandbox became at the i-th change. One that stands still is
// only that; one that is as it was before a resize, whatever came of that, tells of
// the resize.
func changeWord(all []api.Change, i int) string {
	c := all[i]
	if c.Held != "" {
		return "held"
	}
	if c.Op == lifecycle.OpResize {
		before := i - 1
		for before >= 0 && all[before].State == lifecycle.Resizing {
			before--
		}
		if before >= 0 && becameWord(all[before]) == becameWord(c) {
			return string(c.Op)
		}
	}
	return becameWord(c)
}

func becameWord(c api.Change) string {
	return stateWord(api.Sandbox{State: c.State, Reason: c.Reason})
}

// hundredths is a percentage: of one core, or of one device.
func hundredths(share float64) string { return strconv.FormatFloat(share*100, 'f', 1, 64) }

func diskOf(s api.Sample) string {
	if s.Disk == 0 {
		return ""
	}
	return text.Bytes(s.Disk)
}

func gpuOf(s api.Sample) string {
	if s.GPU == 0 {
		return ""
	}
	return hundredths(s.GPU)
}

// withoutEmpty leaves out those of the columns in which nobody has anything.
func withoutEmpty(header []string, rows [][]string, columns ...string) ([]string, [][]string) {
	for j := len(header) - 1; j >= 0; j-- {
		if !slices.Contains(columns, header[j]) || slices.ContainsFunc(rows, func(r []string) bool { return r[j] != "" }) {
			continue
		}
		header = slices.Delete(header, j, j+1)
		for i := range rows {
			rows[i] = slices.Delete(rows[i], j, j+1)
		}
	}
	return header, rows
}
