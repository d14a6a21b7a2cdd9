package sandbox

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"cove/runtime/gpu"
	"cove/runtime/store"
)

const (
	// sampleSpan is what a sample is of at least, and a background sample at
	// most every so often. A sandbox that does nothing is asked less and less,
	// down to once in idleSpan.
	sampleSpan = 10 * time.Second
	idleSpan   = time.Minute
	// minuteSpan is what the samples of the last day are of at least.
	minuteSpan = time.Minute
	// idleCPU is the part of a core below which a sandbox does nothing.
	idleCPU = 0.001
	// Who has used no more than stillCPU since the last sample uses what it used
	// then; for stillLong that is believed.
	stillCPU  = time.Millisecond
	stillLong = 10 * time.Minute
	// lostSpan is after what time without a sample the next one says nothing of
	// the time between: the machine slept, or nothing ran.
	lostSpan = 3 * time.Minute
	// flushEvery is how long samples wait in memory: a disk that sleeps is not
	// woken for each. What a killed daemon loses is as much.
	flushEvery = time.Minute
	// sampleSlack is how much earlier than due a tick may come.
	sampleSlack = sampleSpan / 20

	// The files are in a sandbox's state directory, and go with it: 11520 and
	// 46080 bytes.
	samplesFile = "samples"
	minutesFile = "minutes"
)

// The last hour in spans of ten seconds, the last day in minutes.
func samplesRing() store.Ring { return store.Ring{Slots: 360, Size: sampleSize} }
func minutesRing() store.Ring { return store.Ring{Slots: 24 * 60, Size: sampleSize} }

// Sample is what a sandbox used during a span of time. Sizes are in bytes.
type Sample struct {
	Time time.Time // the span's end
	Span time.Duration
	// CPU is in cores on average, GPU the part of the time in which its devices
	// were busy; the others are the most there was.
	CPU, GPU           float64
	Memory, Disk, Pids int64
}

// sampleSize is what encode writes.
const sampleSize = 24

// samplePage is the unit in which sizes are kept.
const samplePage = 4 << 10

func (s Sample) encode() []byte {
	b := make([]byte, 0, sampleSize)
	b = binary.LittleEndian.AppendUint32(b, uint32(s.Time.Round(time.Second).Unix()))
	b = binary.LittleEndian.AppendUint16(b, uint16(min(max(s.Span.Round(time.Second)/time.Second, 1), math.MaxUint16)))
	b = binary.LittleEndian.AppendUint16(b, uint16(min(max(s.GPU, 0), 1)*1000+0.5))
	b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(s.CPU)))
	b = binary.LittleEndian.AppendUint32(b, clip32(s.Pids))
	b = binary.LittleEndian.AppendUint32(b, clip32((s.Memory+samplePage-1)/samplePage))
	return binary.LittleEndian.AppendUint32(b, clip32((s.Disk+samplePage-1)/samplePage))
}

func clip32(n int64) uint32 { return uint32(min(max(n, 0), math.MaxUint32)) }

func decodeSample(b []byte) Sample {
	return Sample{
		Time: time.Unix(int64(binary.LittleEndian.Uint32(b)), 0).UTC(),
		Span: time.Duration(binary.LittleEndian.Uint16(b[4:])) * time.Second,
		GPU:  float64(binary.LittleEndian.Uint16(b[6:])) / 1000,
		CPU:  float64(math.Float32frombits(binary.LittleEndian.Uint32(b[8:]))),
		Pids: int64(binary.LittleEndian.Uint32(b[12:])), Memory: int64(binary.LittleEndian.Uint32(b[16:])) * samplePage,
		Disk: int64(binary.LittleEndian.Uint32(b[20:])) * samplePage,
	}
}

// with is a sample of both spans.
func (s Sample) with(o Sample) Sample {
	span := s.Span + o.Span
	part := float64(o.Span) / float64(max(span, 1))
	return Sample{
		Time: o.Time, Span: span, CPU: s.CPU*(1-part) + o.CPU*part, GPU: s.GPU*(1-part) + o.GPU*part,
		Memory: max(s.Memory, o.Memory), Disk: max(s.Disk, o.Disk), Pids: max(s.Pids, o.Pids),
	}
}

// recorder keeps what sandboxes used during the last 24 hours. It takes what the
// sampler measures for others, and has it measure where nobody asks.
type recorder struct {
	m *Manager
	// file is held while files are read and written; it comes before mu.
	file sync.Mutex
	mu   sync.Mutex
	of   map[string]*recording // by id
	// full says that it was logged that samples could not be written.
	full bool
}

// recording is of one sandbox.
type recording struct {
	// begun is when the span began and what had been used by then; most is the
	// most there was in it, and busy the sum of gpus readings of its devices.
	begun counted
	most  Sample
	busy  float64
	gpus  int

	interval time.Duration // of background samples
	// last is what it used when it was last measured, at looked.
	last   Stats
	looked time.Time
	minute Sample // of the samples since the last one of a minute
	// fine and minutes wait to be written.
	fine, minutes []Sample
	// nextFine and nextMinute are their numbers; 0: the files were not read yet.
	nextFine, nextMinute uint32
}

func newRecorder(m *Manager) *recorder { return &recorder{m: m, of: map[string]*recording{}} }

// take takes a report of the sampler's. Reports may come as often as they like.
func (r *recorder) take(report StatsReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range report.Sandboxes {
		st := &report.Sandboxes[i]
		rec := r.of[st.ID]
		if rec == nil {
			rec = &recording{interval: sampleSpan}
			r.of[st.ID] = rec
		}
		rec.last, rec.looked = *st, report.Time
		rec.take(st, report.Time)
	}
}

func (rec *recording) take(st *Stats, at time.Time) {
	c := counted{at: at, cpu: st.Usage.CPU}
	d := at.Sub(rec.begun.at)
	if rec.begun.at.IsZero() || d < 0 || d > lostSpan || c.cpu < rec.begun.cpu {
		// The first of this daemon's, or of a start.
		rec.begun, rec.most, rec.busy, rec.gpus = c, Sample{}, 0, 0
		return
	}
	rec.most.Memory = max(rec.most.Memory, st.Usage.Memory)
	rec.most.Disk = max(rec.most.Disk, st.Disk)
	rec.most.Pids = max(rec.most.Pids, st.Usage.Pids)
	for i := range st.GPUs {
		if !slices.Contains(st.GPUs[i].Missing, gpu.Utilization) {
			rec.busy, rec.gpus = rec.busy+st.GPUs[i].Utilization, rec.gpus+1
		}
	}
	if d < sampleSpan-sampleSlack {
		return
	}
	s := rec.most
	s.Time, s.Span, s.CPU = at, d, grown(rec.begun.cpu, c.cpu)/float64(d)
	if rec.gpus > 0 {
		s.GPU = rec.busy / float64(rec.gpus)
	}
	rec.begun, rec.most, rec.busy, rec.gpus = c, Sample{}, 0, 0
	// A card works while the program that uses it waits.
	if rec.interval = sampleSpan; s.CPU < idleCPU && len(st.GPUs) == 0 {
		rec.interval = min(2*max(s.Span.Truncate(sampleSpan), sampleSpan), idleSpan)
	}
	rec.add(s)
}

// add takes a sample that is whole.
func (rec *recording) add(s Sample) {
	rec.fine = append(rec.fine, s)
	if rec.minute.Span > 0 && s.Time.Sub(rec.minute.Time)-s.Span > sampleSpan {
		// Not of one piece: it did not run in between.
		rec.minutes = append(rec.minutes, rec.minute)
		rec.minute = Sample{}
	}
	if rec.minute = rec.minute.with(s); rec.minute.Span >= minuteSpan-sampleSlack {
		rec.minutes = append(rec.minutes, rec.minute)
		rec.minute = Sample{}
	}
	// A disk that stays full.
	if n := samplesRing().Slots; len(rec.fine) > n {
		rec.fine = append([]Sample(nil), rec.fine[len(rec.fine)-n:]...)
	}
	if n := minutesRing().Slots; len(rec.minutes) > n {
		rec.minutes = append([]Sample(nil), rec.minutes[len(rec.minutes)-n:]...)
	}
}

// due tells whether a sandbox is to be measured though nobody asks. Of one that has
// done nothing since the last time that is all there is to say, in a twentieth of
// the time.
func (r *recorder) due(id string, now time.Time) bool {
	r.mu.Lock()
	rec := r.of[id]
	if rec == nil {
		r.mu.Unlock()
		return true
	}
	d, used := now.Sub(rec.begun.at), rec.begun.cpu
	due := d < 0 || d >= rec.interval-sampleSlack
	still := due && d > 0 && d < lostSpan && len(rec.last.GPUs) == 0 && now.Sub(rec.looked) < stillLong
	r.mu.Unlock()
	if !still || r.m.opt.CPUTimer == nil {
		return due
	}
	n, err := r.m.opt.CPUTimer.CPUTime(id)
	if err != nil || n < used || n-used > stillCPU {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	st := rec.last
	st.Usage.CPU = n
	rec.take(&st, now)
	return false
}

// forget drops what waits for a sandbox that is gone.
func (r *recorder) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.of, id)
}

// run has samples taken, and writes them down, until the Manager closes, which
// writes the rest.
func (r *recorder) run() {
	tick := time.NewTicker(sampleSpan)
	defer tick.Stop()
	for flushed := r.m.now(); ; {
		select {
		case <-tick.C:
		case <-r.m.ctx.Done():
			return
		}
		r.m.sampler.sampleDue(r.due)
		if now := r.m.now(); now.Sub(flushed) >= flushEvery-sampleSlack || now.Before(flushed) {
			r.flush()
			flushed = now
		}
	}
}

// flush writes what waits.
func (r *recorder) flush() {
	r.file.Lock()
	defer r.file.Unlock()
	r.mu.Lock()
	take := map[string]recording{}
	for id, rec := range r.of {
		if len(rec.fine)+len(rec.minutes) > 0 {
			take[id] = *rec
			rec.fine, rec.minutes = nil, nil
		}
	}
	r.mu.Unlock()
	for id, rec := range take {
		err := r.write(id, &rec)
		r.mu.Lock()
		if errors.Is(err, os.ErrNotExist) {
			delete(r.of, id) // its directory is gone: it was measured as it ended
		} else if now := r.of[id]; now != nil {
			now.nextFine, now.nextMinute = rec.nextFine, rec.nextMinute
			if err != nil {
				now.fine, now.minutes = append(rec.fine, now.fine...), append(rec.minutes, now.minutes...)
			}
		}
		first := err != nil && !r.full && !errors.Is(err, os.ErrNotExist)
		r.full = r.full || first
		r.mu.Unlock()
		if first {
			r.m.log.Warn("could not write down what a sandbox used", "sandbox", id, "error", err)
		}
	}
}

// write writes what waits in rec and takes out of it what was written.
func (r *recorder) write(id string, rec *recording) error {
	err := writeSamples(samplesRing(), r.path(id, samplesFile), &rec.nextFine, &rec.fine)
	return errors.Join(err, writeSamples(minutesRing(), r.path(id, minutesFile), &rec.nextMinute, &rec.minutes))
}

func writeSamples(ring store.Ring, path string, next *uint32, list *[]Sample) error {
	if *next == 0 {
		_, n, err := ring.Read(path)
		if err != nil {
			return err
		}
		*next = n
	}
	records := make([]store.RingRecord, 0, len(*list))
	for i, s := range *list {
		records = append(records, store.RingRecord{Seq: *next + uint32(i), Data: s.encode()})
	}
	if err := ring.Append(path, records...); err != nil {
		return err
	}
	*next += uint32(len(records))
	*list = nil
	return nil
}

func (r *recorder) path(id, name string) string { return filepath.Join(r.m.stateDir(id), name) }

// samples gives what is kept of a sandbox: minutes, and then the finer samples of
// the last hour, in the order in which they were taken.
func (r *recorder) samples(id string) (minutes, fine []Sample, err error) {
	r.file.Lock()
	defer r.file.Unlock()
	read := func(ring store.Ring, name string) []Sample {
		records, _, e := ring.Read(r.path(id, name))
		err = errors.Join(err, e)
		list := make([]Sample, 0, len(records))
		for _, x := range records {
			list = append(list, decodeSample(x.Data))
		}
		return list
	}
	minutes, fine = read(minutesRing(), minutesFile), read(samplesRing(), samplesFile)
	r.mu.Lock()
	defer r.mu.Unlock()
	if rec := r.of[id]; rec != nil {
		minutes, fine = append(minutes, rec.minutes...), append(fine, rec.fine...)
	}
	return minutes, fine, err
}
