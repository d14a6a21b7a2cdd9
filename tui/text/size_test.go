package text

import (
	"math"
	"testing"

	"cove/tui/internal/require"
	"pgregory.net/rapid"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		-1: "0", 0: "0", 999: "999", 1000: "1K", 1024: "1K", 1536: "1.5K", 10 << 10: "10K", 1023 << 10: "1M", 999 << 10: "999K",
		1 << 20: "1M", 312 << 20: "312M", 1288490189: "1.2G", 48 << 30: "48G", 64 << 30: "64G", 1 << 40: "1T", math.MaxInt64: "8E",
	} {
		require.Equal(t, want, Bytes(n), "%d", n)
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "n")
		require.AtMost(t, len(Bytes(n)), 5, "%d", n)
	})
}

func TestPercent(t *testing.T) {
	for share, want := range map[float64]string{
		-1: "0%", 0: "0%", 0.0004: "0%", 0.001: "<1%", 0.0099: "<1%", 0.01: "1%", 1.824: "182%", 64: "6400%", 1000: "100k%",
	} {
		require.Equal(t, want, Percent(share), "%v", share)
	}
}
