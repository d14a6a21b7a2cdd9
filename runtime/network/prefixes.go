package network

import (
	"encoding/hex"
	"net/netip"
	"slices"

	"github.com/google/nftables"
)

// Addresses of the gate. Those of sandboxes and of uplinks are of the block for
// benchmarks (RFC 2544), which no network may route and no resolver names.

// resolver4 is what /etc/resolv.conf of a sandbox names, and the next hop of its IPv4.
func resolver4() netip.Addr { return netip.AddrFrom4([4]byte{169, 254, 1, 1}) }

// gateway6 is the next hop of a sandbox's IPv6.
func gateway6() netip.Addr { return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: 1}) }

// sandbox4 is the address of the sandbox at the end of link n.
func sandbox4(n int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}) }

// uplink4 are the host's and the gate's address on uplink n of this machine.
func uplink4(n int) (host, gate netip.Addr) {
	return netip.AddrFrom4([4]byte{198, 19, byte(n >> 7), byte(n << 1)}), netip.AddrFrom4([4]byte{198, 19, byte(n >> 7), byte(n<<1) + 1})
}

// maxNumber is the highest number of a link; uplinkCount is how many uplinks the
// instances of one machine may have.
const (
	maxNumber   = 0xfffe
	uplinkCount = 1 << 15
)

// An instance's part of fdc0:76e5::/32, a unique local prefix (RFC 4193): its
// number, and what for.
const (
	gateNet6    = 0
	sandboxNet6 = 1
	uplinkNet6  = 2
)

func local6(inst string, what byte, n int) netip.Addr {
	a := [16]byte{0xfd, 0xc0, 0x76, 0xe5, 7: what, 14: byte(n >> 8), 15: byte(n)}
	id, _ := hex.DecodeString(inst) // checked by New
	copy(a[4:7], id)
	return netip.AddrFrom16(a)
}

// never4 and never6 are what no policy opens: this machine, what only this
// link knows, cloud metadata, and what is no single host's address at all.
func never4() []netip.Prefix {
	return prefixes(
		"0.0.0.0/8",          // "this network" (RFC 791); Linux takes 0.0.0.0 for itself
		"127.0.0.0/8",        // loopback
		"169.254.0.0/16",     // link-local (RFC 3927), and the metadata services of most clouds
		"168.63.129.16/32",   // Azure's wire server
		"100.100.100.200/32", // Alibaba's metadata
		"192.0.0.192/32",     // Oracle's metadata, classic
		"198.18.0.0/15",      // other sandboxes and the gates of this machine
		"224.0.0.0/4",        // multicast
		"240.0.0.0/4",        // reserved, and broadcast
	)
}

func never6() []netip.Prefix {
	return append(prefixes(
		"::/96",                  // unspecified, loopback, and the IPv4-compatible ones (RFC 4291)
		"::ffff:0:0/96",          // IPv4-mapped: never on a wire
		"::ffff:0:0:0/96",        // IPv4-translated (RFC 2765)
		"fe80::/10",              // link-local
		"fec0::/10",              // site-local (RFC 3879)
		"ff00::/8",               // multicast
		"fd00:ec2::254/128",      // Amazon's metadata
		"fd20:ce::254/128",       // Google's metadata
		"fd00:c1::a9fe:a9fe/128", // Oracle's metadata
		"fdc0:76e5::/32",         // gates of this machine and their sandboxes
		"100::/64",               // discard (RFC 6666)
	), embedded(never4())...)
}

// private4 and private6 are the networks around this machine: what lan = true
// opens.
func private4() []netip.Prefix {
	return prefixes(
		"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", // RFC 1918
		"100.64.0.0/10", // shared by providers (RFC 6598), and overlay networks
		"192.0.0.0/24",  // protocol assignments (RFC 6890)
	)
}

func private6() []netip.Prefix {
	return append(prefixes(
		"fc00::/7",       // unique local (RFC 4193)
		"64:ff9b:1::/48", // local translation to IPv4 (RFC 8215)
		"2001::/32",      // Teredo: an IPv4 address in disguise (RFC 4380)
		"2002::/16",      // 6to4: the same (RFC 3056)
	), embedded(private4())...)
}

// embedded gives the IPv6 addresses by which a translator (NAT64, RFC 6052)
// reaches IPv4 ones. The rest of 64:ff9b::/96 is the internet to a host that has
// IPv6 only.
func embedded(v4 []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	base := netip.MustParseAddr("64:ff9b::").As16()
	for _, p := range v4 {
		a, b := base, p.Addr().As4()
		copy(a[12:], b[:])
		out = append(out, netip.PrefixFrom(netip.AddrFrom16(a), 96+p.Bits()))
	}
	return out
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(list))
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// intervals makes the elements of an interval set: where each run of addresses
// begins, and the address after it. Overlapping runs are joined, which the
// kernel refuses otherwise.
func intervals(list []netip.Prefix) []nftables.SetElement {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, func(a, b netip.Prefix) int { return a.Masked().Addr().Compare(b.Masked().Addr()) })
	var elements []nftables.SetElement
	var end netip.Addr // of the run under way: the address after it; invalid: it ends with the address space
	open := false
	for _, p := range sorted {
		first, after := p.Masked().Addr(), lastOf(p).Next()
		switch {
		case open && (!end.IsValid() || first.Compare(end) <= 0):
			if end.IsValid() && (!after.IsValid() || after.Compare(end) > 0) {
				end = after
			}
			continue
		case open:
			elements = append(elements, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
		elements = append(elements, nftables.SetElement{Key: first.AsSlice()})
		open, end = true, after
	}
	if open && end.IsValid() {
		elements = append(elements, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
	}
	return elements
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
