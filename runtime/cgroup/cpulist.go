package cgroup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxProcessor is more than any processor's number (CONFIG_NR_CPUS is 8192 at
// most).
const maxProcessor = 1 << 16

// parseList reads a list as the kernel writes it, "0-2,5" (cpuset(7), "List
// format"): ascending, each once.
func parseList(text string) ([]int, error) {
	var list []int
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, errA := strconv.ParseUint(from, 10, 32)
		b, errB := strconv.ParseUint(to, 10, 32)
		if errA != nil || errB != nil || a > b || b > maxProcessor {
			return nil, fmt.Errorf("no list of processors: %q", clip([]byte(text)))
		}
		for p := a; p <= b; p++ {
			list = append(list, int(p))
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// formatList writes an ascending list.
func formatList(list []int) string {
	var b strings.Builder
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(list[i]))
		if j > i {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(list[j]))
		}
		i = j + 1
	}
	return b.String()
}
