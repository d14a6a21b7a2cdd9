package config

import "fmt"

// Unenforced lists the keys that have a valid value which this build does not
// put into effect, nil when all are in effect. A sandbox is never made from a
// Spec that has any: a limit or rule that is silently ignored is worse than an
// error. The Spec has passed [Spec.Validate].
func Unenforced(s Spec) []Problem {
	var problems []Problem
	refuse := func(set bool, key, value, hint string) {
		if set {
			problems = append(problems, Problem{
				Key:     key,
				Message: fmt.Sprintf("this build cannot enforce %s", value),
				Hint:    hint,
			})
		}
	}
	const remove = "remove it"
	refuse(s.Runtime != "" && s.Runtime != "runc", "runtime", quote(s.Runtime), `only "runc" works`)

	n := s.Network
	for _, list := range []struct {
		key     string
		entries int
	}{
		{"network.allow", len(n.Allow)}, {"network.deny", len(n.Deny)}, {"network.domains", len(n.Domains)},
		{"network.host_ports", len(n.HostPorts)},
	} {
		refuse(list.entries > 0, list.key, entries(list.entries), remove)
	}
	refuse(n.Ask, "network.ask", "true", "set it to false")

	refuse(len(s.Ports) > 0, "ports", entries(len(s.Ports)), remove)

	return problems
}

func entries(n int) string {
	if n == 1 {
		return "the entry in it"
	}
	return fmt.Sprintf("the %d entries in it", n)
}
