package config

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "1": 1, "512": 512, "7B": 7,
		"1KiB": 1024, "512MiB": 512 << 20, "4GiB": 4 << 30, "2TiB": 2 << 40,
		"1KB": 1000, "5MB": 5e6, "4GB": 4e9, "3TB": 3e12, "0GiB": 0, "007MiB": 7 << 20,
		"9223372036854775807": math.MaxInt64,
	} {
		got, err := ParseSize(text)
		noError(t, err, text)
		equal(t, want, got, text)
	}
	for text, why := range map[string]string{
		"":                    "want a whole number",
		"4G":                  "want a whole number",
		"4g":                  "want a whole number",
		"4 GiB":               "want a whole number",
		" 4GiB":               "want a whole number",
		"GiB":                 "want a whole number",
		"1.5GiB":              "want a whole number",
		"-1":                  "want a whole number",
		"+1":                  "want a whole number",
		"1e9":                 "want a whole number",
		"4gib":                "want a whole number",
		"٤GiB":                "want a whole number",
		"9223372036854775808": "too large",
		"9000000TiB":          "too large",
	} {
		_, err := ParseSize(text)
		wantError(t, err, why, text)
		wantError(t, err, "bad size")
	}
}

func TestSizeString(t *testing.T) {
	for s, want := range map[Size]string{
		0: "0", 1: "1", 1000: "1KB", 1024: "1KiB", 1536 * MiB: "1536MiB", 4 * GiB: "4GiB", 4e9: "4GB", 1025: "1025",
		TiB: "1TiB", -5: "-5",
	} {
		equal(t, want, s.String())
	}
	data, err := json.Marshal(4 * GiB)
	noError(t, err)
	equal(t, "4294967296", string(data))
	var back Size
	noError(t, json.Unmarshal(data, &back))
	equal(t, 4*GiB, back)
	wantError(t, json.Unmarshal([]byte(`"4GiB"`), &back), "", "in JSON a size is a number")
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "never": -1, "90s": 90 * time.Second, "15m": 15 * time.Minute, "7d": 7 * day,
		"2h30m": 150 * time.Minute, "1d2h3m4s5ms6us7ns": day + 2*time.Hour + 3*time.Minute + 4*time.Second + 5006007,
		"250ms": 250 * time.Millisecond, "100d": 100 * day,
	} {
		got, err := ParseDuration(text)
		noError(t, err, text)
		equal(t, Duration(want), got, text)
	}
	for text, why := range map[string]string{
		"":                      "want whole numbers",
		"90":                    "needs a unit",
		"1h30":                  "needs a unit",
		"s":                     "want whole numbers",
		"-5s":                   "want whole numbers",
		"1.5h":                  "want whole numbers",
		"5 m":                   "want whole numbers",
		"5s5s":                  "want whole numbers",
		"5s5m":                  "want whole numbers",
		"1w":                    "want whole numbers",
		"Never":                 "want whole numbers",
		"never5s":               "want whole numbers",
		"200000000d":            "too long",
		"99999999999999999999s": "too long",
		"106751d23h59m":         "too long",
	} {
		_, err := ParseDuration(text)
		wantError(t, err, why, text)
		wantError(t, err, "bad duration")
	}
}

func TestDurationJSON(t *testing.T) {
	for d, want := range map[Duration]string{
		0: "0", Never: "-1", Duration(90 * time.Second): "90", Duration(1500 * time.Millisecond): "1.5",
		1: "0.000000001", Duration(7 * day): "604800", Duration(100*365*day) + 1: "3153600000.000000001",
	} {
		data, err := json.Marshal(d)
		noError(t, err)
		equal(t, want, string(data))
		var back Duration
		noError(t, json.Unmarshal(data, &back))
		equal(t, d, back, want)
	}
	_, err := json.Marshal(Duration(-2))
	wantError(t, err, "negative")

	for text, want := range map[string]Duration{
		"1e3": Duration(1000 * time.Second), "-0": 0, "0.25": Duration(250 * time.Millisecond),
		"1.00000000000": Duration(time.Second),
	} {
		var d Duration
		noError(t, json.Unmarshal([]byte(text), &d), text)
		equal(t, want, d, text)
	}
	for _, text := range []string{`"90"`, `"90s"`, "-2", "-0.5", "1e300", "9223372036.9", "9223372036", "true", "[]", "{}"} {
		d := Duration(42)
		wantError(t, json.Unmarshal([]byte(text), &d), "", text)
		equal(t, Duration(42), d, "unchanged by an error")
	}
}

func TestNearest(t *testing.T) {
	names := []string{"base", "go", "node", "python", "shell", "untrusted"}
	for name, want := range map[string]string{
		"pyhton": "python", "pythn": "python", "shel": "shell", "nod": "node", "untrustd": "untrusted", "g": "go",
		"": "", "zzz": "", "python": "", "x": "", strings.Repeat("p", 1000): "",
	} {
		equal(t, want, Nearest(name, names), name)
	}
	equal(t, "ab", Nearest("ax", []string{"ab", "ac"}), "the first of two")
	equal(t, "memory", Nearest("memroy", []string{"memo", "memory"}))
	equal(t, "", Nearest("a", nil))
}

func TestValidName(t *testing.T) {
	for _, name := range []string{"a", "7", "a-b", "web-1", strings.Repeat("x", 48)} {
		noError(t, ValidName(name), name)
	}
	for _, name := range []string{
		"", "-a", "a-", "-", "A", "a_b", "a.b", "a b", "a/b", "..", "ä", "a\n", "a\x00", strings.Repeat("x", 49),
	} {
		wantError(t, ValidName(name), "", name)
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"0", "4GiB", "4G", "1.5GiB", "9223372036854775807", "-1", "7KB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSize(text)
		if err != nil {
			return
		}
		if s < 0 {
			t.Fatalf("%q is %d", text, s)
		}
		if back, err := ParseSize(s.String()); err != nil || back != s {
			t.Fatalf("%q is %d, written %s, read %d, %v", text, s, s, back, err)
		}
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"0", "never", "90s", "2h30m", "7d", "5", "1d1ns"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDuration(text)
		if err != nil {
			return
		}
		if d < 0 && d != Never {
			t.Fatalf("%q is %d", text, d)
		}
		if back, err := ParseDuration(d.String()); err != nil || back != d {
			t.Fatalf("%q is %d, written %s, read %d, %v", text, d, d, back, err)
		}
		data, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var back Duration
		if err := json.Unmarshal(data, &back); err != nil || back != d {
			t.Fatalf("%d in JSON is %s, read %d, %v", d, data, back, err)
		}
	})
}
