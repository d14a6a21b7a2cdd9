package cgroup

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
)

// pressure reads a file of pressure stall information: the line "some
// avg10=1.23 avg60=...", in percent.
func pressure(field func(*Usage) *float64) func(*Usage, []byte) error {
	return func(u *Usage, data []byte) error {
		line, _, _ := bytes.Cut(data, []byte("\n"))
		rest, some := bytes.CutPrefix(line, []byte("some avg10="))
		percent, _, _ := bytes.Cut(rest, []byte(" "))
		n, err := strconv.ParseFloat(string(percent), 64)
		if !some || err != nil || !(n >= 0 && n <= 100) {
			return fmt.Errorf("no pressure: %q", clip(line))
		}
		*field(u) = n / 100
		return nil
	}
}

// bytesV2 sums up io.stat: a line for each device, "8:0 rbytes=1 wbytes=2 ...".
func bytesV2(data []byte, stacked func(device []byte) bool) (read, write int64, err error) {
	for line := range bytes.Lines(data) {
		device, rest, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		if stacked(device) {
			continue
		}
		for field := range bytes.FieldsSeq(rest) {
			key, value, _ := bytes.Cut(field, []byte("="))
			into := map[string]*int64{"rbytes": &read, "wbytes": &write}[string(key)]
			if into == nil {
				continue
			}
			n, err := parse(value)
			if err != nil {
				return 0, 0, err
			}
			*into = plus(*into, n)
		}
	}
	return read, write, nil
}

// bytesV1 sums up blkio.throttle.io_service_bytes: lines "8:0 Read 1" of each
// device and, of all, "Total 2". Kernels since 6.10 do not count on a device on
// which nobody has set a limit: where there is none, nothing is known.
func bytesV1(data []byte, stacked func(device []byte) bool) (read, write int64, err error) {
	known := false
	for line := range bytes.Lines(data) {
		device, rest, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		kind, value, ok := bytes.Cut(rest, []byte(" "))
		if !ok || stacked(device) {
			continue
		}
		n, err := parse(value)
		if err != nil {
			return 0, 0, err
		}
		known = true
		switch string(kind) {
		case "Read":
			read = plus(read, n)
		case "Write":
			write = plus(write, n)
		}
	}
	if !known {
		return 0, 0, fmt.Errorf("nothing is counted: %q", clip(data))
	}
	return read, write, nil
}

// plus is the sum of what is not below 0, cut off where the numbers end.
func plus(a, b int64) int64 {
	b = max(0, b)
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// stack remembers which devices lie on others. What goes through one of those is
// counted again below it.
type stack struct {
	sys   string
	known map[string]bool
}

// above tells whether a device lies on another: it is made of others (device
// mapper, RAID), or a loop device, whose number is 7
// (Documentation/admin-guide/devices.txt).
func (s *stack) above(device []byte) bool {
	if bytes.HasPrefix(device, []byte("7:")) {
		return true
	}
	above, ok := s.known[string(device)]
	if !ok {
		below, err := os.ReadDir(filepath.Join(s.sys, "dev/block", string(device), "slaves"))
		above = err == nil && len(below) > 0
		s.known[string(device)] = above
	}
	return above
}
