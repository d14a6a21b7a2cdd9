package network

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// hostTables are the tables of the host's network namespace: "inet cove_<inst>"
// and the door, "netdev cove_<inst>". They leave alone what does not come from
// or go to the uplink, but for one thing: where cove switched forwarding on,
// others still cannot use the host as a router.
type hostTables struct {
	inet, netdev *nftables.Table
	uplink       string
	gate         []netip.Addr // the gate's addresses on the uplink
	// strangers4 and strangers6 are the interfaces that were there when
	// forwarding was switched on, by family.
	strangers4, strangers6 []string
}

func newHostTables(inst string, gate []netip.Addr) *hostTables {
	return &hostTables{
		inet:   &nftables.Table{Name: tableName(inst), Family: nftables.TableFamilyINet},
		netdev: &nftables.Table{Name: tableName(inst), Family: nftables.TableFamilyNetdev},
		uplink: linkName(inst, 0), gate: gate,
	}
}

// install puts both tables in place of those that are there, in one step.
func (h *hostTables) install(c *nftables.Conn) error {
	for _, t := range []*nftables.Table{h.inet, h.netdev} {
		c.AddTable(t)
		c.DelTable(t)
		c.AddTable(t)
	}
	hook := func(t *nftables.Table, name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority, rules ...exprs) {
		chain := &nftables.Chain{Table: t, Name: name, Type: kind, Hooknum: hook, Priority: priority}
		if t == h.netdev {
			chain.Device = h.uplink
		}
		c.AddChain(chain)
		for _, r := range rules {
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: r})
		}
	}
	var sources, nat []exprs
	for _, a := range h.gate {
		sources = append(sources, rule(from(h.uplink), source(a), accept()))
		nat = append(nat, rule(source(a), notTo(h.uplink), masquerade()))
	}
	const anyCove = "cv" // the uplinks of all instances
	forward := []exprs{
		rule(from(h.uplink), toAny(anyCove), drop()),
		rule(from(h.uplink), accept()),
		rule(to(h.uplink), connection(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept()),
		rule(to(h.uplink), drop()),
		rule(fromAny(anyCove), accept()),
		rule(toAny(anyCove), accept()),
	}
	for v6, names := range map[bool][]string{false: h.strangers4, true: h.strangers6} {
		for _, name := range names {
			forward = append(forward, rule(from(name), family(v6), connection(expr.CtStateBitNEW), notTranslated(), drop()))
		}
	}
	hook(h.inet, "spoof", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw,
		append(sources, rule(from(h.uplink), drop()))...)
	hook(h.inet, "input", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter, rule(from(h.uplink), drop()))
	hook(h.inet, "forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter, forward...)
	hook(h.inet, "nat", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, nat...)
	hook(h.netdev, "door", nftables.ChainTypeFilter, nftables.ChainHookIngress, nftables.ChainPriorityFilter, exprs{
		&expr.Immediate{Register: 1, Data: []byte{unix.PACKET_HOST}},
		&expr.Meta{Key: expr.MetaKeyPKTTYPE, SourceRegister: true, Register: 1},
	})
	return c.Flush()
}

// shut closes the door: nothing from the gate enters the host any more.
func (h *hostTables) shut(c *nftables.Conn) error {
	c.AddTable(h.netdev)
	c.DelTable(h.netdev)
	return c.Flush()
}

// remove takes both tables away.
func (h *hostTables) remove(c *nftables.Conn) error {
	for _, t := range []*nftables.Table{h.inet, h.netdev} {
		c.AddTable(t)
		c.DelTable(t)
	}
	return c.Flush()
}
