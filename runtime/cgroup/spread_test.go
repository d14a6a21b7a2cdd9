package cgroup

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestSpread(t *testing.T) {
	type sets map[string][]int
	for name, tt := range map[string]struct {
		processors []int
		cores      map[string]float64
		before     sets
		want       sets
	}{
		"one":                    {[]int{0, 1, 2, 3}, map[string]float64{"a": 1.5}, nil, sets{"a": {0, 1}}},
		"by load":                {[]int{0, 1, 2, 3}, map[string]float64{"a": 1.5, "b": 2}, nil, sets{"a": {0, 1}, "b": {2, 3}}},
		"small ones":             {[]int{0, 1}, map[string]float64{"a": 0.1, "b": 0.1, "c": 0.1}, nil, sets{"a": {0}, "b": {1}, "c": {0}}},
		"no limit":               {[]int{0, 1}, map[string]float64{"a": 0, "b": 1}, sets{"a": {1}}, sets{"a": nil, "b": {0}}},
		"as many as there are":   {[]int{0, 1}, map[string]float64{"a": 2, "b": 1.01, "c": 8}, nil, sets{"a": nil, "b": nil, "c": nil}},
		"one processor":          {[]int{0}, map[string]float64{"a": 0.5, "b": 1}, nil, sets{"a": nil, "b": nil}},
		"the cores first":        {[]int{0, 2, 1, 3}, map[string]float64{"a": 2}, nil, sets{"a": {0, 2}}},
		"what fits stays":        {[]int{0, 1, 2, 3}, map[string]float64{"a": 1, "b": 1}, sets{"a": {3}, "b": {3}}, sets{"a": {0}, "b": {3}}},
		"gone offline":           {[]int{0, 1, 2}, map[string]float64{"a": 2}, sets{"a": {2, 3}}, sets{"a": {0, 2}}},
		"may use more":           {[]int{0, 1, 2, 3}, map[string]float64{"a": 3, "b": 1}, sets{"a": {1}, "b": {0}}, sets{"a": {1, 2, 3}, "b": {0}}},
		"may use fewer":          {[]int{0, 1, 2, 3}, map[string]float64{"a": 1, "b": 1}, sets{"a": {0, 1, 2}, "b": {0}}, sets{"a": {1}, "b": {0}}},
		"neither twice nor none": {[]int{0, 1, 2}, map[string]float64{"a": 2}, sets{"a": {1, 1}}, sets{"a": {0, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			var claims []claim
			for id, cores := range tt.cores {
				claims = append(claims, claim{id, cores, tt.before[id]})
			}
			spread(tt.processors, claims)
			got := sets{}
			for _, c := range claims {
				got[c.id] = c.set
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// loads are the promised cores of each processor.
func loads(processors []int, claims []claim) map[int]float64 {
	l := map[int]float64{}
	for _, p := range processors {
		l[p] = 0
	}
	for _, c := range claims {
		for _, p := range c.set {
			l[p] += c.cores / float64(len(c.set))
		}
	}
	return l
}

func gap(l map[int]float64) float64 {
	low, high := math.Inf(1), 0.0
	for _, v := range l {
		low, high = min(low, v), max(high, v)
	}
	return high - low
}

func copyOf(claims []claim) []claim {
	c := slices.Clone(claims)
	for i := range c {
		c[i].set = slices.Clone(c[i].set)
	}
	return c
}

func diff(a, b []claim) (moved int) {
	sets := map[string][]int{}
	for _, c := range a {
		sets[c.id] = c.set
	}
	for _, c := range b {
		if was, ok := sets[c.id]; ok && !slices.Equal(was, c.set) {
			moved++
		}
	}
	return moved
}

// TestSpreadProperties lets sandboxes come, go, and change, and processors too.
func TestSpreadProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "processors")
		processors := rand.New(rand.NewPCG(1, uint64(n))).Perm(n)
		cores := rapid.Custom(func(t *rapid.T) float64 {
			return float64(rapid.IntRange(0, 1400).Draw(t, "hundredths")) / 100
		})
		var claims []claim
		next := 0
		check := func(before []claim, mayMove bool) {
			for _, c := range claims {
				want := min(int(math.Ceil(c.cores)), len(processors))
				if want == 0 || want == len(processors) {
					want = 0
				}
				if len(c.set) != want || !slices.IsSorted(c.set) || len(slices.Compact(slices.Clone(c.set))) != want {
					t.Fatalf("%v cores of %d processors have %v", c.cores, len(processors), c.set)
				}
				for _, p := range c.set {
					if !slices.Contains(processors, p) {
						t.Fatalf("%s is on %d, which is not there", c.id, p)
					}
				}
			}
			if g := gap(loads(processors, claims)); g > slack+1e-6 {
				t.Fatalf("processors differ by %v cores: %v", g, claims)
			}
			if !mayMove && diff(before, claims) > 0 {
				t.Fatalf("moved without need: %v to %v", before, claims)
			}
			again := copyOf(claims)
			rand.Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
			spread(processors, again)
			if diff(claims, again) > 0 {
				t.Fatalf("a second time moves: %v to %v", claims, again)
			}
			fresh, other := copyOf(before), copyOf(before)
			rand.Shuffle(len(other), func(i, j int) { other[i], other[j] = other[j], other[i] })
			spread(processors, fresh)
			spread(processors, other)
			if diff(fresh, other) > 0 {
				t.Fatalf("the order of claims counts: %v and %v", fresh, other)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"come": func(t *rapid.T) {
				before := copyOf(claims)
				claims = append(claims, claim{id: fmt.Sprintf("%04d", next), cores: cores.Draw(t, "cores")})
				next++
				spread(processors, claims)
				check(before, false) // one more never moves another
			},
			"go": func(t *rapid.T) {
				if len(claims) == 0 {
					t.Skip("none")
				}
				i := rapid.IntRange(0, len(claims)-1).Draw(t, "which")
				claims = slices.Delete(claims, i, i+1)
				before := copyOf(claims)
				even := gap(loads(processors, before)) <= slack
				spread(processors, claims)
				check(before, !even)
			},
			"change": func(t *rapid.T) {
				if len(claims) == 0 {
					t.Skip("none")
				}
				claims[rapid.IntRange(0, len(claims)-1).Draw(t, "which")].cores = cores.Draw(t, "cores")
				before := copyOf(claims)
				spread(processors, claims)
				check(before, true)
			},
			"plug": func(t *rapid.T) {
				p := rapid.IntRange(0, 15).Draw(t, "processor")
				if i := slices.Index(processors, p); i < 0 {
					processors = append(processors, p)
				} else if len(processors) > 1 {
					processors = slices.Delete(processors, i, i+1)
				}
				before := copyOf(claims)
				spread(processors, claims)
				check(before, true)
			},
		})
	})
}

// TestSpreadMovesFew fills processors evenly and takes one sandbox away: what
// moves to where it was is no more than what it held.
func TestSpreadMovesFew(t *testing.T) {
	processors := []int{0, 1, 2, 3, 4, 5, 6, 7}
	var claims []claim
	for i := range 40 {
		claims = append(claims, claim{id: fmt.Sprintf("%02d", i), cores: 1})
	}
	spread(processors, claims)
	for range 2 { // two of processor 0
		claims = slices.DeleteFunc(claims, func(c claim) bool { return c.id == "00" || c.id == "08" })
	}
	before := copyOf(claims)
	spread(processors, claims)
	if n := diff(before, claims); n != 1 {
		t.Errorf("%d sandboxes were moved, one is enough", n)
	}
}

func BenchmarkSpread(b *testing.B) {
	var processors []int
	for i := range 64 {
		processors = append(processors, i)
	}
	var claims []claim
	for i := range 1000 {
		claims = append(claims, claim{id: fmt.Sprintf("%04d", i), cores: float64(1+i%7) / 2})
	}
	spread(processors, claims)
	for b.Loop() {
		spread(processors, claims)
	}
}

func TestLists(t *testing.T) {
	for text, want := range map[string][]int{"": nil, "0": {0}, "0-2,5\n": {0, 1, 2, 5}, "7,1-2": {1, 2, 7}} {
		if got, err := parseList(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"a", "1-", "-1", "3-1", "1,,2", "0-99999999", "0x1"} {
		if got, err := parseList(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
	if got := formatList([]int{0, 1, 2, 4, 6, 7}); got != "0-2,4,6-7" {
		t.Errorf("formatted: %q", got)
	}
}

func FuzzParseList(f *testing.F) {
	for _, s := range []string{"0-3", "0,2,4-5", "", "65536"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseList(text)
		if err != nil {
			return
		}
		again, err := parseList(formatList(list))
		if err != nil || !slices.Equal(list, again) {
			t.Errorf("%q is %v and, written and read, %v, %v", text, list, again, err)
		}
	})
}
