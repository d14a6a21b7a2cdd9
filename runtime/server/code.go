package server

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"cove/config"
	"cove/runtime/api"
	"cove/runtime/guest"
	"cove/runtime/sandbox"
)

// language is how sources of one language are known and run.
type language struct {
	name       string
	extensions []string // the first is that of a source without a name
	// shebang are the programs that a first line "#!" may name.
	shebang []string
	ways    []guest.Way
}

// goScript builds first, so that the program's own status, input and signals are
// what comes back, not those of go run.
const goScript = `set -e; f=$1; shift; go build -o "${f%/*}/program" "$f"; exec "${f%/*}/program" "$@"`

func languages() []language {
	way := func(argv ...string) guest.Way { return guest.Way{Needs: argv[0], Argv: argv} }
	return []language{
		{"python", []string{".py"}, []string{"python"}, []guest.Way{way("python3"), way("python")}},
		{"javascript", []string{".js", ".mjs", ".cjs"}, []string{"node", "nodejs"}, []guest.Way{way("node"), way("nodejs"), way("bun"), way("deno", "run", "-A")}},
		{"typescript", []string{".ts", ".mts", ".cts"}, []string{"tsx", "ts-node", "deno", "bun"}, []guest.Way{way("tsx"), way("ts-node", "-T"), way("deno", "run", "-A"), way("bun")}},
		{"bash", []string{".sh", ".bash"}, []string{"bash", "sh"}, []guest.Way{way("bash")}},
		{"go", []string{".go"}, []string{"go"}, []guest.Way{{Needs: "go", Argv: []string{"/bin/sh", "-c", goScript, "go"}}}},
		{"ruby", []string{".rb"}, []string{"ruby"}, []guest.Way{way("ruby")}},
	}
}

// languageOf finds the language of a source: the one that is asked for, that of
// its name, of its first line, of the sandbox. A source that says itself that it
// is in another one is not run as what it is not.
func languageOf(in api.CodeRequest, byDefault string) (language, error) {
	all := languages()
	find := func(is func(language) bool) (language, bool) {
		i := slices.IndexFunc(all, is)
		if i < 0 {
			return language{}, false
		}
		return all[i], true
	}
	named := func(name string) func(language) bool { return func(l language) bool { return l.name == name } }
	if in.Language != "" {
		if l, ok := find(named(in.Language)); ok {
			return l, nil
		}
		return language{}, invalid("there is no language %q; there are: %s", clip(in.Language), languageNames())
	}
	ext := path.Ext(in.Name)
	if l, ok := find(func(l language) bool { return slices.Contains(l.extensions, ext) }); ok {
		return l, nil
	}
	if program := shebang(in.Source); program != "" {
		if l, ok := find(func(l language) bool { return slices.Contains(l.shebang, program) }); ok {
			return l, nil
		}
		return language{}, unknownLanguage("its first line names %s", clip(program))
	}
	if ext != "" {
		return language{}, unknownLanguage("its name ends in %s", clip(ext))
	}
	if l, ok := find(named(byDefault)); ok {
		return l, nil
	}
	return language{}, invalid("neither the file nor the sandbox's profile says which language it is; there are: %s", languageNames())
}

func unknownLanguage(why, what string) error {
	e := invalid(why+", which is none of %s", strconv.Quote(what), languageNames())
	e.Hint = "say which it is with --lang, or take it there with cove cp and run it with cove exec"
	return e
}

func languageNames() string {
	var names []string
	for _, l := range languages() {
		names = append(names, l.name)
	}
	return strings.Join(names, ", ")
}

// shebang is the program that the first line names, without its directory and
// version: "python" of "#!/usr/bin/env -S python3.12 -u".
func shebang(source []byte) string {
	line, _, _ := bytes.Cut(source, []byte("\n"))
	rest, ok := bytes.CutPrefix(line, []byte("#!"))
	if !ok {
		return ""
	}
	words := strings.Fields(string(rest))
	if len(words) > 0 && path.Base(words[0]) == "env" {
		words = slices.DeleteFunc(words[1:], func(w string) bool { return strings.HasPrefix(w, "-") || strings.Contains(w, "=") })
	}
	if len(words) == 0 {
		return ""
	}
	return strings.TrimRight(path.Base(words[0]), "0123456789.")
}

func (q *request) runCode() error {
	var in api.CodeRequest
	if err := q.streamBody(&in); err != nil {
		return err
	}
	i, err := q.s.opt.Manager.Get(q.caller, q.ref)
	if err != nil {
		return err
	}
	l, err := languageOf(in, i.Spec.Language)
	if err != nil {
		return err
	}
	name := in.Name
	switch {
	case name == "", l.name == "go" && (path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go")):
		name = "main" + l.extensions[0]
	case path.Ext(name) == "" && strings.HasSuffix(l.name, "script"):
		name += l.extensions[0] // it says which kind of module it is
	}
	r := execRequest(in.ExecRequest)
	r.Kind = guest.Code
	r.Code = &guest.CodeRequest{Name: name, Source: in.Source, Ways: l.ways, Missing: noInterpreter(l)}
	return q.streamTo(r, func(ctx context.Context) (*sandbox.Guest, error) {
		g, err := q.s.opt.Manager.Guest(ctx, q.caller, q.ref, config.ActivityExec)
		if err == nil && l.name == "typescript" && strips(ctx, g, in.User) {
			r.Code.Ways = slices.Insert(slices.Clone(l.ways), 0, guest.Way{
				Needs: "node", Argv: []string{"node", "--experimental-strip-types", "--disable-warning=ExperimentalWarning"},
			})
		}
		return g, err
	})
}

// noInterpreter says what of a language is not in the sandbox.
func noInterpreter(l language) string {
	var looked []string
	for _, w := range l.ways {
		looked = append(looked, w.Needs)
	}
	if l.name == "typescript" {
		looked = append(looked, "node 22.6 or later")
	}
	what := looked[0]
	if n := len(looked) - 1; n > 0 {
		what = strings.Join(looked[:n], ", ") + " or " + looked[n]
	}
	return fmt.Sprintf("%s cannot be run in this sandbox: %s must be on its PATH", l.name, what)
}

// Node runs TypeScript by itself since this version.
const nodeMajor, nodeMinor = 22, 6

// nodeTimeout is what node may take to say its version.
const nodeTimeout = 10 * time.Second

// strips tells whether the sandbox has a node that runs TypeScript.
func strips(ctx context.Context, g *sandbox.Guest, user string) bool {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	var said bounded
	exit, err := g.Client.Run(ctx, guest.Request{Argv: []string{"node", "--version"}, User: user, Unlogged: true}, nil, &said, nil)
	if err != nil || exit.Code != 0 {
		return false
	}
	major, rest, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(said)), "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, aerr := strconv.Atoi(major)
	b, berr := strconv.Atoi(minor)
	return aerr == nil && berr == nil && (a > nodeMajor || a == nodeMajor && b >= nodeMinor)
}

// bounded keeps the beginning of what a program says.
type bounded []byte

func (b *bounded) Write(p []byte) (int, error) {
	const most = 64
	*b = append(*b, p[:min(len(p), most-len(*b))]...)
	return len(p), nil
}
