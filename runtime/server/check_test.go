package server

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// about is what the caller says of a check that failed.
func about(args []any) string {
	if len(args) == 0 {
		return ""
	}
	return strings.TrimSpace(fmt.Sprintln(args...)) + ": "
}

func noError(t testing.TB, err error, args ...any) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s%v", about(args), err)
	}
}

func anError(t testing.TB, err error, args ...any) {
	t.Helper()
	if err == nil {
		t.Fatalf("%sno error", about(args))
	}
}

func errorIs(t testing.TB, err, target error, args ...any) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("%s%v is not %#v", about(args), err, target)
	}
}

func equal[T any](t testing.TB, want, got T, args ...any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
		t.Errorf("%swant - got +\n%s", about(args), diff)
	}
}

func contains(t testing.TB, s, part string, args ...any) {
	t.Helper()
	if !strings.Contains(s, part) {
		t.Errorf("%s%q does not contain %q", about(args), s, part)
	}
}
