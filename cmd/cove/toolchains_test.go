package main

import (
	"strings"
	"testing"
)

// The profiles of languages work with this machine's tools: what they install
// goes where the user may write, and is found.
func TestToolchains(t *testing.T) {
	h := realHost(t)
	for name, c := range map[string]struct {
		programs          []string
		script, want, bin string
	}{
		"python": {[]string{"/usr/bin/python3", "/usr/share/doc/python3-pip"}, `
cd /tmp && python3 - <<'END'
import zipfile
w = zipfile.ZipFile('covetest-1-py3-none-any.whl', 'w')
i = 'covetest-1.dist-info/'
w.writestr('covetest.py', 'import sys\ndef main():\n    print(6 * 7, sys.prefix)\n')
w.writestr(i + 'METADATA', 'Metadata-Version: 2.1\nName: covetest\nVersion: 1\n')
w.writestr(i + 'WHEEL', 'Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
w.writestr(i + 'entry_points.txt', '[console_scripts]\ncovetest = covetest:main\n')
w.writestr(i + 'RECORD', ''.join(n + ',,\n' for n in w.namelist()) + i + 'RECORD,,\n')
w.close()
END
pip install -q --no-index --find-links /tmp covetest >/tmp/log 2>&1 || cat /tmp/log
covetest
python -m pip uninstall -q -y covetest && command -v python3`, "42 /home/dev/.venv\n/home/dev/.venv/bin/python3", "/home/dev/.venv/bin"},
		"node": {[]string{"/usr/bin/node", "/usr/bin/npm"}, `
mkdir -p /tmp/p && cd /tmp/p
printf '{"name":"covetest","version":"1.0.0","bin":{"covetest":"cli.js"}}' >package.json
printf '#!/usr/bin/env node\nconsole.log(6 * 7)\n' >cli.js; chmod +x cli.js
npm pack --silent && npm install --silent --no-audit --offline -g ./covetest-1.0.0.tgz >/tmp/log 2>&1 || cat /tmp/log
covetest; command -v covetest`, "covetest-1.0.0.tgz\n42\n/home/dev/.local/bin/covetest", "/home/dev/.local/bin"},
		// To compile takes half a minute; a test of the network's does.
		"go": {[]string{"/usr/local/go/bin/go"}, `
mkdir -p /tmp/m/dep && cd /tmp/m
printf 'module example.org/covetest\ngo 1.24\nrequire example.org/dep v0.0.0\nreplace example.org/dep => ./dep\n' >go.mod
printf 'module example.org/dep\ngo 1.24\n' >dep/go.mod; printf 'package dep\n\nfunc Answer() int { return 42 }\n' >dep/dep.go
printf 'package main\n\nimport "example.org/dep"\n\nfunc main() { println(dep.Answer()) }\n' >main.go
go list -deps . | grep example; go env GOTOOLCHAIN GOCACHE; go list -f '{{.Target}}' .`, "example.org/dep\nexample.org/covetest\nlocal\n/home/dev/.cache/go-build\n/home/dev/go/bin/covetest", "/home/dev/go/bin"},
	} {
		t.Run(name, func(t *testing.T) {
			need(t, c.programs...)
			h := h.in(t)
			h.must("create", "-p", name, "-n", name)
			if got := h.sh(name, strings.TrimSpace(c.script)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			// A shell finds the same.
			tt := h.attach(name, 100, 24)
			tt.Send("clear; echo [$PATH]\r")
			tt.See("[" + c.bin + ":")
			tt.detach()
		})
	}
}
