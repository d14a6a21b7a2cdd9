package config

// Nearest returns the candidate that name was most likely meant to be, or ""
// when none is near: for "there is no X; did you mean Y?". Near is a third of
// the longer name's letters changed, added, left out or swapped with their
// neighbour; of two equally near the first wins.
func Nearest(name string, candidates []string) string {
	const longest = 128 // the work is quadratic and names may be hostile
	if len(name) > longest {
		return ""
	}
	best, bestDistance := "", 0
	for _, c := range candidates {
		if c == name || len(c) > longest {
			continue
		}
		d := distance(name, c)
		if d > max(1, max(len(name), len(c))/3) || d >= max(len(name), len(c)) {
			continue
		}
		if best == "" || d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the optimal string alignment distance of a and b in bytes:
// Levenshtein's, where a swap of two neighbours counts as one change.
func distance(a, b string) int {
	before := make([]int, len(b)+1)
	last := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
