package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Units of a [Size].
const (
	KiB Size = 1 << (10 * (iota + 1))
	MiB
	GiB
	TiB
)

type sizeUnit struct {
	suffix string
	bytes  Size
}

// sizeUnits are the units a size may be written with. Only these spellings are taken: "4G" is 4 GiB to some
// programs and 4 GB to others.
func sizeUnits() []sizeUnit {
	return []sizeUnit{
		{"TiB", TiB},
		{"GiB", GiB},
		{"MiB", MiB},
		{"KiB", KiB},
		{"TB", 1_000_000_000_000},
		{"GB", 1_000_000_000},
		{"MB", 1_000_000},
		{"KB", 1_000},
		{"B", 1},
	}
}

// ParseSize reads a size as it is written in TOML and on the command line: a
// whole number followed by KiB, MiB, GiB or TiB (powers of 1024), by KB, MB,
// GB or TB (powers of 1000), or by B or nothing (bytes).
func ParseSize(text string) (Size, error) {
	digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
	number, suffix := text[:digits], text[digits:]
	unit := Size(1)
	if suffix != "" {
		unit = 0
		for _, u := range sizeUnits() {
			if u.suffix == suffix {
				unit = u.bytes
			}
		}
	}
	if number == "" || unit == 0 {
		return 0, fmt.Errorf("bad size %s: want a whole number with KiB, MiB, GiB, TiB, KB, MB, GB or TB, such as 512MiB, or plain bytes", quote(text))
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || Size(n) > math.MaxInt64/unit {
		return 0, fmt.Errorf("bad size %s: too large", quote(text))
	}
	return Size(n) * unit, nil
}

// String writes the size so that [ParseSize] reads the same number of bytes
// again: with the unit that gives the smallest whole number, or as plain bytes.
func (s Size) String() string {
	best := sizeUnit{"", 1}
	for _, u := range sizeUnits() {
		if s > 0 && s%u.bytes == 0 && u.bytes > best.bytes {
			best = u
		}
	}
	return strconv.FormatInt(int64(s/best.bytes), 10) + best.suffix
}
