package network

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestIntervals(t *testing.T) {
	for in, want := range map[string]string{
		"":                             "",
		"10.0.0.0/8":                   "10.0.0.0-11.0.0.0",
		"10.0.0.0/8 10.1.0.0/16":       "10.0.0.0-11.0.0.0",
		"10.1.0.0/16 10.0.0.0/8":       "10.0.0.0-11.0.0.0",
		"10.0.0.0/9 10.128.0.0/9":      "10.0.0.0-11.0.0.0",
		"10.0.0.0/8 12.0.0.0/8":        "10.0.0.0-11.0.0.0 12.0.0.0-13.0.0.0",
		"240.0.0.0/4":                  "240.0.0.0-",
		"240.0.0.0/4 255.255.255.0/24": "240.0.0.0-",
		"0.0.0.0/0 10.0.0.0/8":         "0.0.0.0-",
		"192.0.2.7/24":                 "192.0.2.0-192.0.3.0",
		"ff00::/8 fe80::/10":           "fe80::-fec0:: ff00::-",
		"1.2.3.4/32 1.2.3.5/32":        "1.2.3.4-1.2.3.6",
	} {
		var got []string
		for _, e := range intervals(prefixes(strings.Fields(in)...)) {
			a, _ := netip.AddrFromSlice(e.Key)
			if e.IntervalEnd {
				got[len(got)-1] += a.String()
			} else {
				got = append(got, a.String()+"-")
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: %s, want %s", in, s, want)
		}
	}
}

// contains tells what the elements of an interval set contain, as the kernel
// does: whether the last element at or before an address begins a run.
func contains(list []netip.Prefix, a netip.Addr) bool {
	in := false
	for _, e := range intervals(list) {
		if key, _ := netip.AddrFromSlice(e.Key); key.Compare(a) > 0 {
			break
		}
		in = !e.IntervalEnd
	}
	return in
}

func TestWhatIsNeverOpenAndWhatIsPrivate(t *testing.T) {
	for addr, want := range map[string]string{
		"0.0.0.0": "never", "127.0.0.1": "never", "127.255.255.255": "never", "169.254.169.254": "never", "168.63.129.16": "never",
		"100.100.100.200": "never", "198.18.0.1": "never", "198.19.255.255": "never", "224.0.0.1": "never", "255.255.255.255": "never",
		"10.0.0.1": "private", "172.16.0.1": "private", "172.31.255.255": "private", "192.168.1.1": "private", "100.64.0.1": "private", "192.0.0.8": "private",
		"1.1.1.1": "open", "172.32.0.1": "open", "172.15.255.255": "open", "100.128.0.1": "open", "198.20.0.1": "open", "168.63.129.17": "open", "223.255.255.255": "open",
		"::": "never", "::1": "never", "::ffff:10.0.0.1": "never", "::10.0.0.1": "never", "fe80::1": "never", "fec0::1": "never", "ff02::1": "never",
		"fd00:ec2::254": "never", "fd20:ce::254": "never", "fdc0:76e5:a000:100::1": "never", "64:ff9b::a9fe:a9fe": "never", "64:ff9b::7f00:1": "never",
		"fc00::1": "private", "fd00::1": "private", "64:ff9b::a00:1": "private", "64:ff9b::c0a8:101": "private", "64:ff9b:1::1": "private",
		"2002:a00:1::1": "private", "2001:0:1::1": "private",
		"2606:4700::1111": "open", "2001:4860:4860::8888": "open", "64:ff9b::101:101": "open",
	} {
		a := netip.MustParseAddr(addr)
		got := "open"
		never, private := never4(), private4()
		if a.Is6() {
			never, private = never6(), private6()
		}
		switch {
		case contains(never, a):
			got = "never"
		case contains(private, a):
			got = "private"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

func TestNamesOfLinks(t *testing.T) {
	for n, want := range map[int]string{0: "cva1b2c3-0", 1: "cva1b2c3-1", maxNumber: "cva1b2c3-65534"} {
		name := linkName("a1b2c3", n)
		got, ok := linkNumber("a1b2c3", name)
		if name != want || got != n || !ok || len(name) > 15 {
			t.Errorf("%d: %s, %d, %v", n, name, got, ok)
		}
	}
	for _, name := range []string{"cva1b2c3-", "cva1b2c3-01", "cva1b2c3--1", "cva1b2c3-65535", "cva1b2c4-1", "eth0", "cva1b2c3-1x"} {
		if n, ok := linkNumber("a1b2c3", name); ok {
			t.Errorf("%s is link %d", name, n)
		}
	}
	for name, want := range map[string]bool{"cva1b2c3-0": true, "cva1b2c3-1": false, "cvA1b2c3-0": false, "cv-0": false, "xva1b2c3-0": false, "lo": false} {
		if isUplink(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
	if a, b := uplink4(uplinkCount - 1); a.String() != "198.19.255.254" || b.String() != "198.19.255.255" {
		t.Errorf("the last uplink: %s, %s", a, b)
	}
	if a := local6("a1b2c3", sandboxNet6, 0x1234); a.String() != "fdc0:76e5:a1b2:c301::1234" {
		t.Error(a)
	}
}

func TestUpstream(t *testing.T) {
	own := []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}
	for _, c := range []struct{ stub, real, want string }{
		{"", "", "{invalid IP []}"},
		{"nameserver 10.0.0.1\nnameserver 10.0.0.2\n", "", "{10.0.0.1 []}"},
		{"nameserver 127.0.0.53\n", "nameserver 10.0.0.1\n", "{10.0.0.1 []}"},
		{"nameserver 127.0.0.53\noptions edns0\n", "", "{invalid IP [127.0.0.53]}"},
		{"nameserver 192.0.2.7\n", "", "{invalid IP [192.0.2.7]}"},
		{"nameserver 2001:db8::1\nnameserver fe80::1%eth0\n", "", "{invalid IP [2001:db8::1 fe80::1%eth0]}"},
		{"nameserver 2001:db8::1\nnameserver 10.0.0.1\n", "", "{10.0.0.1 []}"},
		{"nameserver ::ffff:10.0.0.1\n", "", "{10.0.0.1 []}"},
		{"#nameserver 10.0.0.1\nnameserver\nnameserver x\n nameserver 10.0.0.3 # x\n", "", "{10.0.0.3 []}"},
		{"nameserver 0.0.0.0\n", "", "{invalid IP [0.0.0.0]}"},
	} {
		dir := t.TempDir()
		files := []string{filepath.Join(dir, "stub"), filepath.Join(dir, "real")}
		for i, text := range []string{c.stub, c.real} {
			if text != "" {
				must(t, os.WriteFile(files[i], []byte(text), 0o600))
			}
		}
		up := findUpstream(own, files...)
		if got := fmt.Sprintf("{%v %v}", up.translate, up.forward); got != c.want {
			t.Errorf("%q, %q: %s, want %s", c.stub, c.real, got, c.want)
		}
	}
}

func TestChunks(t *testing.T) {
	for n, want := range map[int][]int{0: nil, 1: {1}, 200: {200}, 201: {200, 1}, 450: {200, 200, 50}} {
		var got []int
		for _, part := range chunks(slices.Repeat([]*link{nil}, n)) {
			got = append(got, len(part))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d: %s", n, diff)
		}
	}
}
