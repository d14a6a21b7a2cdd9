// Package query is the filter of the list: a short expression of words that
// must all hold.
//
//	auth                   the text is in the name, the profile, the image or a label
//	name:auth              … in the name; so for profile, image and reason
//	id:3f                  the id begins so
//	state:started          the state, or one of running, passing, failed, resting, attention
//	label:team             there is the label, label:team=ml it has the value
//	cpu>50                 percent of one core; also < >= <= =
//	mem>1GiB  pids>100     what it uses
//	age>3d  uptime<1h      since it was made, since it was started
//	idle>10m               since something was last seen to happen in it
//	!state:stopped         not; "two words" is one text
//
// What cannot be understood is an error, never a guess.
package query

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/lifecycle"
)

// Item is one sandbox as a query sees it.
type Item struct {
	Box *api.Sandbox
	// Use is what it uses, nil where that is not known.
	Use *Use
	// Attention tells whether it needs a person.
	Attention bool
	Now       time.Time
}

// Use is what a running sandbox uses.
type Use struct {
	CPU    float64 // cores
	Memory int64   // bytes
	Pids   int64
	Active time.Time // zero when it is not known
}

// Query is a parsed expression. The zero value matches everything.
type Query struct {
	terms []term
}

type term struct {
	not  bool
	test func(*Item) bool
}

// Empty tells whether q matches everything.
func (q Query) Empty() bool { return len(q.terms) == 0 }

// Match tells whether all words of q hold of the item.
func (q Query) Match(it *Item) bool {
	for i := range q.terms {
		if q.terms[i].test(it) == q.terms[i].not {
			return false
		}
	}
	return true
}

// Parse reads an expression. With an error, which is for the person who types,
// the query has the words that could be understood: one that is being typed
// hides nothing.
func Parse(s string) (Query, error) {
	words, err := split(s)
	if err != nil {
		return Query{}, err
	}
	var q Query
	for _, w := range words {
		t := term{}
		if rest, ok := strings.CutPrefix(w.text, "!"); ok && !w.quoted {
			t.not, w.text = true, rest
		}
		var wrong error
		if t.test, wrong = w.parse(); wrong != nil {
			err = cmp.Or(err, wrong)
			continue
		}
		q.terms = append(q.terms, t)
	}
	return q, err
}

// word is one word; quoted ones are text whatever is in them.
type word struct {
	text   string
	quoted bool // it began with a quote
}

// Words cuts s at blanks outside of quotes, as an expression is cut.
func Words(s string) ([]string, error) {
	words, err := split(s)
	out := make([]string, len(words))
	for i := range words {
		out[i] = words[i].text
	}
	return out, err
}

// split cuts s at blanks outside of quotes.
func split(s string) ([]word, error) {
	var words []word
	var b strings.Builder
	in, began, quoted := false, false, false
	end := func() {
		if began {
			words = append(words, word{b.String(), quoted})
		}
		b.Reset()
		began, quoted = false, false
	}
	for _, r := range s {
		switch {
		case r == '"':
			if !began {
				quoted = true
			}
			in, began = !in, true
		case r == ' ' && !in:
			end()
		default:
			b.WriteRune(r)
			began = true
		}
	}
	if in {
		return nil, errors.New(`a " is not closed`)
	}
	end()
	return slices.DeleteFunc(words, func(w word) bool { return w.text == "" }), nil
}

func (w word) parse() (func(*Item) bool, error) {
	if w.text == "" {
		return nil, errors.New("! needs a word after it")
	}
	if w.quoted {
		return anywhere(w.text), nil
	}
	i := strings.IndexAny(w.text, ":<>=")
	if i < 0 {
		return anywhere(w.text), nil
	}
	key, rest := w.text[:i], w.text[i:]
	if rest[0] == ':' {
		return byText(key, rest[1:])
	}
	op := rest[:1]
	if strings.HasPrefix(rest, ">=") || strings.HasPrefix(rest, "<=") {
		op = rest[:2]
	}
	return byNumber(key, op, rest[len(op):])
}

// has tells whether part is in s, whatever the case.
func has(s, part string) bool {
	return strings.Contains(strings.ToLower(s), part)
}

func anywhere(s string) func(*Item) bool {
	s = strings.ToLower(s)
	return func(it *Item) bool {
		b := it.Box
		if has(b.Name, s) || has(b.Profile, s) || has(b.Image, s) || strings.HasPrefix(b.ID, s) {
			return true
		}
		for k, v := range b.Labels {
			if has(k+"="+v, s) {
				return true
			}
		}
		return false
	}
}

// byText parses KEY:VALUE.
func byText(key, value string) (func(*Item) bool, error) {
	if value == "" && slices.Contains(textKeys(), key) {
		return nil, fmt.Errorf("%s: needs a value", key)
	}
	low := strings.ToLower(value)
	switch key {
	case "name":
		return func(it *Item) bool { return has(it.Box.Name, low) }, nil
	case "profile":
		return func(it *Item) bool { return has(it.Box.Profile, low) }, nil
	case "image":
		return func(it *Item) bool { return has(it.Box.Image, low) }, nil
	case "id":
		return func(it *Item) bool { return strings.HasPrefix(it.Box.ID, low) }, nil
	case "reason":
		return func(it *Item) bool {
			r := it.Box.Reason
			return r != nil && (has(r.String(), low) || has(r.Detail, low))
		}, nil
	case "label":
		k, v, exact := strings.Cut(value, "=")
		return func(it *Item) bool {
			got, ok := it.Box.Labels[k]
			return ok && (!exact || got == v)
		}, nil
	case "state":
		return byState(low)
	}
	if slices.Contains(numberKeys(), key) {
		return nil, fmt.Errorf("%s is compared: %s>N", key, key)
	}
	return nil, unknownKey(key)
}

func textKeys() []string {
	return []string{"name", "state", "label", "profile", "image", "reason", "id"}
}
func numberKeys() []string { return []string{"cpu", "mem", "pids", "age", "uptime", "idle"} }

func unknownKey(key string) error {
	return fmt.Errorf("there is no %q; there are %s", key, strings.Join(append(textKeys(), numberKeys()...), ", "))
}

// byState takes a state, or a word for several.
func byState(s string) (func(*Item) bool, error) {
	of := func(f func(lifecycle.State) bool) (func(*Item) bool, error) {
		return func(it *Item) bool { return f(it.Box.State) }, nil
	}
	switch s {
	case "running":
		return of(lifecycle.State.Running)
	case "passing":
		return of(lifecycle.State.Passing)
	case "failed":
		return of(failed)
	case "resting":
		return of(func(s lifecycle.State) bool {
			return s == lifecycle.Stopped || s == lifecycle.Archived || s == lifecycle.Destroyed
		})
	case "attention":
		return func(it *Item) bool { return it.Attention }, nil
	}
	if lifecycle.State(s).Valid() {
		return of(func(have lifecycle.State) bool { return have == lifecycle.State(s) })
	}
	all := []string{"running", "passing", "failed", "resting", "attention"}
	for _, st := range lifecycle.States() {
		all = append(all, string(st))
	}
	near := slices.Collect(func(yield func(string) bool) {
		for _, name := range all {
			if strings.HasPrefix(name, s) && !yield(name) {
				return
			}
		}
	})
	if len(near) == 0 {
		if meant := config.Nearest(s, all); meant != "" {
			return nil, fmt.Errorf("there is no state %q; did you mean %q?", s, meant)
		}
		near = all
	}
	return nil, fmt.Errorf("there is no state %q; there are %s", s, strings.Join(near, ", "))
}

func failed(s lifecycle.State) bool {
	return s == lifecycle.Error || s == lifecycle.BuildFailed || s == lifecycle.Unknown
}

// byNumber parses KEY<VALUE.
func byNumber(key, op, value string) (func(*Item) bool, error) {
	if !slices.Contains(numberKeys(), key) {
		if slices.Contains(textKeys(), key) {
			return nil, fmt.Errorf("%s is a text: %s:TEXT", key, key)
		}
		return nil, unknownKey(key)
	}
	if value == "" {
		return nil, fmt.Errorf("%s%s needs a number", key, op)
	}
	limit, err := number(key, value)
	if err != nil {
		return nil, err
	}
	return func(it *Item) bool {
		got, known := it.number(key)
		return known && compare(got, op, limit)
	}, nil
}

// number reads a value in the unit of its key: percent, bytes, processes, seconds.
func number(key, value string) (float64, error) {
	switch key {
	case "mem":
		n, err := config.ParseSize(value)
		if err != nil {
			return 0, fmt.Errorf("mem: %q is not a size such as 512MiB or 1GiB", value)
		}
		return float64(n), nil
	case "age", "uptime", "idle":
		d, err := config.ParseDuration(value)
		if err != nil || d < 0 {
			return 0, fmt.Errorf("%s: %q is not a time such as 90s, 10m or 3d", key, value)
		}
		return d.Std().Seconds(), nil
	}
	n, err := strconv.ParseFloat(strings.TrimSuffix(value, "%"), 64)
	if err != nil || n != n {
		return 0, fmt.Errorf("%s: %q is not a number", key, value)
	}
	return n, nil
}

// number is what the item has of a key; false where that is not known.
func (it *Item) number(key string) (float64, bool) {
	since := func(t time.Time) (float64, bool) { return it.Now.Sub(t).Seconds(), !t.IsZero() }
	switch key {
	case "age":
		return since(it.Box.Created)
	case "uptime":
		if it.Box.Started == nil || !it.Box.State.Running() {
			return 0, false
		}
		return since(*it.Box.Started)
	}
	if it.Use == nil {
		return 0, false
	}
	switch key {
	case "cpu":
		return it.Use.CPU * 100, true
	case "mem":
		return float64(it.Use.Memory), true
	case "pids":
		return float64(it.Use.Pids), true
	case "idle":
		return since(it.Use.Active)
	}
	return 0, false
}

func compare(got float64, op string, limit float64) bool {
	switch op {
	case ">":
		return got > limit
	case "<":
		return got < limit
	case ">=":
		return got >= limit
	case "<=":
		return got <= limit
	}
	return got == limit
}
