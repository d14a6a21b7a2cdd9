package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCode runs sources of every language that this machine has, with arguments,
// input and status as they are.
func TestCode(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "a")
	dir := filepath.Join(filepath.Dir(h.run), "src")
	args := []string{"two words", "--flag=x y", "-x", "'\"$HOME`", "ünï☃", "", "--"}
	shown := strings.Join(args, "\n") + "\n"
	has := func(program string) bool {
		_, _, code := h.cove("exec", "a", "--", "sh", "-c", "command -v "+program)
		return code == 0
	}
	for name, c := range map[string]struct{ needs, text string }{
		"args.py":  {"python3", "import sys\nprint('\\n'.join(sys.argv[1:]))\nassert __file__ == sys.argv[0] and __file__.endswith('/args.py')\nsys.stderr.write(sys.stdin.read())\nsys.exit(7)\n"},
		"args.js":  {"node", "console.log(process.argv.slice(2).join('\\n'));process.stderr.write(require('fs').readFileSync(0));process.exitCode=7\n"},
		"args.mjs": {"node", "import fs from 'fs';console.log(process.argv.slice(2).join('\\n'));process.stderr.write(fs.readFileSync(0));process.exitCode=7\n"},
		"args.sh":  {"bash", "printf '%s\\n' \"$@\"\ncat >&2\n[[ $0 == */args.sh ]] && exit 7\n"},
		"args.go":  {"go", "package main\nimport (\"fmt\";\"io\";\"os\")\nfunc main() {\n for _, a := range os.Args[1:] { fmt.Println(a) }\n io.Copy(os.Stderr, os.Stdin)\n os.Exit(7)\n}\n"},
		"args.rb":  {"ruby", "puts ARGV.map { |a| a + \"\\n\" }.join\n$stderr.write $stdin.read\nexit 7\n"},
	} {
		t.Run(name, func(t *testing.T) {
			h := h.in(t)
			lay(t, dir, map[string]string{name: c.text})
			if !has(c.needs) {
				_, stderr, code := h.cove("code", "a", filepath.Join(dir, name))
				if code != 127 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, c.needs) {
					t.Errorf("without %s: %d %s", c.needs, code, stderr)
				}
				t.Skipf("no %s here", c.needs)
			}
			out, stderr, code := h.coveIn([]byte("input\x00\n"), append([]string{"code", "a", "-i", filepath.Join(dir, name), "--"}, args...)...)
			if out != shown || stderr != "input\x00\n" || code != 7 {
				t.Errorf("%d %q %q", code, out, stderr)
			}
		})
	}
	code := func(stdin string, args ...string) string {
		t.Helper()
		out, stderr, status := h.coveIn([]byte(stdin), append([]string{"code", "a"}, args...)...)
		if status != 0 {
			t.Errorf("code %q: %d %s", args, status, stderr)
		}
		return out
	}
	// From standard input, which the program then does not have.
	if got := code("echo one; cat; echo $#", "--lang", "bash"); got != "one\n0\n" {
		t.Errorf("by stdin: %q", got)
	}
	if got := code("#!/usr/bin/env bash\necho $1", "-", "--", "x"); got != "x\n" {
		t.Errorf("by its first line: %q", got)
	}
	if got := code("data", "-i", "-l", "bash", "-e", "cat; echo $1", "--", "y"); got != "datay\n" {
		t.Errorf("a snippet: %q", got)
	}
	if got := code("", "-l", "bash", "-u", "root", "--env", "A=b c", "-w", "/etc", "-e", "id -un; echo $A; pwd"); got != "root\nb c\n/etc\n" {
		t.Errorf("exec's flags: %q", got)
	}
	// It is nobody else's to read, and gone afterwards; also when its time is up.
	if got := code("", "-l", "bash", "-e", "stat -c '%U %a' $0 ${0%/*}; tr '\\0' '\\n' < /proc/$$/cmdline; env | grep -c hush"+"-hush || true"); got != "dev 600\ndev 700\nbash\n"+firstSource(got)+"\n0\n" {
		t.Errorf("the source: %q", got)
	}
	if _, stderr, status := h.cove("code", "a", "--timeout", "100ms", "-l", "bash", "-e", "sleep 60"); status != 124 || !strings.Contains(stderr, "time was up") {
		t.Errorf("at a timeout: %d %s", status, stderr)
	}
	if got := h.must("exec", "a", "--", "sh", "-c", "ls -A /tmp"); got != "" {
		t.Errorf("left in /tmp: %q", got)
	}
	h.refuse(2, []string{"perl", "python"}, "code", "a", "-l", "perl", "-e", "x")
	h.refuse(1, []string{"none.py", "no such file"}, "code", "a", "none.py")
	h.refuse(1, []string{"is a directory"}, "code", "a", dir)
	lay(t, dir, map[string]string{"big.py": strings.Repeat("#", 512<<10+1), "fits.py": strings.Repeat("#", 512<<10-10) + "\nprint(1)"})
	h.refuse(1, []string{"larger than 512KiB", "cove cp"}, "code", "a", filepath.Join(dir, "big.py"))
	if has("python3") {
		if got := code("", filepath.Join(dir, "fits.py")); got != "1\n" {
			t.Errorf("half a megabyte: %q", got)
		}
	}
	h.must("stop", "a")
	h.refuse(1, []string{"stopped", "cove start a"}, "code", "a", "-l", "bash", "-e", "x")
}

// firstSource is the line of text that names a source's path.
func firstSource(text string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "/tmp/cove-code-") {
			return strings.TrimSuffix(line, "\n")
		}
	}
	return "(no path of a source)"
}

// TestTypeScript has a sandbox whose node says that it is of some version, since a
// machine has but one.
func TestTypeScript(t *testing.T) {
	h := realHost(t)
	h.must("create", "-p", "shell", "-n", "a", "--env", "PATH=/home/dev/bin:/usr/bin:/bin")
	dir := filepath.Join(filepath.Dir(h.run), "src")
	lay(t, dir, map[string]string{"x.ts": "const x: number = 1", "node": "#!/bin/sh\n[ \"$1\" = --version ] && echo $(cat ~/version) && exit\necho node \"$@\" | sed 's,/tmp/[^ ]*/,,'\n", "tsx": "#!/bin/sh\necho tsx \"$2\"\n"})
	must(os.Chmod(filepath.Join(dir, "node"), 0o755))
	must(os.Chmod(filepath.Join(dir, "tsx"), 0o755))
	h.must("exec", "a", "--", "mkdir", "/home/dev/bin")
	h.must("cp", filepath.Join(dir, "node"), "a:/home/dev/bin/node")
	for version, runs := range map[string]bool{"v22.5.9": false, "v22.6.0": true, "v23.0.0-pre": true, "v9.99.0": false, "nonsense": false} {
		h.must("exec", "a", "--", "sh", "-c", "echo "+version+" > ~/version")
		out, stderr, code := h.cove("code", "a", filepath.Join(dir, "x.ts"), "--", "arg")
		if want := "node --experimental-strip-types --disable-warning=ExperimentalWarning x.ts arg\n"; runs && (code != 0 || out != want) {
			t.Errorf("%s: %d %q %s", version, code, out, stderr)
		}
		if !runs && (code != 127 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "node 22.6 or later")) {
			t.Errorf("%s: %d %s", version, code, stderr)
		}
	}
	h.must("exec", "a", "--", "sh", "-c", "echo v20.0.0 > ~/version")
	h.must("cp", filepath.Join(dir, "tsx"), "a:/home/dev/bin/")
	if got := h.must("code", "a", filepath.Join(dir, "x.ts"), "--", "arg"); got != "tsx arg\n" {
		t.Errorf("with tsx: %q", got)
	}
}
