package sandbox

import (
	"fmt"
	"math/rand/v2"
)

// freeName makes up a name that is not taken. The caller holds m.mu.
func (m *Manager) freeName() string {
	first := []string{
		"amber", "bold", "brave", "bright", "brisk", "calm", "clear", "clever", "coral", "crisp", "deep", "eager",
		"early", "fair", "fleet", "fresh", "gentle", "golden", "grand", "happy", "hardy", "hazel", "jolly", "keen",
		"kind", "light", "lively", "lucid", "lunar", "mellow", "merry", "misty", "noble", "olive", "pale", "patient",
		"plain", "proud", "quick", "quiet", "rapid", "ready", "royal", "sandy", "sharp", "silent", "silver", "smooth",
		"snug", "solar", "steady", "still", "sunny", "swift", "tidal", "tidy", "vivid", "warm", "wild", "windy", "wise",
	}
	second := []string{
		"anchor", "atoll", "bay", "beacon", "breeze", "brook", "buoy", "cape", "channel", "cliff", "coast", "crane",
		"creek", "current", "delta", "dock", "dune", "eddy", "ferry", "fjord", "gull", "harbor", "haven", "heron",
		"inlet", "island", "jetty", "kelp", "lagoon", "lake", "lark", "marsh", "mast", "mole", "oar", "otter", "pearl",
		"pier", "pilot", "pond", "quay", "reef", "ridge", "river", "sail", "seal", "shell", "shoal", "shore", "sound",
		"spray", "strait", "surf", "tern", "tide", "trawler", "wave", "wharf",
	}
	for suffix := 0; ; suffix++ {
		name := first[rand.IntN(len(first))] + "-" + second[rand.IntN(len(second))]
		if suffix > 3 {
			name = fmt.Sprintf("%s-%d", name, suffix)
		}
		if _, taken := m.names[name]; !taken {
			return name
		}
	}
}
