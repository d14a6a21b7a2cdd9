package screen

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// pieces are what streams are made of; put together at random they meet more
// of the grammar than random bytes do.
func pieces() []string {
	return []string{
		"\x1b", "[", "]", "P", "_", "\\", "\x1b\\", "\x07", "\x18", "\x1a", "\n", "\x00", "\x7f", "0", "1", "2", "5", "52", "21", "20", "50", "8", ";", ":", "?", ">", "<", "=",
		"t", "m", "h", "l", "u", "q", "r", "i", "y", "c", "$", "+", "*", " ", "%", "@", "G", "(", "B", "\xc2", "\x9b", "\x9c", "\x9d", "\x90", "\x9f", "\xe9", "\xa0", "\xf0", "\xff", "ü", "雛",
		"\x1b[", "\x1b]", "\x1bP", "\xc2\x9b", "\xc2\x9d", "\xc2\x9c", "\x1b]52;c;?\x07", "\x1b[21t", "\x1b[?1049h", "\x1b[?1049l", "\x1b[31m", "\x1b]8;;x\x1b\\", "\x1bP$q", "\x1bP+q",
	}
}

func TestReplayRandom(t *testing.T) {
	all := pieces()
	r := rand.New(rand.NewPCG(1, 2))
	for range 30_000 {
		var in []byte
		for range 1 + r.IntN(12) {
			in = append(in, all[r.IntN(len(all))]...)
		}
		var once, cut, again Replay
		want := once.Append(nil, in)
		var got []byte
		for i := range in {
			got = cut.Append(got, in[i:i+1])
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%q\nwhole %q\ncut   %q", in, want, got)
		}
		if twice := again.Append(nil, want); !bytes.Equal(twice, want[:len(want)-again.n]) {
			t.Fatalf("%q\nonce  %q\ntwice %q", in, want, twice)
		}
	}
}

func TestTrackerRandom(t *testing.T) {
	all := append(pieces(), "\x1b[>", "\x1b[<", "\x1b[=", "\x1b[?", "1000", "1002", "1006", "2004", "47", "38;5;9", "48:2::1:2:3", "4:3", "\x1b(0", "\x0e", "\x1b[2 q", "\x1b[!p", "\x1bc", "\x1b[>3u", "\x1b[<u", "\x1b[5;9r")
	r := rand.New(rand.NewPCG(3, 4))
	for range 15_000 {
		var in []byte
		for range 1 + r.IntN(16) {
			in = append(in, all[r.IntN(len(all))]...)
		}
		one := track(string(in))
		two := track(string(one.AppendRestore(nil, nil)))
		if got, want := bare(two), bare(one); got != want {
			t.Fatalf("%q\ngot  %+v\nwant %+v", in, got, want)
		}
		one.WriteAll(one.AppendReset(nil))
		if got := bare(one); got != (Tracker{}) {
			t.Fatalf("%q reset: %+v", in, got)
		}
	}
}
