// Package require is what the tests of the TUI ask of values: each function
// ends the test when it does not hold, and shows the difference.
package require

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	gocmp "github.com/google/go-cmp/cmp"
)

// T is a test, or one case of a property.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
}

func note(args []any) string {
	switch len(args) {
	case 0:
		return ""
	case 1:
		return fmt.Sprint(args[0]) + ": "
	}
	if f, ok := args[0].(string); ok {
		return fmt.Sprintf(f, args[1:]...) + ": "
	}
	return fmt.Sprint(args...) + ": "
}

// Equal requires got to be want.
func Equal[V any](t T, want, got V, args ...any) {
	t.Helper()
	if d := gocmp.Diff(want, got, gocmp.Exporter(func(reflect.Type) bool { return true })); d != "" {
		t.Fatalf("%snot equal (-want +got):\n%s", note(args), d)
	}
}

// NotEqual requires got to be anything else.
func NotEqual[V any](t T, other, got V, args ...any) {
	t.Helper()
	if reflect.DeepEqual(other, got) {
		t.Fatalf("%sboth are %v", note(args), got)
	}
}

// True requires what is said in args.
func True(t T, ok bool, args ...any) {
	t.Helper()
	if !ok {
		t.Fatalf("%snot so", note(args))
	}
}

// False requires the opposite of what is said in args.
func False(t T, ok bool, args ...any) {
	t.Helper()
	if ok {
		t.Fatalf("%sit is so", note(args))
	}
}

// Nil requires v to be nil.
func Nil(t T, v any, args ...any) {
	t.Helper()
	if r := reflect.ValueOf(v); v != nil && (r.Kind() != reflect.Pointer && r.Kind() != reflect.Func && r.Kind() != reflect.Interface || !r.IsNil()) {
		t.Fatalf("%snot nil: %v", note(args), v)
	}
}

// NotNil requires v not to be nil.
func NotNil(t T, v any, args ...any) {
	t.Helper()
	if r := reflect.ValueOf(v); v == nil || r.Kind() == reflect.Pointer && r.IsNil() || r.Kind() == reflect.Func && r.IsNil() {
		t.Fatalf("%snil", note(args))
	}
}

// NoError requires err to be nil.
func NoError(t T, err error, args ...any) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s%v", note(args), err)
	}
}

// ErrorContains requires an error that says text.
func ErrorContains(t T, err error, text string, args ...any) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Fatalf("%serror is %v, not %q", note(args), err, text)
	}
}

// Contains requires text to hold part.
func Contains(t T, text, part string, args ...any) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Fatalf("%s%q is not in\n%s", note(args), part, text)
	}
}

// NotContains requires text not to hold part.
func NotContains(t T, text, part string, args ...any) {
	t.Helper()
	if strings.Contains(text, part) {
		t.Fatalf("%s%q is in\n%s", note(args), part, text)
	}
}

// In requires v to be one of all.
func In[V comparable](t T, all []V, v V, args ...any) {
	t.Helper()
	if !slices.Contains(all, v) {
		t.Fatalf("%s%v is not one of %v", note(args), v, all)
	}
}

// NotIn requires v to be none of all.
func NotIn[V comparable](t T, all []V, v V, args ...any) {
	t.Helper()
	if slices.Contains(all, v) {
		t.Fatalf("%s%v is one of %v", note(args), v, all)
	}
}

// Len requires n elements.
func Len(t T, v any, n int, args ...any) {
	t.Helper()
	if l := reflect.ValueOf(v).Len(); l != n {
		t.Fatalf("%s%d elements, not %d: %v", note(args), l, n, v)
	}
}

// Empty requires no elements.
func Empty(t T, v any, args ...any) {
	t.Helper()
	if reflect.ValueOf(v).Len() != 0 {
		t.Fatalf("%snot empty: %v", note(args), v)
	}
}

// NotEmpty requires some.
func NotEmpty(t T, v any, args ...any) {
	t.Helper()
	if reflect.ValueOf(v).Len() == 0 {
		t.Fatalf("%sempty", note(args))
	}
}

// AtMost requires v <= most.
func AtMost[V cmp.Ordered](t T, v, most V, args ...any) {
	t.Helper()
	if v > most {
		t.Fatalf("%s%v is more than %v", note(args), v, most)
	}
}

// AtLeast requires v >= least.
func AtLeast[V cmp.Ordered](t T, v, least V, args ...any) {
	t.Helper()
	if v < least {
		t.Fatalf("%s%v is less than %v", note(args), v, least)
	}
}

// String is a value of which only the text is known, as Bubble Tea's own
// messages are.
func String(v any) string { return reflect.ValueOf(v).String() }
