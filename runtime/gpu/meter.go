package gpu

import (
	"context"
	"encoding/csv"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// pollEvery is how often nvidia-smi runs at most, and only while somebody
	// asks: it takes tens of milliseconds.
	pollEvery = 2 * time.Second
	// pollStale is from when on a reading says nothing any more: whoever asks every
	// ten seconds gets that of the time before.
	pollStale = 15 * time.Second
	pollLimit = 5 * time.Second
)

func smiPaths() []string {
	return []string{"/usr/bin/nvidia-smi", driverBin + "/nvidia-smi", "/usr/local/bin/nvidia-smi"}
}

// Use is what a device does, whoever uses it. Memory is in bytes.
type Use struct {
	Utilization         float64 // 0 to 1
	Memory, MemoryTotal int64
	// Missing names what is not known: [Utilization], [Memory] and [MemoryTotal].
	Missing []string
}

// Quantities of a [Use].
const (
	Utilization = "utilization"
	Memory      = "memory"
	MemoryTotal = "memory_total"
)

func unknown() Use { return Use{Missing: []string{Utilization, Memory, MemoryTotal}} }

// meter reads what devices do. NVIDIA's it reads in the background, one program
// at a time, and keeps the last reading.
type meter struct {
	root   string
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	at      time.Time // of last
	tried   time.Time
	last    map[string]Use // by UUID
	reading chan struct{}  // closed when the reading under way has ended; else nil
}

func newMeter(root string) *meter {
	m := &meter{root: root}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

func (m *meter) close() {
	m.cancel()
	m.wg.Wait()
}

// Use tells what the devices do that are held, in their order. It does not wait:
// NVIDIA's is that of the last seconds, and the first time it is not known yet.
func (d *Driver) Use(claims []Claim) []Use {
	uses := make([]Use, len(claims))
	for i := range claims {
		uses[i] = d.meter.use(&claims[i])
	}
	return uses
}

// Await has the next Use know what can be known, within ctx.
func (d *Driver) Await(ctx context.Context) {
	d.meter.mu.Lock()
	fresh := d.meter.read()
	d.meter.mu.Unlock()
	if fresh == nil {
		return
	}
	select {
	case <-fresh:
	case <-ctx.Done():
	}
}

func (m *meter) use(c *Claim) Use {
	switch {
	case c.DRM != "":
		return amdUse(m.root, c.DRM)
	case len(c.Parts) > 0 || !strings.HasPrefix(c.UUID, "GPU-"):
		return unknown() // nvidia-smi has no such figures of a part of a card
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = m.read()
	if u, ok := m.last[c.UUID]; ok && time.Since(m.at) < pollStale {
		return u
	}
	return unknown()
}

// read begins a reading where the last is too old, and gives what is closed at
// the end of the one under way; nil when there is none. The caller holds m.mu.
func (m *meter) read() <-chan struct{} {
	if m.reading != nil || time.Since(m.tried) < pollEvery || m.ctx.Err() != nil {
		return m.reading
	}
	done := make(chan struct{})
	m.reading, m.tried = done, time.Now()
	m.wg.Go(func() {
		now := readNVIDIA(m.ctx)
		m.mu.Lock()
		defer m.mu.Unlock()
		if now != nil {
			m.last, m.at = now, time.Now()
		}
		m.reading, m.tried = nil, time.Now()
		close(done)
	})
	return done
}

// readNVIDIA asks nvidia-smi; nil where it does not answer.
func readNVIDIA(ctx context.Context) map[string]Use {
	smi, err := firstProgram(smiPaths())
	if err != nil || smi == "" {
		return nil
	}
	out, err := output(ctx, pollLimit, smi, "--query-gpu=uuid,utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits")
	if err != nil {
		return nil
	}
	return parseSMI(string(out))
}

// parseSMI reads lines of UUID, per cent, MiB and MiB. What a card does not tell
// is "[N/A]" there.
func parseSMI(text string) map[string]Use {
	r := csv.NewReader(strings.NewReader(text))
	r.TrimLeadingSpace, r.FieldsPerRecord = true, 4
	rows, err := r.ReadAll()
	if err != nil {
		return nil
	}
	uses := map[string]Use{}
	for _, row := range rows {
		var u Use
		number := func(field int, name string) float64 {
			n, err := strconv.ParseFloat(strings.TrimSpace(row[field]), 64)
			if err != nil || n < 0 {
				u.Missing = append(u.Missing, name)
				return 0
			}
			return n
		}
		u.Utilization = min(1, number(1, Utilization)/100)
		u.Memory = int64(number(2, Memory) * (1 << 20))
		u.MemoryTotal = int64(number(3, MemoryTotal) * (1 << 20))
		uses[strings.TrimSpace(row[0])] = u
	}
	return uses
}

// amdUse reads what the kernel tells of a card (Documentation/gpu/amdgpu/driver-misc.rst
// and thermal.rst).
func amdUse(root, render string) Use {
	var u Use
	number := func(file, name string) int64 {
		n, err := strconv.ParseInt(readLine(drmFile(root, render, file)), 10, 64)
		if err != nil || n < 0 {
			u.Missing = append(u.Missing, name)
			return 0
		}
		return n
	}
	u.Utilization = min(1, float64(number("gpu_busy_percent", Utilization))/100)
	u.Memory = number("mem_info_vram_used", Memory)
	u.MemoryTotal = number("mem_info_vram_total", MemoryTotal)
	return u
}
