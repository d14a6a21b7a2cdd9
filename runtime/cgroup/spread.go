package cgroup

import (
	"cmp"
	"math"
	"slices"
)

// claim is what one sandbox was promised, and the processors it has for it.
type claim struct {
	id string
	// cores is how many it may keep busy, 0 for as many as there are.
	cores float64
	// set are its processors, ascending; nil is all.
	set []int
}

// want is how many processors a claim gets of so many: its cores rounded up, 0
// where a set would be all of them.
func (c claim) want(processors int) int {
	n := math.Ceil(c.cores)
	if !(n > 0) || n >= float64(processors) {
		return 0
	}
	return int(n)
}

// slack is by how many promised cores two processors may differ. One sandbox
// promises a processor at most one, so that closer is not always to be had.
const slack = 1.0

// spread gives every claim its number of processors, so that no processor has
// more than slack promised cores more than another. What fits is left where it
// is: a program that is moved loses its caches. Of processors that are equal the
// earlier in the list is taken. The same claims give the same sets.
//
// Claims without a set burden all processors alike and do not count.
func spread(processors []int, claims []claim) {
	slices.SortFunc(claims, func(a, b claim) int { return cmp.Compare(a.id, b.id) })
	s := spreading{processors: processors, load: make([]float64, len(processors)), place: map[int]int{}, claims: claims}
	for i, p := range processors {
		s.place[p] = i
	}
	for i := range claims {
		s.keep(&claims[i])
	}
	for i := range claims {
		s.fit(&claims[i])
	}
	s.level()
	for i := range claims {
		slices.Sort(claims[i].set)
	}
}

type spreading struct {
	processors []int
	load       []float64   // promised cores of each
	place      map[int]int // of a processor in the list
	claims     []claim
}

// weight is what a claim burdens each of its processors with.
func (s *spreading) weight(c claim) float64 {
	if n := c.want(len(s.processors)); n > 0 {
		return c.cores / float64(n)
	}
	return 0
}

// keep leaves a claim those of its processors that there are.
func (s *spreading) keep(c *claim) {
	if c.want(len(s.processors)) == 0 {
		c.set = nil
		return
	}
	var kept []int
	for _, p := range c.set {
		if i, ok := s.place[p]; ok && !slices.Contains(kept, p) {
			kept = append(kept, p)
			s.load[i] += s.weight(*c)
		}
	}
	c.set = kept
}

// fit takes the busiest processors from a claim that has too many, and gives the
// idlest to one that has too few.
func (s *spreading) fit(c *claim) {
	want := c.want(len(s.processors))
	for len(c.set) > want {
		s.drop(c, s.busiest(func(p int) bool { return slices.Contains(c.set, p) }))
	}
	for len(c.set) < want {
		s.add(c, s.idlest(func(p int) bool { return !slices.Contains(c.set, p) }))
	}
}

// idlest and busiest find one of some processors: of those that are alike, the
// earliest to be given and the latest to be taken.
func (s *spreading) idlest(of func(p int) bool) int {
	best := -1
	for i, p := range s.processors {
		if of(p) && (best < 0 || s.load[i] < s.load[best]-tiny) {
			best = i
		}
	}
	return best
}

func (s *spreading) busiest(of func(p int) bool) int {
	best := -1
	for i, p := range s.processors {
		if of(p) && (best < 0 || s.load[i] > s.load[best]-tiny) {
			best = i
		}
	}
	return best
}

// tiny is less than any difference that counts, and more than the errors of sums.
const tiny = 1e-9

func (s *spreading) add(c *claim, i int) {
	c.set = append(c.set, s.processors[i])
	s.load[i] += s.weight(*c)
}

func (s *spreading) drop(c *claim, i int) {
	c.set = slices.DeleteFunc(c.set, func(p int) bool { return p == s.processors[i] })
	s.load[i] -= s.weight(*c)
}

// level moves claims from the busiest processor to the idlest until they differ
// by no more than slack. It ends: as no claim weighs more than slack, each move
// makes the sum of the squares smaller. There is always one to move: if all on
// the busiest were on the idlest too, that would be as busy.
func (s *spreading) level() {
	all := func(int) bool { return true }
	for len(s.processors) > 1 {
		high, low := s.busiest(all), s.idlest(all)
		gap := s.load[high] - s.load[low]
		if gap <= slack+tiny {
			return
		}
		var best *claim
		// The one nearest to half of the gap levels most.
		miss := math.Inf(1)
		for i := range s.claims {
			c := &s.claims[i]
			if d := math.Abs(s.weight(*c) - gap/2); slices.Contains(c.set, s.processors[high]) && !slices.Contains(c.set, s.processors[low]) && d < miss-tiny {
				best, miss = c, d
			}
		}
		if best == nil {
			return
		}
		s.drop(best, high)
		s.add(best, low)
	}
}
