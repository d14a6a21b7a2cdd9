package network

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// What rules are made of. Each function gives the expressions of one condition
// or of one verdict; a rule is some of them in a row (nft(8)).

type exprs = []expr.Any

// rule joins parts to one rule.
func rule(parts ...exprs) exprs {
	var all exprs
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func verdict(kind expr.VerdictKind) exprs { return exprs{&expr.Verdict{Kind: kind}} }

func accept() exprs              { return verdict(expr.VerdictAccept) }
func drop() exprs                { return exprs{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}} }
func jumpTo(chain string) exprs  { return exprs{&expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}} }
func compare(b []byte) *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: b} }

// ifname is a name as the kernel compares it.
func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func meta(key expr.MetaKey, b []byte) exprs {
	return exprs{&expr.Meta{Key: key, Register: 1}, compare(b)}
}

func from(name string) exprs { return meta(expr.MetaKeyIIFNAME, ifname(name)) }
func to(name string) exprs   { return meta(expr.MetaKeyOIFNAME, ifname(name)) }

// fromAny and toAny are true for interfaces whose names begin with prefix.
func fromAny(prefix string) exprs { return meta(expr.MetaKeyIIFNAME, []byte(prefix)) }
func toAny(prefix string) exprs   { return meta(expr.MetaKeyOIFNAME, []byte(prefix)) }

func notTo(name string) exprs {
	return exprs{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: ifname(name)}}
}

func family(v6 bool) exprs {
	if v6 {
		return meta(expr.MetaKeyNFPROTO, []byte{unix.NFPROTO_IPV6})
	}
	return meta(expr.MetaKeyNFPROTO, []byte{unix.NFPROTO_IPV4})
}

func protocol(p byte) exprs { return meta(expr.MetaKeyL4PROTO, []byte{p}) }

// address loads the source or destination of a packet into a register.
func address(v6, destination bool, register uint32) expr.Any {
	// The offsets of RFC 791 and RFC 8200.
	p := &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}
	if v6 {
		p.Offset, p.Len = 8, 16
	}
	if destination {
		p.Offset += p.Len
	}
	return p
}

func destination(a netip.Addr) exprs {
	return rule(family(a.Is6()), exprs{address(a.Is6(), true, 1), compare(a.AsSlice())})
}

func source(a netip.Addr) exprs {
	return rule(family(a.Is6()), exprs{address(a.Is6(), false, 1), compare(a.AsSlice())})
}

// destinationIn is true when the destination is in a set.
func destinationIn(s *nftables.Set, v6 bool) exprs {
	return rule(family(v6), exprs{address(v6, true, 1), lookup(s)})
}

// pairIn is true when the interface and the source are a pair of a set.
func pairIn(s *nftables.Set, v6 bool) exprs {
	return rule(family(v6), exprs{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, address(v6, false, 2), lookup(s)})
}

func lookup(s *nftables.Set) expr.Any {
	return &expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID}
}

// toPort is true for a destination port; the protocol must be known to have ports.
func toPort(port uint16) exprs {
	return exprs{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, compare(binaryutil.BigEndian.PutUint16(port))}
}

// flag is true when a word of the connection's has one of the bits.
func flag(key expr.CtKey, bits uint32) exprs {
	zero := make([]byte, 4)
	return exprs{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: zero},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: zero},
	}
}

func connection(bits uint32) exprs { return flag(expr.CtKeySTATE, bits) }

// moreThan is true for a packet whose source has more connections than that; s
// is where they are counted.
func moreThan(most uint32, s *nftables.Set, v6 bool) exprs {
	return rule(family(v6), exprs{address(v6, false, 1), &expr.Dynset{
		SrcRegKey: 1, SetName: s.Name, SetID: s.ID, Operation: uint32(unix.NFT_DYNSET_OP_ADD),
		Exprs: []expr.Any{&expr.Connlimit{Count: most, Flags: unix.NFT_LIMIT_F_INV}},
	}})
}

// translated is true for connections whose destination a rule has changed
// (IPS_DST_NAT of the kernel's nf_conntrack_common.h).
func translated() exprs { return flag(expr.CtKeySTATUS, 1<<5) }

func notTranslated() exprs {
	e := translated()
	e[2].(*expr.Cmp).Op = expr.CmpOpEq
	return e
}

// refusals are the rules that answer a packet which may not pass, so that its
// sender need not wait: a reset for TCP, "administratively prohibited" for the
// rest.
func refusals() []exprs {
	return []exprs{
		rule(protocol(unix.IPPROTO_TCP), exprs{&expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}),
		{&expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}},
	}
}

// toAddress changes the destination of a connection.
func toAddress(a netip.Addr, port uint16) exprs {
	nat := &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, Specified: true}
	if a.Is6() {
		nat.Family = unix.NFPROTO_IPV6
	}
	return exprs{
		&expr.Immediate{Register: 1, Data: a.AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(port)},
		nat,
	}
}

func masquerade() exprs { return exprs{&expr.Masq{}} }
