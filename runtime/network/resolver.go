package network

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The files that say where the host asks for names: the one of resolv.conf(5),
// and the one in which systemd-resolved keeps what it asks itself, while the
// first names its stub on the loopback (systemd-resolved.service(8)).
const (
	resolvConf     = "/etc/resolv.conf"
	resolvedServer = "/run/systemd/resolve/resolv.conf"
)

// upstream is where a sandbox's questions for names go.
type upstream struct {
	// translate is the host's resolver where the kernel can send them there;
	// not valid: it cannot.
	translate netip.Addr
	// forward are resolvers that only the host itself reaches: on its
	// loopback, at an address of its own, or by IPv6.
	forward []netip.Addr
}

// findUpstream reads where the host asks for names. own are its addresses.
func findUpstream(own []netip.Prefix, files ...string) upstream {
	var local []netip.Addr
	for _, file := range files {
		servers := nameservers(file)
		for _, a := range servers {
			mine := a.IsLoopback() || a.IsUnspecified() || slices.ContainsFunc(own, func(p netip.Prefix) bool { return p.Contains(a) })
			if a.Is4() && !mine {
				return upstream{translate: a}
			}
			local = append(local, a)
		}
	}
	return upstream{forward: local}
}

const maxResolvConf = 64 << 10

// nameservers reads the resolvers of a file; none where there is no file.
func nameservers(path string) []netip.Addr {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil
	}
	defer f.Close()
	data := make([]byte, maxResolvConf)
	n, err := f.Read(data)
	if err != nil {
		return nil
	}
	return parseNameservers(data[:n])
}

// parseNameservers reads the lines that name a resolver; others, and addresses
// that are none, are passed over, as the C library does.
func parseNameservers(data []byte) []netip.Addr {
	var list []netip.Addr
	for line := range bytes.Lines(data) {
		f := strings.Fields(string(line))
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		a, err := netip.ParseAddr(f[1])
		if err != nil {
			continue
		}
		list = append(list, a.Unmap())
	}
	return list
}
