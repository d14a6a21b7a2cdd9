package sandbox

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"cove/config"
	"cove/runtime/frame"
)

func TestSetupLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), setupFile)
	l, err := createSetupLog(path, map[string]string{"KEY": "s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	l.note("setup step %d", 1)
	for _, p := range []string{"first s3", "cret\nE: \x1b[31mno s3cret\u202e\r\n\n", ""} {
		if n, err := l.Write([]byte(p)); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	if why := whySetupFailed(frame.ExitStatus{Code: 2}, nil, l); why != "exit status 2: E: [31mno [KEY]" {
		t.Errorf("the reason is %q", why)
	}
	l.note("exit status 2")
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "cove: setup step 1\nfirst [KEY]\nE: \x1b[31mno [KEY]\u202e\r\n\ncove: exit status 2\n"; string(got) != want {
		t.Errorf("the log has %q, want %q", got, want)
	}
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

// What a step without end prints takes 1 MiB, and its beginning and end are
// there.
func TestSetupLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), setupFile)
	l, err := createSetupLog(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for i := range 300_000 {
		line := strings.Repeat("x", i%31) + "\n"
		all.WriteString(line)
		_, _ = l.Write([]byte(line))
	}
	_, _ = l.Write([]byte("the end"))
	all.WriteString("the end")
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) > 1<<20 || len(got) < 1<<20-256 {
		t.Errorf("%d bytes", len(got))
	}
	head, tail, _ := bytes.Cut(got, []byte("\ncove: "))
	count, tail, _ := bytes.Cut(tail, []byte(" bytes are left out here\n"))
	if !bytes.HasPrefix(all.Bytes(), head) || !bytes.HasSuffix(all.Bytes(), tail) || !bytes.HasSuffix(tail, []byte("the end")) {
		t.Error("it is not the beginning and the end")
	}
	if want := all.Len() - len(head) - len(tail); string(count) != strconv.Itoa(want) {
		t.Errorf("it says that %s bytes are left out, and %d are", count, want)
	}
}

func TestHeadline(t *testing.T) {
	for step, want := range map[string]string{
		"pip install ruff":        "pip install ruff",
		"\nset -e\nrm -rf x\n":    "set -e …",
		strings.Repeat("a", 61):   strings.Repeat("a", 60) + " …",
		"echo \x1b[31m\u202e red": "echo [31m red",
	} {
		if got := headline(step); got != want {
			t.Errorf("%q: %q, want %q", step, got, want)
		}
	}
}

func TestCheckSecrets(t *testing.T) {
	spec := config.Spec{Env: map[string]config.EnvVar{
		"A": {From: config.FromEnv}, "B": {From: config.FromEnv, Optional: true}, "C": {Value: "x"},
	}}
	for _, c := range []struct {
		secrets map[string]string
		want    string
	}{
		{map[string]string{"A": "v"}, ""},
		{map[string]string{"A": "", "B": "v"}, ""},
		{map[string]string{"B": "v"}, "env.A: is to come from your environment"},
		{map[string]string{"A": "v", "C": "y"}, "env.C: was sent"},
		{map[string]string{"A": "v", "D": "y"}, "env.D: was sent"},
		{map[string]string{"A": "s3cret\x00"}, "env.A: has a NUL byte"},
		{map[string]string{"A": strings.Repeat("s3cret", 30_000)}, "env.A: is 180000 bytes long"},
	} {
		err := checkSecrets(spec, c.secrets)
		if c.want == "" && err == nil {
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%.40v: %v, want %q", c.secrets, err, c.want)
		}
	}
}
