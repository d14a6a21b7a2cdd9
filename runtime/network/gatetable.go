package network

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// dnsPort is where resolvers listen.
const dnsPort = 53

// gateTable is the table of the gate, "inet cove_<inst>". Of a packet that a
// sandbox sends:
//
//   - its source must be the address of the link it comes from (chain spoof);
//   - the gate itself answers nothing but names, where the daemon has to forward
//     them (chain input);
//   - it leaves for the host only, never for another sandbox; its destination
//     is in no set that nothing opens, and then in none that its policy closes
//     (chain forward). Every packet is judged, not only the first of a
//     connection: a policy that gets tighter holds for what is open.
//   - a sandbox has at most [maxConnections] of them: the host keeps track of
//     each as well, in one table for all that goes on there.
//   - 169.254.1.1:53 is the host's resolver (chain dns), wherever that is.
//
// To a sandbox only answers come.
type gateTable struct {
	table *nftables.Table
	// from4 and from6 are pairs of link and source, egress is link to chain,
	// host4 and host6 are the host's own addresses, near4 and near6 the
	// networks it is attached to.
	from4, from6, egress, host4, host6, near4, near6 *nftables.Set
	// most is how many connections a sandbox may have.
	most uint32
}

// maxConnections is far above what builds and browsers open at once, and an
// eighth of the table of connections of a host with 2 GiB (nf_conntrack_max).
const maxConnections = 8192

// The interface of the gate that leads to the host, and the chains that a
// policy may name.
const (
	hostLink    = "host0"
	chainOpen   = "open"
	chainLAN    = "lan"
	chainRefuse = "refuse"
)

func newGateTable(inst string) *gateTable {
	t := &nftables.Table{Name: tableName(inst), Family: nftables.TableFamilyINet}
	pair := func(addr nftables.SetDatatype) nftables.SetDatatype {
		return nftables.MustConcatSetType(nftables.TypeIFName, addr)
	}
	interval := func(name string, addr nftables.SetDatatype) *nftables.Set {
		return &nftables.Set{Table: t, Name: name, KeyType: addr, Interval: true}
	}
	return &gateTable{
		table: t, most: maxConnections,
		from4:  &nftables.Set{Table: t, Name: "from4", KeyType: pair(nftables.TypeIPAddr), Concatenation: true},
		from6:  &nftables.Set{Table: t, Name: "from6", KeyType: pair(nftables.TypeIP6Addr), Concatenation: true},
		egress: &nftables.Set{Table: t, Name: "egress", KeyType: nftables.TypeIFName, IsMap: true, DataType: nftables.TypeVerdict},
		host4:  interval("host4", nftables.TypeIPAddr), host6: interval("host6", nftables.TypeIP6Addr),
		near4: interval("near4", nftables.TypeIPAddr), near6: interval("near6", nftables.TypeIP6Addr),
	}
}

func tableName(inst string) string { return "cove_" + inst }

// surroundings are what the gate's rules know of the host.
type surroundings struct {
	// own are the host's addresses, near the networks it is attached to.
	own, near []netip.Prefix
	// resolver is where names are asked for; not valid: the daemon forwards
	// them, or nobody answers.
	resolver netip.Addr
}

// install puts the whole table in place of the one that is there, in one step.
func (g *gateTable) install(c *nftables.Conn, s surroundings, links []*link) error {
	t := c.AddTable(g.table)
	c.DelTable(t)
	c.AddTable(g.table)

	never := map[bool]*nftables.Set{
		false: {Table: t, Name: "never4", KeyType: nftables.TypeIPAddr, Interval: true},
		true:  {Table: t, Name: "never6", KeyType: nftables.TypeIP6Addr, Interval: true},
	}
	private := map[bool]*nftables.Set{
		false: {Table: t, Name: "private4", KeyType: nftables.TypeIPAddr, Interval: true},
		true:  {Table: t, Name: "private6", KeyType: nftables.TypeIP6Addr, Interval: true},
	}
	many := map[bool]*nftables.Set{
		false: {Table: t, Name: "many4", KeyType: nftables.TypeIPAddr, Dynamic: true},
		true:  {Table: t, Name: "many6", KeyType: nftables.TypeIP6Addr, Dynamic: true},
	}
	own, near := map[bool]*nftables.Set{false: g.host4, true: g.host6}, map[bool]*nftables.Set{false: g.near4, true: g.near6}
	for _, set := range []struct {
		s    *nftables.Set
		list []nftables.SetElement
	}{
		{never[false], intervals(never4())}, {never[true], intervals(never6())},
		{private[false], intervals(private4())}, {private[true], intervals(private6())},
		{g.host4, intervals(ofFamily(s.own, false))}, {g.host6, intervals(ofFamily(s.own, true))},
		{g.near4, intervals(ofFamily(s.near, false))}, {g.near6, intervals(ofFamily(s.near, true))},
		{g.from4, nil}, {g.from6, nil}, {many[false], nil}, {many[true], nil},
	} {
		if err := c.AddSet(set.s, set.list); err != nil {
			return err
		}
	}

	chain := func(name string, rules ...exprs) { g.chain(c, &nftables.Chain{Table: t, Name: name}, rules) }
	// What others go to comes before them.
	chain(chainRefuse, refusals()...)
	chain(chainOpen,
		rule(destinationIn(private[false], false), jumpTo(chainRefuse)),
		rule(destinationIn(private[true], true), jumpTo(chainRefuse)),
		rule(destinationIn(near[false], false), jumpTo(chainRefuse)),
		rule(destinationIn(near[true], true), jumpTo(chainRefuse)),
		accept())
	chain(chainLAN, accept())
	if err := c.AddSet(g.egress, nil); err != nil {
		return err
	}
	for _, part := range chunks(links) {
		if err := g.add(c, part...); err != nil {
			return err
		}
	}

	hook := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority, policy nftables.ChainPolicy, rules ...exprs) {
		g.chain(c, &nftables.Chain{Table: t, Name: name, Type: kind, Hooknum: hook, Priority: priority, Policy: &policy}, rules)
	}
	hook("spoof", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw, nftables.ChainPolicyDrop,
		rule(from(hostLink), accept()),
		rule(from("lo"), accept()),
		rule(pairIn(g.from4, false), accept()),
		rule(pairIn(g.from6, true), accept()))
	hook("dns", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest, nftables.ChainPolicyAccept, g.names(s.resolver)...)
	hook("input", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter, nftables.ChainPolicyDrop,
		rule(from("lo"), accept()),
		rule(connection(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept()),
		rule(from(hostLink), drop()),
		rule(destination(resolver4()), protocol(unix.IPPROTO_UDP), toPort(dnsPort), accept()),
		rule(destination(resolver4()), protocol(unix.IPPROTO_TCP), toPort(dnsPort), accept()),
		jumpTo(chainRefuse))
	hook("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter, nftables.ChainPolicyDrop,
		rule(connection(expr.CtStateBitINVALID), drop()),
		rule(from(hostLink), to(hostLink), drop()),
		rule(from(hostLink), connection(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept()),
		rule(from(hostLink), drop()),
		rule(notTo(hostLink), jumpTo(chainRefuse)),
		rule(connection(expr.CtStateBitNEW), moreThan(g.most, many[false], false), jumpTo(chainRefuse)),
		rule(connection(expr.CtStateBitNEW), moreThan(g.most, many[true], true), jumpTo(chainRefuse)),
		rule(translated(), accept()),
		rule(destinationIn(never[false], false), jumpTo(chainRefuse)),
		rule(destinationIn(never[true], true), jumpTo(chainRefuse)),
		rule(destinationIn(own[false], false), jumpTo(chainRefuse)),
		rule(destinationIn(own[true], true), jumpTo(chainRefuse)),
		exprs{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
			&expr.Lookup{SourceRegister: 1, DestRegister: 0, IsDestRegSet: true, SetName: g.egress.Name, SetID: g.egress.ID},
		},
		jumpTo(chainRefuse))
	hook("nat", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, nftables.ChainPolicyAccept,
		rule(to(hostLink), masquerade()))
	return c.Flush()
}

// names are the rules that turn questions for names to the host's resolver.
func (g *gateTable) names(resolver netip.Addr) []exprs {
	if !resolver.Is4() {
		return nil
	}
	var rules []exprs
	for _, p := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
		rules = append(rules, rule(destination(resolver4()), protocol(p), toPort(dnsPort), toAddress(resolver, dnsPort)))
	}
	return rules
}

func (g *gateTable) chain(c *nftables.Conn, chain *nftables.Chain, rules []exprs) {
	c.AddChain(chain)
	for _, r := range rules {
		c.AddRule(&nftables.Rule{Table: chain.Table, Chain: chain, Exprs: r})
	}
}

// surround tells the rules what is new about the host's addresses.
func (g *gateTable) surround(c *nftables.Conn, s surroundings) error {
	for _, set := range []struct {
		s    *nftables.Set
		list []netip.Prefix
	}{
		{g.host4, ofFamily(s.own, false)}, {g.host6, ofFamily(s.own, true)}, {g.near4, ofFamily(s.near, false)}, {g.near6, ofFamily(s.near, true)},
	} {
		c.FlushSet(set.s)
		if list := intervals(set.list); len(list) > 0 {
			if err := c.SetAddElements(set.s, list); err != nil {
				return err
			}
		}
	}
	return c.Flush()
}

// elements are what the rules know of one link.
func (g *gateTable) elements(l *link) (from4, from6, egress nftables.SetElement) {
	name := ifname(l.name)
	pair := func(a netip.Addr) nftables.SetElement {
		return nftables.SetElement{Key: append(ifname(l.name), a.AsSlice()...)}
	}
	chain := chainOpen
	if l.policy == LAN {
		chain = chainLAN
	}
	return pair(l.addr4), pair(l.addr6), nftables.SetElement{Key: name, VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}}
}

// add buffers what lets the links through, each as its policy has it.
func (g *gateTable) add(c *nftables.Conn, links ...*link) error {
	return g.each(c.SetAddElements, links)
}

// remove buffers what lets them through no more.
func (g *gateTable) remove(c *nftables.Conn, links ...*link) error {
	return g.each(c.SetDeleteElements, links)
}

func (g *gateTable) each(do func(*nftables.Set, []nftables.SetElement) error, links []*link) error {
	var from4, from6, egress []nftables.SetElement
	for _, l := range links {
		a, b, e := g.elements(l)
		from4, from6, egress = append(from4, a), append(from6, b), append(egress, e)
	}
	for _, set := range []struct {
		s    *nftables.Set
		list []nftables.SetElement
	}{{g.from4, from4}, {g.from6, from6}, {g.egress, egress}} {
		if err := do(set.s, set.list); err != nil {
			return err
		}
	}
	return nil
}

func ofFamily(list []netip.Prefix, v6 bool) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		if p.Addr().Is6() == v6 {
			out = append(out, p)
		}
	}
	return out
}

// chunks cuts a list into parts that fit into one message each.
func chunks(links []*link) [][]*link {
	const most = 200
	var parts [][]*link
	for len(links) > most {
		parts, links = append(parts, links[:most]), links[most:]
	}
	if len(links) > 0 {
		parts = append(parts, links)
	}
	return parts
}
