package sandbox

import (
	"time"

	"golang.org/x/sys/unix"
)

// Moment is one moment by the clocks that automation goes by (clock_gettime(2)).
type Moment struct {
	// Wall is CLOCK_REALTIME, which jumps when somebody sets it.
	Wall time.Time
	// Awake is CLOCK_MONOTONIC: it stands still while the machine is
	// suspended, so that nobody has been idle in that time.
	Awake time.Duration
	// Up is CLOCK_BOOTTIME, which goes on meanwhile.
	Up time.Duration
}

// systemClock is the machine's clock, with now for the time of day.
func systemClock(now func() time.Time) func() Moment {
	read := func(clock int32) time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(clock, &ts); err != nil {
			return 0 // both exist since Linux 2.6.39
		}
		return time.Duration(ts.Nano())
	}
	return func() Moment {
		return Moment{Wall: now().Round(0).UTC(), Awake: read(unix.CLOCK_MONOTONIC), Up: read(unix.CLOCK_BOOTTIME)}
	}
}

const (
	// clockGrace is for how long, of awake time, nothing is archived or deleted
	// and no ttl ends anything after the machine woke up or booted or somebody
	// set its clock: who opens a laptop after a week comes first.
	clockGrace = 5 * time.Minute
	// clockStep is by how much two clocks part before it is one of these: more
	// than what keeps the time right does in an hour.
	clockStep = 10 * time.Second
)

// offsets are how far the clocks are apart. They change only when the time is
// set or the machine is suspended.
type offsets struct {
	Boot string `json:"boot"`
	// Set is when the machine booted by the wall clock, Slept for how long it
	// was suspended since.
	Set   time.Time     `json:"set"`
	Slept time.Duration `json:"slept"`
	// Parted is when they parted last, Spared the end, in awake time, of the
	// time in which what was there then is spared.
	Parted time.Time     `json:"parted,omitzero"`
	Spared time.Duration `json:"spared,omitempty"`
}

func (n Moment) offsets(boot string) offsets {
	return offsets{Boot: boot, Set: n.Wall.Add(-n.Up), Slept: n.Up - n.Awake}
}

// spare notes that the clocks have parted now.
func (o *offsets) spare(now Moment) { o.Parted, o.Spared = now.Wall, now.Awake+clockGrace }

// parted tells whether the machine booted, slept or had its clock set between the
// two.
func (o offsets) parted(later offsets) bool {
	return o.Boot != later.Boot || later.Slept-o.Slept > clockStep || later.Set.Sub(o.Set).Abs() > clockStep
}
