package text

import (
	"strconv"
	"time"
)

// Age writes a span of time in at most seven letters, so that a column of
// them is read at a glance: "5s", "12m", "2h14m", "3d", "3d4h" below a week,
// "120d". A negative span, from a clock that was set back, is "0s".
func Age(d time.Duration) string {
	const day = 24 * time.Hour
	n := func(v time.Duration, unit string) string { return strconv.FormatInt(int64(v), 10) + unit }
	switch {
	case d < time.Second:
		return "0s"
	case d < time.Minute:
		return n(d/time.Second, "s")
	case d < time.Hour:
		return n(d/time.Minute, "m")
	case d < day:
		return two(n(d/time.Hour, "h"), d%time.Hour/time.Minute, "m")
	case d < 7*day:
		return two(n(d/day, "d"), d%day/time.Hour, "h")
	}
	return n(d/day, "d")
}

func two(head string, rest time.Duration, unit string) string {
	if rest == 0 {
		return head
	}
	return head + strconv.FormatInt(int64(rest), 10) + unit
}

// Left is a time that is still to pass, exact enough to wait for it: "42s",
// "4m12s", "1h5m", "6d3h". What is over is "0s".
func Left(d time.Duration) string {
	d = d.Round(time.Second)
	if d < time.Minute || d >= time.Hour {
		return Age(d)
	}
	return two(strconv.FormatInt(int64(d/time.Minute), 10)+"m", d%time.Minute/time.Second, "s")
}
