package meter

import (
	"slices"
	"time"

	"cove/runtime/api"
	"cove/tui/plot"
)

// Series is one of the things that samples of the past tell.
type Series struct {
	Name string
	// Mean says that of a longer time the average counts, and else the most.
	Mean bool
	Of   func(*api.Sample) float64
}

// AllSeries are all of them, in the order in which they are shown: cpu in cores,
// memory and disk in bytes, gpu as the part of the time in which it was busy, and
// processes.
func AllSeries() []Series {
	return []Series{
		{"cpu", true, func(s *api.Sample) float64 { return s.CPU }},
		{"memory", false, func(s *api.Sample) float64 { return float64(s.Memory) }},
		{"disk", false, func(s *api.Sample) float64 { return float64(s.Disk) }},
		{"gpu", true, func(s *api.Sample) float64 { return s.GPU }},
		{"processes", false, func(s *api.Sample) float64 { return float64(s.Pids) }},
	}
}

// Resample is what the series was from one time to another in w steps; steps of
// which nothing is known are gaps (see plot.Gap).
func (of Series) Resample(samples []api.Sample, from, to time.Time, w int) []float64 {
	step := to.Sub(from) / time.Duration(max(w, 1))
	if w < 1 || step <= 0 {
		return nil
	}
	out := slices.Repeat([]float64{plot.Gap()}, w)
	weights := make([]float64, w)
	for i := range samples {
		s := &samples[i]
		end := s.Time.Sub(from)
		begin := end - max(s.Span.Std(), 1)
		v := of.Of(s)
		for at := max(int(begin/step), 0); at < w && time.Duration(at)*step < end; at++ {
			overlap := min(end, time.Duration(at+1)*step) - max(begin, time.Duration(at)*step)
			if overlap <= 0 {
				continue
			}
			switch weight := weights[at] + overlap.Seconds(); {
			case weights[at] == 0:
				out[at] = v
				weights[at] = weight
			case of.Mean:
				out[at] += (v - out[at]) * overlap.Seconds() / weight
				weights[at] = weight
			default:
				out[at] = max(out[at], v)
			}
		}
	}
	return out
}

// Summary is the average of the series over the samples, each for its span, and
// the most there was.
func (of Series) Summary(samples []api.Sample) (mean, most float64) {
	spans := 0.0
	for i := range samples {
		v, span := of.Of(&samples[i]), max(samples[i].Span.Std(), 1).Seconds()
		spans += span
		mean += (v - mean) * span / spans
		most = max(most, v)
	}
	return mean, most
}
