package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// document is one TOML file that has been read: its values and where they
// stand.
type document struct {
	file string // as shown
	root map[string]any
	at   map[string]place
}

// parse reads TOML. The problem it returns is one of syntax.
func parse(file string, text []byte) (*document, *Problem) {
	doc := &document{file: file}
	var tooDeep int
	if doc.at, tooDeep = places(string(text)); tooDeep > 0 {
		return nil, &Problem{File: file, Line: tooDeep, Message: fmt.Sprintf("nested more than %d levels deep", maxDepth)}
	}
	if _, err := toml.Decode(string(text), &doc.root); err != nil {
		p := &Problem{File: file, Message: "not valid TOML: " + err.Error()}
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			p.Line, p.Column = syntax.Position.Line, syntax.Position.Col
			p.Message = "not valid TOML: " + strings.TrimSuffix(clip(syntax.Message), ".")
		}
		return nil, p
	}
	return doc, nil
}

// problem is a problem of the document's at key.
func (doc *document) problem(key, message, hint string) Problem {
	at := doc.at[key]
	return Problem{File: doc.file, Line: at.line, Column: at.column, Key: key, Message: message, Hint: hint}
}

// origins tells where the value of each key comes from, after all files and
// flags: [Problem.File], Line and Column are taken from it.
type origins map[string]origin

type origin struct {
	file string
	place
}

// set notes that the value of key, and of all that is in it, comes from the
// document.
func (o origins) set(key string, doc *document) {
	o.forget(key)
	for k, at := range doc.at {
		if k == key || within(k, key) {
			o[k] = origin{doc.file, at}
		}
	}
}

// behind notes that the list at key, which comes from one document, stands behind
// n entries of those that came from before.
func (o origins) behind(key string, n int, before origins) {
	list := o[key]
	own := origins{}
	for i := 0; ; i++ {
		at, ok := o[indexKey(key, i)]
		if !ok {
			break
		}
		own[indexKey(key, n+i)] = at
	}
	o.forget(key)
	o[key] = list
	maps.Copy(o, own)
	for i := range n {
		if at, ok := before[indexKey(key, i)]; ok {
			o[indexKey(key, i)] = at
		}
	}
}

// setFlag notes that the value of key comes from a flag.
func (o origins) setFlag(key, flag string) {
	o.forget(key)
	o[key] = origin{file: flag}
}

func (o origins) forget(key string) {
	maps.DeleteFunc(o, func(k string, _ origin) bool { return k == key || within(k, key) })
}

// locate fills in where the problems' keys are written: the key itself, or the
// nearest table or list around it that is, or fallback.
func (o origins) locate(problems []Problem, fallback string) {
	for i := range problems {
		p := &problems[i]
		p.File = fallback
		for key := p.Key; key != ""; key = key[:max(0, strings.LastIndexAny(key, ".["))] {
			if at, ok := o[key]; ok {
				p.File, p.Line, p.Column = at.file, at.line, at.column
				break
			}
		}
	}
	sortProblems(problems)
}

// within tells whether key is inside the table or list named outer.
func within(key, outer string) bool {
	return len(key) > len(outer) && strings.HasPrefix(key, outer) && (key[len(outer)] == '.' || key[len(outer)] == '[')
}

// sortProblems orders by place, without moving one file's before another's.
func sortProblems(problems []Problem) {
	var files []string
	for _, p := range problems {
		if !slices.Contains(files, p.File) {
			files = append(files, p.File)
		}
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(slices.Index(files, a.File), slices.Index(files, b.File)),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Key, b.Key),
		)
	})
}

// decoder puts the values of one document into Go values and collects what is
// wrong with them.
type decoder struct {
	doc      *document
	origins  origins
	known    []string // all valid keys, dotted
	problems []Problem
}

func (d *decoder) fail(key, message, hint string) {
	d.problems = append(d.problems, d.doc.problem(key, message, hint))
}

// field is one valid key: how its value is taken, and the keys inside it.
type field struct {
	set func(d *decoder, key string, value any)
	sub fields
}

// fields are the valid keys of one table.
type fields map[string]field

// decode takes the document into what the fields point to.
func decode(doc *document, f fields, from origins) []Problem {
	d := &decoder{doc: doc, origins: from, known: f.keys("")}
	f.take(d, "", doc.root)
	sortProblems(d.problems)
	return d.problems
}

// keys lists the dotted keys, sorted. Those inside list elements are left out:
// they make no sense without their element.
func (f fields) keys(prefix string) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(f)) {
		key := joinKey(prefix, name)
		all = append(all, key)
		all = append(all, f[name].sub.keys(key)...)
	}
	return all
}

func (f fields) take(d *decoder, prefix string, table map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(table)) {
		key := joinKey(prefix, name)
		if known, ok := f[name]; ok {
			known.set(d, key, table[name])
		} else {
			d.fail(key, "unknown key", f.suggest(d, prefix, name))
		}
	}
}

// suggest says which key was meant: the same name in another table, the
// nearest name in this one, or all there are.
func (f fields) suggest(d *decoder, prefix, name string) string {
	for _, key := range d.known {
		if _, last, found := cutLast(key); last == name && (found || prefix != "") {
			if !found {
				return fmt.Sprintf("did you mean the top-level key %s? It goes above the first [table]", quote(key))
			}
			return fmt.Sprintf("did you mean %s?", quote(key))
		}
	}
	here := slices.Sorted(maps.Keys(f))
	if near := Nearest(name, here); near != "" {
		return fmt.Sprintf("did you mean %s?", quote(joinKey(prefix, near)))
	}
	return "valid here: " + strings.Join(here, ", ")
}

func cutLast(key string) (table, last string, found bool) {
	i := strings.LastIndexByte(key, '.')
	if i < 0 {
		return "", key, false
	}
	return key[:i], key[i+1:], true
}

// value is a field whose value convert turns into a T, or says why not.
func value[T any](into *T, convert func(any) (T, error)) field {
	return field{set: func(d *decoder, key string, v any) {
		got, err := convert(v)
		if err != nil {
			d.fail(key, err.Error(), "")
			return
		}
		*into = got
		d.origins.set(key, d.doc)
	}}
}

// group is a table of fields.
func group(f fields) field {
	return field{sub: f, set: func(d *decoder, key string, v any) {
		table, ok := v.(map[string]any)
		if !ok {
			d.fail(key, wrongType("a table", v), fmt.Sprintf("write [%s] above its keys", key))
			return
		}
		if at, ok := d.doc.at[key]; ok {
			d.origins[key] = origin{d.doc.file, at}
		}
		f.take(d, key, table)
	}}
}

// mapping is a table whose keys are the user's. It merges.
func mapping[T any](into *map[string]T, convert func(any) (T, error)) field {
	return field{set: func(d *decoder, key string, v any) {
		table, ok := v.(map[string]any)
		if !ok {
			d.fail(key, wrongType("a table", v), fmt.Sprintf("write [%s] above its keys", key))
			return
		}
		for _, name := range slices.Sorted(maps.Keys(table)) {
			inner := joinKey(key, name)
			got, err := convert(table[name])
			if err != nil {
				d.fail(inner, err.Error(), "")
				continue
			}
			if *into == nil {
				*into = map[string]T{}
			}
			(*into)[name] = got
			d.origins[inner] = origin{d.doc.file, d.doc.at[inner]}
		}
	}}
}

// each is a list of tables: its fields are those of one element, which begins
// as its zero value. The list replaces.
func each[T any](into *[]T, element func(*T) fields, required ...string) field {
	return field{set: func(d *decoder, key string, v any) {
		list, ok := v.([]map[string]any)
		if empty, isList := v.([]any); isList && !ok {
			list, ok = make([]map[string]any, len(empty)), true
			for i := range empty {
				if list[i], ok = empty[i].(map[string]any); !ok {
					break
				}
			}
		}
		if !ok {
			d.fail(key, wrongType("a list of tables", v), fmt.Sprintf("write [[%s]] above the keys of each", key))
			return
		}
		got := make([]T, len(list))
		before := len(d.problems)
		for i, table := range list {
			inner := indexKey(key, i)
			element(&got[i]).take(d, inner, table)
			for _, name := range required {
				if _, ok := table[name]; !ok {
					d.fail(inner, fmt.Sprintf("has no %s", name), "")
				}
			}
		}
		if len(d.problems) == before {
			*into = got
			d.origins.set(key, d.doc)
		}
	}}
}

func text(v any) (string, error) {
	if s, ok := v.(string); ok {
		return s, nil
	}
	return "", errors.New(wrongType("a string", v))
}

func boolean(v any) (bool, error) {
	if b, ok := v.(bool); ok {
		return b, nil
	}
	return false, errors.New(wrongType("true or false", v))
}

func whole(v any) (int64, error) {
	if n, ok := v.(int64); ok {
		return n, nil
	}
	return 0, errors.New(wrongType("a whole number", v))
}

func number(v any) (float64, error) {
	switch n := v.(type) {
	case int64:
		return float64(n), nil
	case float64:
		return n, nil
	}
	return 0, errors.New(wrongType("a number", v))
}

func port(v any) (int, error) {
	n, err := whole(v)
	if err == nil && (n < 1 || n > 65535) {
		return 0, fmt.Errorf("%d is no port: want 1 to 65535", n)
	}
	return int(n), err
}

func size(v any) (Size, error) {
	switch s := v.(type) {
	case int64:
		if s < 0 {
			return 0, fmt.Errorf("bad size %d: it is negative", s)
		}
		return Size(s), nil
	case string:
		return ParseSize(s)
	}
	return 0, errors.New(wrongType(`a size such as "512MiB"`, v))
}

func duration(v any) (Duration, error) {
	switch s := v.(type) {
	case int64:
		if s == 0 {
			return 0, nil
		}
		return 0, fmt.Errorf("bad duration %d: it needs a unit, such as %s", s, quote(strconv.FormatInt(s, 10)+"s"))
	case string:
		return ParseDuration(s)
	}
	return 0, errors.New(wrongType(`a duration such as "90s"`, v))
}

// listOf is a list of values of one kind. An empty list is nil.
func listOf[T any](kind string, convert func(any) (T, error)) func(any) ([]T, error) {
	return func(v any) ([]T, error) {
		list, ok := v.([]any)
		if !ok {
			return nil, errors.New(wrongType("a list of "+kind, v))
		}
		var all []T
		for i, e := range list {
			got, err := convert(e)
			if err != nil {
				return nil, fmt.Errorf("element %d: %w", i+1, err)
			}
			all = append(all, got)
		}
		return all, nil
	}
}

func texts(v any) ([]string, error) { return listOf("strings", text)(v) }

func wrongType(want string, got any) string {
	return "want " + want + ", got " + describe(got)
}

func describe(v any) string {
	switch v := v.(type) {
	case string:
		return "the string " + quote(v)
	case int64:
		return "the number " + strconv.FormatInt(v, 10)
	case float64:
		return "the number " + strconv.FormatFloat(v, 'g', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	case time.Time:
		return "a date or time"
	case []any:
		return "a list"
	case []map[string]any:
		return "a list of tables"
	case map[string]any:
		return "a table"
	}
	return "something else"
}
