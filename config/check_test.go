package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func about(args []any) string {
	if len(args) == 0 {
		return ""
	}
	return strings.TrimSpace(fmt.Sprintln(args...)) + ": "
}

func equal(t *testing.T, want, got any, args ...any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(place{})); diff != "" {
		t.Fatalf("%swant - got +\n%s", about(args), diff)
	}
}

func noError(t *testing.T, err error, args ...any) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s%v", about(args), err)
	}
}

func wantError(t *testing.T, err error, part string, args ...any) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Fatalf("%swant an error with %q, got %v", about(args), part, err)
	}
}

// lines are the problems as they are printed.
func lines(problems []Problem) []string {
	all := []string{}
	for _, p := range problems {
		all = append(all, p.String())
	}
	return all
}
