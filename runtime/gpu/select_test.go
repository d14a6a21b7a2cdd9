package gpu

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// cards are n cards of NVIDIA's: "GPU-a" and so on.
func cards(n int) []Device {
	var list []Device
	for i := range n {
		id, uuid := fmt.Sprintf("nvidia.com/gpu=%d", i), "GPU-"+string(rune('a'+i))
		list = append(list, Device{ID: id, Names: []string{id, "nvidia.com/gpu=" + uuid}, Index: i, UUID: uuid, Model: "H200", keys: []string{fmt.Sprintf("c195:%d", i)}})
	}
	return list
}

// part is the part of a divided card.
func part(of Device, index int, caps ...string) Device {
	id := fmt.Sprintf("nvidia.com/gpu=%d:%d", of.Index, index)
	return Device{ID: id, Names: []string{id}, Index: index, UUID: "MIG-" + fmt.Sprint(index), keys: append([]string{of.keys[0]}, caps...), parts: caps}
}

func hold(who string, d Device, shared bool) Hold { return Hold{Holder: who, Claim: d.Claim(shared)} }

func TestSelect(t *testing.T) {
	four := cards(4)
	whole := four[0]
	parts := []Device{part(whole, 0, "c241:3", "c241:4"), part(whole, 1, "c241:3", "c241:5"), part(whole, 2, "c241:6", "c241:7")}
	both := append([]Device{four[0]}, Device{ID: "amd.com/gpu=0", Names: []string{"amd.com/gpu=0"}, Index: 1, keys: []string{"c226:128"}})
	everything := Device{ID: "x.example/gpu=pair", Names: []string{"x.example/gpu=pair"}, Index: 2, keys: []string{"c195:0", "c195:1"}}
	for name, c := range map[string]struct {
		devices []Device
		r       Request
		holds   []Hold
		want    string
		err     string
	}{
		"none asked":                           {devices: four, want: ""},
		"one":                                  {devices: four, r: Request{Count: 1}, want: "0"},
		"lowest free":                          {devices: four, r: Request{Count: 2}, holds: []Hold{hold("x", four[0], false), hold("y", four[2], false)}, want: "1 3"},
		"those before":                         {devices: four, r: Request{Count: 2, Last: []string{"GPU-d", "gone"}}, want: "3 0"},
		"before, by name":                      {devices: four, r: Request{Count: 1, Last: []string{"nvidia.com/gpu=2"}}, want: "2"},
		"before, now held":                     {devices: four, r: Request{Count: 1, Last: []string{"GPU-d"}}, holds: []Hold{hold("x", four[3], false)}, want: "0"},
		"by index":                             {devices: four, r: Request{IDs: []string{"3", "1"}}, want: "3 1"},
		"by UUID":                              {devices: four, r: Request{IDs: []string{"GPU-c"}}, want: "2"},
		"by CDI name":                          {devices: four, r: Request{IDs: []string{"nvidia.com/gpu=GPU-b"}}, want: "1"},
		"a number is a place, not a bare name": {devices: both, r: Request{IDs: []string{"1"}}, want: "1"},

		"no GPU":                {r: Request{Count: 1}, err: "this machine has no GPU"},
		"no such place":         {devices: four, r: Request{IDs: []string{"4"}}, err: "there is no GPU 4: this machine has GPUs 0 to 3"},
		"no such place of one":  {devices: four[:1], r: Request{IDs: []string{"1"}}, err: "this machine has GPU 0 only"},
		"negative":              {devices: four, r: Request{IDs: []string{"-1"}}, err: "there is no GPU -1"},
		"no such name":          {devices: four, r: Request{IDs: []string{"GPU-z"}}, err: `there is no GPU "GPU-z"`},
		"too many":              {devices: four, r: Request{Count: 5}, err: "5 GPUs are asked for: this machine has GPUs 0 to 3"},
		"twice under two names": {devices: four, r: Request{IDs: []string{"0", "GPU-a"}}, err: `"0" and "GPU-a" are the same GPU`},
		"held":                  {devices: four, r: Request{IDs: []string{"GPU-a"}}, holds: []Hold{hold("x", four[0], false)}, err: "held 0 by x"},
		"held shared":           {devices: four, r: Request{IDs: []string{"0"}}, holds: []Hold{hold("x", four[0], true)}, err: "held 0 by x shared"},
		"shared, but held":      {devices: four, r: Request{IDs: []string{"0"}, Shared: true}, holds: []Hold{hold("x", four[0], false)}, err: "held 0 by x"},
		"not enough free":       {devices: four[:2], r: Request{Count: 2}, holds: []Hold{hold("x", four[1], false)}, err: "held 1 by x"},
		"both share":            {devices: four, r: Request{IDs: []string{"0"}, Shared: true}, holds: []Hold{hold("x", four[0], true)}, want: "0"},
		"free before shared":    {devices: four[:2], r: Request{Count: 1, Shared: true}, holds: []Hold{hold("x", four[0], true)}, want: "1"},
		"the least shared":      {devices: four[:2], r: Request{Count: 1, Shared: true}, holds: []Hold{hold("x", four[0], true), hold("y", four[0], true), hold("z", four[1], true)}, want: "1"},

		// Parts of a card are several, though they have its node in common.
		"parts":                 {devices: parts, r: Request{Count: 3}, want: "0 1 2"},
		"another part":          {devices: parts, r: Request{Count: 1}, holds: []Hold{hold("x", parts[0], false)}, want: "1"},
		"the same part":         {devices: parts, r: Request{IDs: []string{"nvidia.com/gpu=0:0"}}, holds: []Hold{hold("x", parts[0], false)}, err: "held 0 by x"},
		"a part of a held card": {devices: parts, r: Request{Count: 1}, holds: []Hold{hold("x", whole, false)}, err: "held 0 by x"},
		"a card of held parts":  {devices: []Device{whole}, r: Request{Count: 1}, holds: []Hold{hold("x", parts[1], false)}, err: "held 0 by x"},
		// Nor is a card given twice in a device of several.
		"one of a held pair": {devices: append(four[:2:2], everything), r: Request{IDs: []string{"1"}}, holds: []Hold{hold("x", everything, false)}, err: "held 1 by x"},
		"a pair and one":     {devices: append(four[:2:2], everything), r: Request{Count: 3}, err: "3 GPUs are asked for"},
		// A card that changed its name meanwhile is the same.
		"renamed": {devices: []Device{{ID: "new.example/gpu=0", Names: []string{"new.example/gpu=0"}, keys: []string{"c195:0"}}}, r: Request{Count: 1}, holds: []Hold{hold("x", four[0], false)}, err: "held 0 by x"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Select(c.devices, c.r, c.holds)
			var picked []string
			for _, d := range got {
				picked = append(picked, fmt.Sprint(d.Index))
			}
			equal(t, c.want, strings.Join(picked, " "))
			if c.err == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil {
				t.Fatalf("given %v, want the error %q", picked, c.err)
			}
			text := err.Error()
			var held *HeldError
			if errors.As(err, &held) {
				h := held.Held[0]
				text = fmt.Sprintf("held %d by %s", h.Device.Index, strings.Join(h.Holders, " "))
				if h.Shared {
					text += " shared"
				}
			}
			contains(t, text, c.err)
		})
	}
}
