package network

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Docker drops all that is forwarded and not its own, and leaves one chain to
// others, which it goes through first and changes never ("Packet filtering and
// firewalls" in its manual). An accept in a table of ours counts for nothing
// against that drop, so the uplink gets two rules there. They are written as
// iptables writes them, which can list and delete them.
const dockerChain = "DOCKER-USER"

// admit puts the two rules into each chain of Docker's that lacks them.
func (d *Driver) admit(uplink string) error {
	chains, err := d.dockerChains()
	if err != nil {
		return err
	}
	for _, c := range chains {
		rules, err := d.nft.GetRules(c.Table, c)
		if err != nil {
			return fmt.Errorf("read the chain %s: %w", dockerChain, err)
		}
		for _, key := range []expr.MetaKey{expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME} {
			if !hasAdmission(rules, key, uplink) {
				d.nft.InsertRule(&nftables.Rule{Table: c.Table, Chain: c, Exprs: rule(meta(key, ifname(uplink)), exprs{&expr.Counter{}}, accept())})
			}
		}
	}
	return d.nft.Flush()
}

// unadmit takes the rules out again.
func (d *Driver) unadmit() error {
	chains, err := d.dockerChains()
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range chains {
		rules, err := d.nft.GetRules(c.Table, c)
		errs = append(errs, err)
		for _, r := range rules {
			for _, key := range []expr.MetaKey{expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME} {
				if hasAdmission([]*nftables.Rule{r}, key, linkName(d.o.Inst, 0)) {
					errs = append(errs, d.nft.DelRule(r))
				}
			}
		}
	}
	return errors.Join(append(errs, d.nft.Flush())...)
}

func (d *Driver) dockerChains() ([]*nftables.Chain, error) {
	all, err := d.nft.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list the host's chains: %w", err)
	}
	var found []*nftables.Chain
	for _, c := range all {
		ip := c.Table.Family == nftables.TableFamilyIPv4 || c.Table.Family == nftables.TableFamilyIPv6
		if ip && c.Table.Name == "filter" && c.Name == dockerChain {
			found = append(found, c)
		}
	}
	return found, nil
}

// hasAdmission tells whether one of the rules accepts what comes from the
// uplink, or what goes to it.
func hasAdmission(rules []*nftables.Rule, key expr.MetaKey, uplink string) bool {
	for _, r := range rules {
		var keyed, named, accepts bool
		for _, e := range r.Exprs {
			switch e := e.(type) {
			case *expr.Meta:
				keyed = keyed || e.Key == key
			case *expr.Cmp:
				// The whole name, or its beginning ("cv*", "cv+").
				name := bytes.TrimRight(e.Data, "\x00")
				named = named || len(name) >= 2 && bytes.HasPrefix([]byte(uplink), name)
			case *expr.Verdict:
				accepts = accepts || e.Kind == expr.VerdictAccept
			}
		}
		if keyed && named && accepts {
			return true
		}
	}
	return false
}

// blocker is a chain of another's that drops what the host forwards.
type blocker struct{ family, table, chain string }

func (b blocker) String() string {
	return fmt.Sprintf("table %s %s, chain %s,", b.family, b.table, b.chain)
}

// place is how nft(8) is told of the chain.
func (b blocker) place() string { return b.family + " " + b.table + " " + b.chain }

// blockers finds the chains of others that drop what the host forwards, unless
// Docker's lets the uplink through or they themselves do.
func (d *Driver) blockers() ([]blocker, error) {
	all, err := d.nft.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list the host's chains: %w", err)
	}
	open := map[nftables.TableFamily]bool{}
	docker, err := d.dockerChains()
	if err != nil {
		return nil, err
	}
	for _, c := range docker {
		open[c.Table.Family] = true
	}
	var found []blocker
	for _, c := range all {
		forwards := c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward
		if !forwards || c.Policy == nil || *c.Policy != nftables.ChainPolicyDrop || c.Table.Name == tableName(d.o.Inst) {
			continue
		}
		if f := c.Table.Family; (f == nftables.TableFamilyIPv4 || f == nftables.TableFamilyIPv6) && c.Table.Name == "filter" && open[f] {
			continue
		}
		rules, err := d.nft.GetRules(c.Table, c)
		if err != nil {
			return nil, fmt.Errorf("read a chain that forwards: %w", err)
		}
		if !letsThrough(rules, linkName(d.o.Inst, 0)) {
			found = append(found, blocker{familyName(c.Table.Family), c.Table.Name, c.Name})
		}
	}
	return found, nil
}

// letsThrough tells whether rules accept what comes from the uplink and goes to it.
func letsThrough(rules []*nftables.Rule, uplink string) bool {
	return hasAdmission(rules, expr.MetaKeyIIFNAME, uplink) && hasAdmission(rules, expr.MetaKeyOIFNAME, uplink)
}

func familyName(f nftables.TableFamily) string {
	if name, ok := map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet"}[f]; ok {
		return name
	}
	return fmt.Sprint(byte(f))
}
