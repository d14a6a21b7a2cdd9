package config

import (
	"fmt"
	"net/netip"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// What a Spec reaches outside itself: network, ports, directories, volumes.

func (v *validator) network(n Network) {
	v.each("network.allow", n.Allow, v.allow)
	v.each("network.deny", n.Deny, func(key, s string) { v.prefix(key, s) })
	v.each("network.domains", n.Domains, v.domain)
	if v.list("network.host_ports", len(n.HostPorts), maxList) {
		for i, p := range n.HostPorts {
			v.port(indexKey("network.host_ports", i), p)
		}
	}
	if !n.BlockAll {
		return
	}
	for _, other := range []struct {
		key string
		set bool
	}{
		{"network.allow", len(n.Allow) > 0}, {"network.deny", len(n.Deny) > 0}, {"network.domains", len(n.Domains) > 0},
		{"network.lan", n.LAN}, {"network.host_ports", len(n.HostPorts) > 0}, {"network.ask", n.Ask},
	} {
		if other.set {
			v.bad(other.key, "remove it, or set network.block_all = false (--block-all=false)", "it means nothing while network.block_all is true")
		}
	}
}

func (v *validator) each(key string, list []string, check func(key, s string)) {
	if !v.list(key, len(list), maxList) {
		return
	}
	for i, s := range list {
		if inner := indexKey(key, i); v.str(inner, s, maxShown) {
			check(inner, s)
		}
	}
}

// allow is CIDR, CIDR:port or CIDR:port/udp.
func (v *validator) allow(key, s string) {
	slash := strings.IndexByte(s, '/')
	colon := -1
	if slash >= 0 {
		colon = strings.IndexByte(s[slash:], ':')
	}
	if colon < 0 {
		v.prefix(key, s)
		return
	}
	prefix, rest := s[:slash+colon], s[slash+colon+1:]
	number, protocol, _ := strings.Cut(rest, "/")
	if p, err := strconv.Atoi(number); err != nil || p < 1 || p > 65535 || strings.HasSuffix(rest, "/") ||
		(protocol != "" && protocol != "tcp" && protocol != "udp") {
		v.bad(key, "", "%s has a bad port: want CIDR:PORT, CIDR:PORT/tcp or CIDR:PORT/udp", quote(s))
		return
	}
	v.prefix(key, prefix)
}

func (v *validator) prefix(key, s string) {
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		hint := "such as 203.0.113.0/24 or 2001:db8::/32"
		if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
			hint = fmt.Sprintf("one address is %s", quote(fmt.Sprintf("%v/%d", addr, addr.BitLen())))
		}
		v.bad(key, hint, "%s is no CIDR", quote(s))
		return
	}
	if prefix != prefix.Masked() {
		v.bad(key, fmt.Sprintf("write %s", quote(prefix.Masked().String())), "%s has bits set beyond its length", quote(s))
	}
}

// domain is a host name (RFC 1123), or "*." and one.
func (v *validator) domain(key, s string) {
	name := strings.TrimPrefix(s, "*.")
	ok := name != "" && len(name) <= 253
	for label := range strings.SplitSeq(name, ".") {
		ok = ok && label != "" && len(label) <= 63 && label[0] != '-' && label[len(label)-1] != '-'
		for i := range len(label) {
			c := label[i]
			ok = ok && (letter(c) || digit(c) || c == '-' || c == '_')
		}
	}
	if !ok {
		v.bad(key, "", "%s is no domain: want a name such as example.org or *.example.org", quote(s))
	} else if _, err := netip.ParseAddr(name); err == nil {
		v.bad(key, "addresses go into network.allow", "%s is an address", quote(s))
	}
}

func (v *validator) port(key string, p int) bool {
	if p < 1 || p > 65535 {
		v.bad(key, "", "%d is no port: want 1 to 65535", p)
		return false
	}
	return true
}

func (v *validator) ports(ports []Port) {
	if !v.list("ports", len(ports), maxList) {
		return
	}
	seen := map[int]bool{}
	for i, p := range ports {
		key := indexKey("ports", i) + ".port"
		if v.port(key, p.Port) && seen[p.Port] {
			v.bad(key, "", "port %d is listed twice", p.Port)
		}
		seen[p.Port] = true
	}
}

// targets checks mounts and volumes together: no two may have one target.
func (v *validator) targets(mounts []Mount, volumes []Volume) {
	seen := map[string]bool{}
	if v.list("mounts", len(mounts), MaxMounts) {
		for i, m := range mounts {
			key := indexKey("mounts", i)
			v.source(key+".source", m.Source)
			v.target(key+".target", m.Target, seen)
			v.oneOf(key+".mode", "mode", m.Mode, []string{MountRO, MountRW, MountCOW, MountRWAsRoot})
		}
	}
	if v.list("volumes", len(volumes), maxList) {
		for i, e := range volumes {
			key := indexKey("volumes", i)
			if err := ValidName(e.Name); err != nil {
				v.bad(key+".name", "", "%v", err)
			}
			v.target(key+".target", e.Target, seen)
			for _, m := range mounts {
				if strings.HasPrefix(m.Target, e.Target+"/") {
					v.bad(key+".target", "", "it would hide the mount at %s", quote(m.Target))
				}
			}
			if e.Subpath != "" && v.str(key+".subpath", e.Subpath, maxPath) &&
				(!filepath.IsLocal(e.Subpath) || path.Clean(e.Subpath) != e.Subpath) {
				v.bad(key+".subpath", "", "%s is no clean path beneath the volume", quote(e.Subpath))
			}
			if err := ValidQuota(e.Quota); err != nil {
				v.bad(key+".quota", "", "%v", err)
			}
		}
	}
}

// source is a path of the host. The daemon never opens it: the caller hands
// over the directory, and the path is kept to name it.
func (v *validator) source(key, p string) {
	if v.absolute(key, p) && strings.ContainsFunc(p, unsafeRune) {
		v.bad(key, "", "it contains a control character")
	}
}

// target refuses, beyond what is no path, the places that hold up the sandbox.
func (v *validator) target(key, p string, seen map[string]bool) {
	if !v.absolute(key, p) {
		return
	}
	if p == "/" {
		v.bad(key, "", "the root cannot be mounted over")
		return
	}
	// /run is memory, mounted over whatever the root has there.
	for _, own := range []string{"/proc", "/sys", "/dev", "/run"} {
		if p == own || strings.HasPrefix(p, own+"/") || strings.HasPrefix(own, p+"/") {
			v.bad(key, "", "%s overlaps %s, which is the sandbox's own", quote(p), own)
			return
		}
	}
	if seen[p] {
		v.bad(key, "", "%s is a target twice", quote(p))
	}
	seen[p] = true
}

// ValidQuota tells whether a volume can have that quota; 0 is none.
func ValidQuota(s Size) error {
	if s == 0 || s >= minDisk && s <= maxDisk {
		return nil
	}
	return fmt.Errorf("%v cannot be the quota of a volume: want %v to %v, or 0 for none", s, minDisk, Size(maxDisk))
}
