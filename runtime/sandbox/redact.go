package sandbox

import (
	"bytes"
	"maps"
	"slices"
	"strings"
)

const (
	// shortestSecret is what counts as one: to take out every "1" would leave
	// nothing to read, and hide nothing.
	shortestSecret = 4
	// shortestLine is how long a line of a secret of several has to be to be
	// taken out by itself: programs print them apart.
	shortestLine = 8
)

// redactor passes on what is written to it, without the values of secrets. A
// value is found also when it comes in pieces; its end, and what may become one,
// is held back until more comes or flush is called.
type redactor struct {
	values []redaction // longest first
	first  [256]bool   // bytes that a value begins with
	held   []byte
	out    func([]byte)
}

type redaction struct{ value, instead []byte }

func newRedactor(secrets map[string]string, out func([]byte)) *redactor {
	r := &redactor{out: out}
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		instead := []byte("[" + name + "]")
		value := secrets[name]
		if len(value) >= shortestSecret {
			r.values = append(r.values, redaction{[]byte(value), instead})
		}
		if !strings.Contains(value, "\n") {
			continue
		}
		for line := range strings.Lines(value) {
			if line = strings.TrimSpace(line); len(line) >= shortestLine {
				r.values = append(r.values, redaction{[]byte(line), instead})
			}
		}
	}
	slices.SortStableFunc(r.values, func(a, b redaction) int { return len(b.value) - len(a.value) })
	for _, v := range r.values {
		r.first[v.value[0]] = true
	}
	return r
}

func (r *redactor) write(p []byte) {
	if len(r.values) == 0 {
		r.out(p)
		return
	}
	r.held = append(r.held, p...)
	r.pass(false)
}

// flush passes on what was held back: nothing follows it.
func (r *redactor) flush() { r.pass(true) }

func (r *redactor) pass(end bool) {
	b := r.held
	done := 0 // passed on or taken out
	for i := 0; i < len(b); {
		if !r.first[b[i]] {
			i++
			continue
		}
		found, wait := r.at(b[i:])
		if wait && !end {
			r.out(b[done:i])
			r.held = append(r.held[:0], b[i:]...)
			return
		}
		if found == nil {
			i++
			continue
		}
		r.out(b[done:i])
		r.out(found.instead)
		i += len(found.value)
		done = i
	}
	r.out(b[done:])
	r.held = r.held[:0]
}

// at finds the longest value that b begins with, and tells whether more of b
// could make it a longer one.
func (r *redactor) at(b []byte) (found *redaction, wait bool) {
	for i := range r.values {
		v := &r.values[i]
		if len(v.value) > len(b) && bytes.HasPrefix(v.value, b) {
			wait = true
		}
		if found == nil && bytes.HasPrefix(b, v.value) {
			found = v
		}
	}
	return found, wait
}
