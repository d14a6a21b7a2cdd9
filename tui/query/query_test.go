package query

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cove/runtime/api"
	"cove/runtime/lifecycle"
	"cove/tui/internal/require"
)

func items() []Item {
	now := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) *time.Time { t := now.Add(-d); return &t }
	list := []Item{
		{Box: &api.Sandbox{ID: "3f01", Name: "fix-auth", State: lifecycle.Started, Profile: "python", Image: "host", Created: *ago(72 * time.Hour), Started: ago(2 * time.Hour),
			Labels: map[string]string{"team": "ml", "note": "two words"}},
			Use: &Use{CPU: 1.5, Memory: 2 << 30, Pids: 12, Active: *ago(time.Second)}},
		{Box: &api.Sandbox{ID: "77aa", Name: "gen-docs", State: lifecycle.Paused, Profile: "node", Image: "node:22", Created: *ago(time.Hour), Started: ago(time.Hour), Labels: map[string]string{"team": "web"}},
			Use: &Use{CPU: 0, Memory: 100 << 20, Pids: 3, Active: *ago(20 * time.Minute)}},
		{Box: &api.Sandbox{ID: "a9", Name: "old", State: lifecycle.Stopped, Profile: "shell", Image: "host", Created: *ago(900 * time.Hour), Started: ago(800 * time.Hour),
			Reason: &lifecycle.Reason{Kind: lifecycle.ReasonOOM, Detail: "Limit 2GiB"}}, Attention: true},
		{Box: &api.Sandbox{ID: "b0", Name: "broken", State: lifecycle.Error, Profile: "go", Image: "host", Created: *ago(time.Minute)}, Attention: true},
		{Box: &api.Sandbox{ID: "b1", Name: "coming", State: lifecycle.Creating, Profile: "go", Image: "host", Created: *ago(time.Second)}},
	}
	for i := range list {
		list[i].Now = now
	}
	return list
}

func TestMatch(t *testing.T) {
	for expr, want := range map[string]string{
		"":                       "fix-auth gen-docs old broken coming",
		"  ":                     "fix-auth gen-docs old broken coming",
		"AUTH":                   "fix-auth",
		"node":                   "gen-docs",
		"ml":                     "fix-auth",
		`"team=web"`:             "gen-docs",
		`"two words"`:            "fix-auth",
		"3f":                     "fix-auth",
		"two words":              "fix-auth",
		"nothing":                "",
		"!auth":                  "gen-docs old broken coming",
		"go !broken":             "coming",
		"name:o":                 "gen-docs old broken coming",
		"profile:py":             "fix-auth",
		"image:host !profile:go": "fix-auth old",
		"id:b":                   "broken coming",
		"reason:oom":             "old",
		"reason:limit":           "old",
		"state:started":          "fix-auth",
		"state:running":          "fix-auth gen-docs",
		"state:failed":           "broken",
		"state:passing":          "coming",
		"state:resting":          "old",
		"state:attention":        "old broken",
		"state:error":            "broken",
		"!state:running":         "old broken coming",
		"label:team":             "fix-auth gen-docs",
		"label:team=ml":          "fix-auth",
		`label:note="two words"`: "fix-auth",
		"label:team=":            "",
		"label:none":             "",
		"cpu>50":                 "fix-auth",
		"cpu>=150%":              "fix-auth",
		"cpu=150":                "fix-auth",
		"cpu<1":                  "gen-docs",
		"!cpu>50":                "gen-docs old broken coming",
		"mem>1GiB":               "fix-auth",
		"mem<=104857600":         "gen-docs",
		"pids>3":                 "fix-auth",
		"age>1d":                 "fix-auth old",
		"uptime<=1h":             "gen-docs",
		"idle>10m":               "gen-docs",
		"idle<10m state:started": "fix-auth",
	} {
		q, err := Parse(expr)
		require.NoError(t, err, "%q", expr)
		var got []string
		for _, it := range items() {
			if q.Match(&it) {
				got = append(got, it.Box.Name)
			}
		}
		require.Equal(t, want, strings.Join(got, " "), "%q", expr)
		require.Equal(t, strings.TrimSpace(expr) == "", q.Empty(), "%q", expr)
	}
}

func TestMistakesAreSaid(t *testing.T) {
	for expr, want := range map[string]string{
		"stat:started":             `there is no "stat"; there are name, state, label,`,
		":x":                       `there is no ""`,
		"state:":                   "state: needs a value",
		"label:":                   "label: needs a value",
		"state:star":               `there is no state "star"; there are started, starting`,
		"state:startd":             `there is no state "startd"; did you mean "started"?`,
		"state:xyz":                `there is no state "xyz"; there are running,`,
		"cpu:50":                   "cpu is compared: cpu>N",
		"name>a":                   "name is a text: name:TEXT",
		"cpu>":                     "cpu> needs a number",
		"cpu>x":                    `cpu: "x" is not a number`,
		"cpu>NaN":                  `cpu: "NaN" is not a number`,
		"mem>lots":                 `mem: "lots" is not a size such as 512MiB`,
		"age>5":                    `age: "5" is not a time such as`,
		"idle>never":               `idle: "never" is not a time`,
		"auth !":                   "! needs a word after it",
		`name:"two`:                `a " is not closed`,
		"auth cpu>>5":              `is not a number`,
		"state:started state:nope": `"nope"`,
	} {
		_, err := Parse(expr)
		require.ErrorContains(t, err, want, "%q", expr)
	}
}

// A word that is still being typed, or wrong, hides nothing; the others hold.
func TestWhatIsUnderstoodHolds(t *testing.T) {
	q, err := Parse("profile:go state:err !broken cpu>")
	require.ErrorContains(t, err, `"err"`)
	var got []string
	for _, it := range items() {
		if q.Match(&it) {
			got = append(got, it.Box.Name)
		}
	}
	require.Equal(t, []string{"coming"}, got)
}

// Whatever is typed is understood or refused with a reason, and understood the
// same with its words the other way round.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"auth", "state:started cpu>50", `label:a="b c" !x`, "mem>1GiB", "idle<1m", `"`, "!", "::", "日本:é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := Parse(s)
		if err != nil {
			if err.Error() == "" {
				t.Fatalf("%q: %v, %v", s, q, err)
			}
			return
		}
		words, _ := split(s)
		var back strings.Builder
		for i := len(words) - 1; i >= 0; i-- {
			w := words[i].text
			if words[i].quoted {
				w = `"` + w + `"`
			} else if strings.Contains(w, " ") {
				return // a quote inside a word: written back otherwise
			}
			fmt.Fprintf(&back, "%s ", w)
		}
		r, err := Parse(back.String())
		if err != nil {
			t.Fatalf("%q is understood, %q is not: %v", s, back.String(), err)
		}
		for _, it := range items() {
			if q.Match(&it) != r.Match(&it) {
				t.Fatalf("%q and %q differ", s, back.String())
			}
		}
	})
}
