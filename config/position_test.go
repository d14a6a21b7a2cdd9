package config

import (
	"strings"
	"testing"
	"time"
)

func TestPlaces(t *testing.T) {
	doc := strings.Join([]string{
		`# a comment with a = "b"`,          // 1
		`image = "host" # [x]`,              // 2
		`  "quoted key" = 'it''s'`,          // 3, not TOML after all: see below
		`shell = [ "a", # ] not the end`,    // 4
		`  "b\"]", 'c]' ]`,                  // 5
		`text = """`,                        // 6
		`[not.a.table]`,                     // 7
		`x = 1 """""`,                       // 8
		`raw = '''`,                         // 9
		`\'''`,                              // 10
		`a.b . "c d" = 1979-05-27 07:32:00`, // 11
		`[resources]`,                       // 12
		"\tcpu = 2.0",                       // 13
		`[[ports]]`,                         // 14
		`port = 1`,                          // 15
		`[[ports]]`,                         // 16
		`port = 2`,                          // 17
		`[ports.sub]`,                       // 18
		`deep = { x = [ { y = 1 }, {y=2} ], z = 3}`, // 19
		`[env]`,           // 20
		`"\u0041\e" = ""`, // 21
		``,
	}, "\n")
	doc = strings.Replace(doc, "'it''s'", "'its'", 1)
	at, tooDeep := places(doc)
	equal(t, 0, tooDeep)
	want := map[string]place{
		"image": {2, 1}, `"quoted key"`: {3, 3}, "shell": {4, 1}, "shell[0]": {4, 11}, "shell[1]": {5, 3}, "shell[2]": {5, 11},
		"text": {6, 1}, "raw": {9, 1},
		"a": {11, 1}, "a.b": {11, 1}, `a.b."c d"`: {11, 1},
		"resources": {12, 2}, "resources.cpu": {13, 2},
		"ports": {14, 3}, "ports[0]": {14, 3}, "ports[0].port": {15, 1},
		"ports[1]": {16, 3}, "ports[1].port": {17, 1}, "ports[1].sub": {18, 2},
		"ports[1].sub.deep": {19, 1}, "ports[1].sub.deep.x": {19, 10}, "ports[1].sub.deep.x[0]": {19, 16},
		"ports[1].sub.deep.x[0].y": {19, 18}, "ports[1].sub.deep.x[1]": {19, 27}, "ports[1].sub.deep.x[1].y": {19, 28},
		"ports[1].sub.deep.z": {19, 36},
		"env":                 {20, 2}, `env."A\x1b"`: {21, 1},
	}
	equal(t, want, at, "places")
}

func TestPlacesOfBrokenText(t *testing.T) {
	for _, text := range []string{"", "[", "[[", "a", "a=", "a=[", "a=[1", "a={", "a={b", "a={b=", `a="`, `a="\`, `"`, `'''`, "a=1,2", "= 1", "]"} {
		places(text) // must not panic
	}
	at, _ := places("good = 1\nbad")
	equal(t, map[string]place{"good": {1, 1}, "bad": {2, 1}}, at)
}

// A stranger's file must not keep the program busy: without the limit these
// take the TOML library from seconds to a minute.
func TestDeepNesting(t *testing.T) {
	const n = maxFile
	for name, text := range map[string]string{
		"dotted key":     strings.Repeat("a.", n/2) + "a=1",
		"header":         "[" + strings.Repeat("a.", n/2-4) + "a]",
		"inline tables":  "a=" + strings.Repeat("{a=", n/4-10) + "1" + strings.Repeat("}", n/4-10),
		"never closed":   "a=" + strings.Repeat("{a=", n/3-10),
		"lists":          "a=" + strings.Repeat("[", n/2) + strings.Repeat("]", n/2-10),
		"after an error": "= 1\n" + strings.Repeat("a.", n/2) + "a=1",
		"after a header": "[x] " + strings.Repeat("a.", n/2) + "a=1",
		"in a list":      "x = [{" + strings.Repeat("a.", n/2) + "a=1}]",
	} {
		begin := time.Now()
		if _, problem := parse("f", []byte(text)); problem == nil {
			t.Errorf("%s: no problem", name)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
	_, problem := parse("f", []byte("ok = [[[[[[[[[1]]]]]]]]]\nx = "+strings.Repeat("[", 17)+strings.Repeat("]", 17)))
	equal(t, "f:2: nested more than 16 levels deep", problem.String())
}

// Every key that the TOML library finds must have a place, in the right line.
func FuzzPlaces(f *testing.F) {
	f.Add("a = 1\n[b]\nc = [1, {d = 2}]\n[[e]]\nf = ''\n[[e]]\n")
	f.Add("'a b'.c = \"\"\"x\"\"\"\"\"\n# end")
	f.Add("\ufeffa = 1")
	f.Add("a = [\n1, # x\n]\r\nb = { c = '}' }")
	f.Fuzz(func(t *testing.T, text string) {
		doc, problem := parse("f", []byte(text))
		if problem != nil {
			places(text)
			return
		}
		lines := strings.Count(text, "\n") + 1
		var walk func(key string, v any)
		walk = func(key string, v any) {
			if at, ok := doc.at[key]; key != "" && (!ok || at.line < 1 || at.line > lines || at.column < 1) {
				t.Fatalf("%s is at %v in %q", key, at, text)
			}
			switch v := v.(type) {
			case map[string]any:
				for name, inner := range v {
					walk(joinKey(key, name), inner)
				}
			case []any:
				for i, inner := range v {
					walk(indexKey(key, i), inner)
				}
			case []map[string]any:
				for i, inner := range v {
					walk(indexKey(key, i), inner)
				}
			}
		}
		walk("", doc.root)
	})
}
