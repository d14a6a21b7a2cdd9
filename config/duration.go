package config

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

type durationUnit struct {
	suffix string
	span   time.Duration
}

// durationUnits are the units a duration may be written with, longest first.
func durationUnits() []durationUnit {
	return []durationUnit{
		{"d", day},
		{"h", time.Hour},
		{"m", time.Minute},
		{"s", time.Second},
		{"ms", time.Millisecond},
		{"us", time.Microsecond},
		{"ns", time.Nanosecond},
	}
}

// ParseDuration reads a duration as it is written in TOML and on the command
// line: whole numbers with d, h, m, s, ms, us or ns, each unit at most once and
// the longest first ("90s", "2h30m", "7d"); "0"; or "never" ([Never]).
func ParseDuration(text string) (Duration, error) {
	switch text {
	case "never":
		return Never, nil
	case "0":
		return 0, nil
	}
	bad := func(why string) (Duration, error) {
		return 0, fmt.Errorf("bad duration %s: %s", quote(text), why)
	}
	const form = `want whole numbers with d, h, m, s or ms, such as 90s, 2h30m or 7d, or "0" or "never"`
	units := durationUnits()
	var total time.Duration
	rest := text
	for first := true; first || rest != ""; first = false {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		number := rest[:digits]
		rest = rest[digits:]
		letters := len(rest) - len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz"))
		suffix := rest[:letters]
		rest = rest[letters:]
		if number == "" {
			return bad(form)
		}
		if suffix == "" && rest == "" {
			return bad("it needs a unit; " + form)
		}
		at := -1
		for i, u := range units {
			if u.suffix == suffix {
				at = i
			}
		}
		if at < 0 {
			return bad(form)
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n > int64(math.MaxInt64-total)/int64(units[at].span) {
			return bad("too long")
		}
		total += time.Duration(n) * units[at].span
		units = units[at+1:]
	}
	return Duration(total), nil
}

// Std is the duration as the standard library's. Never is negative there.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String writes the duration so that [ParseDuration] reads it again.
func (d Duration) String() string {
	switch {
	case d == Never:
		return "never"
	case d == 0:
		return "0"
	case d < 0:
		return time.Duration(d).String()
	}
	var b strings.Builder
	rest := time.Duration(d)
	for _, u := range durationUnits() {
		if n := rest / u.span; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10))
			b.WriteString(u.suffix)
			rest %= u.span
		}
	}
	return b.String()
}

// MarshalJSON writes the number of seconds, -1 for [Never].
func (d Duration) MarshalJSON() ([]byte, error) {
	if d == Never {
		return []byte("-1"), nil
	}
	if d < 0 {
		return nil, fmt.Errorf("duration %v is negative", time.Duration(d))
	}
	// Whole seconds and the nanoseconds are written apart: a float64 holds
	// only some 15 digits, and a long time with a fraction would change.
	whole, frac := d/Duration(time.Second), d%Duration(time.Second)
	text := strconv.FormatInt(int64(whole), 10)
	if frac != 0 {
		text += strings.TrimRight(fmt.Sprintf(".%09d", int64(frac)), "0")
	}
	return []byte(text), nil
}

// UnmarshalJSON reads what MarshalJSON writes: a number of seconds with at
// most nine decimals that matter, or -1.
func (d *Duration) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil // what encoding/json asks of every Unmarshaler
	}
	var number json.Number
	if err := json.Unmarshal(data, &number); err != nil || data[0] == '"' {
		return fmt.Errorf("want a number of seconds, got %s", quote(string(data)))
	}
	text := number.String()
	if text == "-1" {
		*d = Never
		return nil
	}
	if whole, frac, ok := plainSeconds(text); ok {
		*d = Duration(whole)*Duration(time.Second) + Duration(frac)
		return nil
	}
	seconds, err := number.Float64()
	if err != nil || !(seconds >= 0) || seconds >= float64(math.MaxInt64/int64(time.Second)) {
		return fmt.Errorf("%s seconds is no duration: want 0 or more, or -1 for never", clip(text))
	}
	*d = Duration(math.Round(seconds * float64(time.Second)))
	return nil
}

// plainSeconds reads "SECONDS" or "SECONDS.FRACTION" exactly. It refuses what
// needs more than nine decimals, an exponent or more than 63 bits.
func plainSeconds(text string) (whole, nanoseconds int64, ok bool) {
	head, tail, _ := strings.Cut(text, ".")
	if len(tail) > 9 {
		return 0, 0, false
	}
	whole, err := strconv.ParseInt(head, 10, 64)
	if err != nil || whole < 0 || head[0] == '-' || whole >= math.MaxInt64/int64(time.Second) {
		return 0, 0, false
	}
	nanoseconds, err = strconv.ParseInt((tail + "000000000")[:9], 10, 64)
	if err != nil {
		return 0, 0, false
	}
	return whole, nanoseconds, true
}
