package store

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func openJ(t testing.TB, dir, boot string, limits journalLimits) *Journal {
	t.Helper()
	j := must[*Journal](t)(openJournal(dir, boot, limits))
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func appendN(t testing.TB, j *Journal, n int) {
	t.Helper()
	for range n {
		last := j.Last()
		r := must[Record](t)(j.Append(json.RawMessage(fmt.Sprintf(`{"n": %d}`, last.Seq+1))))
		if r.Seq != last.Seq+1 || r.Epoch != last.Epoch || j.Last() != r.Cursor {
			t.Fatalf("after %+v came %+v", last, r.Cursor)
		}
	}
}

// expectSince wants the records after from to last, whole and in order.
func expectSince(t testing.TB, j *Journal, from, last uint64) {
	t.Helper()
	got, known := j.Since(Cursor{j.Last().Epoch, from}, 1<<20)
	if !known || uint64(len(got)) != last-from {
		t.Fatalf("since %d: %d records, %v; want %d", from, len(got), known, last-from)
	}
	for i, r := range got {
		var data struct{ N uint64 }
		if err := json.Unmarshal(r.Data, &data); err != nil || data.N != r.Seq || r.Seq != from+uint64(i)+1 || r.Epoch != j.Last().Epoch || time.Since(r.Time) > time.Hour {
			t.Fatalf("since %d, the %dth is %+v %s (%v)", from, i, r, r.Data, err)
		}
	}
}

func TestJournal(t *testing.T) {
	dir := private(t)
	j := must[*Journal](t)(OpenJournal(dir, "boot1"))
	first := j.Last()
	if first.Epoch == "" || first.Seq != 0 {
		t.Errorf("a new journal is at %+v", first)
	}
	expectSince(t, j, 0, 0)
	appendN(t, j, 10)
	for from := range uint64(11) {
		expectSince(t, j, from, 10)
	}
	for name, c := range map[string]Cursor{"to come": {first.Epoch, 11}, "another epoch": {"x", 3}, "no epoch": {"", 0}} {
		if _, known := j.Since(c, 100); known {
			t.Errorf("%s is known", name)
		}
	}
	if _, known := j.Since(Cursor{first.Epoch, 2}, 7); known {
		t.Error("eight records in a limit of seven")
	}
	if got, known := j.Since(Cursor{first.Epoch, 3}, 7); !known || len(got) != 7 {
		t.Error("seven records in a limit of seven")
	}
	ok(t, j.Close())

	j = must[*Journal](t)(OpenJournal(dir, "boot1")) // the next daemon
	if j.Last() != (Cursor{first.Epoch, 10}) {
		t.Errorf("reopened at %+v", j.Last())
	}
	appendN(t, j, 5)
	expectSince(t, j, 3, 15)
	ok(t, j.Close())

	j = must[*Journal](t)(OpenJournal(dir, "boot2"))
	if j.Last().Epoch == first.Epoch || j.Last().Seq != 0 {
		t.Errorf("after a boot it is at %+v", j.Last())
	}
	if _, known := j.Since(Cursor{first.Epoch, 15}, 10); known {
		t.Error("an epoch of another boot is known")
	}
	appendN(t, j, 2)
	expectSince(t, j, 0, 2)
	ok(t, j.Close())
}

// TestJournalCutAnywhere: whole records survive whatever is cut off the end,
// and the numbers go on after them.
func TestJournalCutAnywhere(t *testing.T) {
	dir := private(t)
	j := openJ(t, dir, "boot", defaultLimits())
	appendN(t, j, 6)
	ok(t, j.Close())
	whole := must[[]byte](t)(os.ReadFile(filepath.Join(dir, journalFile)))
	for n := range len(whole) + 1 {
		cut := filepath.Join(dir, fmt.Sprint("cut", n))
		ok(t, os.Mkdir(cut, 0o700))
		ok(t, os.WriteFile(filepath.Join(cut, journalFile), whole[:n], 0o600))
		again := must[*Journal](t)(OpenJournal(cut, "boot"))
		lines := bytes.Count(whole[:n], []byte("\n"))
		switch {
		case lines == 0 && again.Last().Epoch == j.Last().Epoch:
			t.Fatalf("cut at %d: an epoch out of nothing", n)
		case lines > 0 && again.Last() != (Cursor{j.Last().Epoch, uint64(lines - 1)}):
			t.Fatalf("cut at %d: at %+v with %d lines", n, again.Last(), lines)
		}
		appendN(t, again, 3)
		expectSince(t, again, 0, again.Last().Seq)
		last := again.Last()
		ok(t, again.Close())
		if again = must[*Journal](t)(OpenJournal(cut, "boot")); again.Last() != last {
			t.Fatalf("cut at %d: reopened at %+v, want %+v", n, again.Last(), last)
		}
		expectSince(t, again, 0, last.Seq)
		ok(t, again.Close())
	}
}

// TestJournalDamaged: a byte changed anywhere either does not matter to the
// numbers, or makes a new epoch; wrong records are never given out.
func TestJournalDamaged(t *testing.T) {
	dir := private(t)
	j := openJ(t, dir, "boot", defaultLimits())
	appendN(t, j, 4)
	ok(t, j.Close())
	whole := must[[]byte](t)(os.ReadFile(filepath.Join(dir, journalFile)))
	for n := range whole {
		for _, b := range []byte{0, '\n'} {
			damaged := bytes.Clone(whole)
			damaged[n] = b
			ok(t, os.WriteFile(filepath.Join(dir, journalFile), damaged, 0o600))
			again := must[*Journal](t)(OpenJournal(dir, "boot"))
			recs, known := again.Since(Cursor{j.Last().Epoch, 0}, 100)
			for i, r := range recs {
				if r.Seq != uint64(i+1) {
					t.Errorf("byte %d = %q: record %d has the number %d", n, b, i, r.Seq)
				}
			}
			if known && again.Last().Seq < 3 {
				t.Errorf("byte %d = %q: only %d records, and they count as all", n, b, again.Last().Seq)
			}
			ok(t, again.Close())
		}
	}
}

func TestJournalRotates(t *testing.T) {
	dir := private(t)
	limits := journalLimits{file: 2000, record: 500, records: 5, bytes: 1 << 20}
	j := openJ(t, dir, "boot", limits)
	epoch := j.Last().Epoch
	for n := range uint64(200) {
		appendN(t, j, 1)
		for _, name := range []string{journalFile, oldJournalFile} {
			if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Size() > limits.file {
				t.Fatalf("%s has %d bytes", name, st.Size())
			}
		}
		// Twenty fit into one file: beyond memory's five it reads.
		expectSince(t, j, n+1-min(n+1, 20), n+1)
	}
	if _, known := j.Since(Cursor{epoch, 1}, 1000); known {
		t.Error("a record of two files ago is known")
	}
	ok(t, j.Close())
	j = openJ(t, dir, "boot", limits)
	if j.Last() != (Cursor{epoch, 200}) {
		t.Errorf("reopened at %+v", j.Last())
	}
	expectSince(t, j, 180, 200)
	entries := must[[]os.DirEntry](t)(os.ReadDir(dir))
	if len(entries) != 2 {
		t.Errorf("files: %v", entries)
	}
}

// TestJournalKilledWhileRotating has every state of the directory that a kill
// in the middle of a rotation leaves.
func TestJournalKilledWhileRotating(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"the new file not in place": func(dir string) error {
			return os.Rename(filepath.Join(dir, journalFile), filepath.Join(dir, "."+journalFile+".tmp"))
		},
		"a torn new file": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "."+journalFile+".tmp"), []byte(`{"journal":1,"ep`), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := private(t)
			limits := journalLimits{file: 1000, record: 500, records: 5, bytes: 1 << 20}
			j := openJ(t, dir, "boot", limits)
			appendN(t, j, 30)
			ok(t, j.Close())
			ok(t, damage(dir))
			again := openJ(t, dir, "boot", limits)
			if now := again.Last(); now.Epoch == j.Last().Epoch && now.Seq != 30 {
				t.Errorf("the same epoch at %d", now.Seq)
			}
			appendN(t, again, 30)
			expectSince(t, again, again.Last().Seq-5, again.Last().Seq)
		})
	}
}

func TestJournalRefusesWhatIsNoJSON(t *testing.T) {
	dir := private(t)
	j := openJ(t, dir, "boot", journalLimits{file: 1 << 20, record: 300, records: 100, bytes: 1 << 20})
	for _, data := range []string{"{", "", "{}x", `"` + strings.Repeat("x", 400) + `"`} {
		r, err := j.Append(json.RawMessage(data))
		if err == nil || r.Seq != j.Last().Seq || string(r.Data) != "null" {
			t.Errorf("%.20q: %+v, %v", data, r, err)
		}
	}
	// null is nothing, as encoding/json has it for no message at all.
	r := must[Record](t)(j.Append(nil))
	got, known := openJ(t, dir, "boot", defaultLimits()).Since(Cursor{r.Epoch, 0}, 10)
	if !known || len(got) != 5 {
		t.Errorf("%d records, %v", len(got), known)
	}
	// A line's end inside is no line's end in the file.
	must[Record](t)(j.Append(json.RawMessage("{\n\"a\":\n1}")))
	got, known = openJ(t, dir, "boot", defaultLimits()).Since(r.Cursor, 10)
	if !known || len(got) != 1 || string(got[0].Data) != `{"a":1}` {
		t.Errorf("%+v, %v", got, known)
	}
}

func TestJournalOnFullDisk(t *testing.T) {
	dir := smallDisk(t, 128<<10)
	j := openJ(t, dir, "boot", defaultLimits())
	appendN(t, j, 5)
	epoch := j.Last().Epoch
	free := fillDisk(t, dir)
	var err error
	wrote := j.Last().Seq
	for err == nil {
		var r Record
		r, err = j.Append(json.RawMessage(fmt.Sprintf(`{"n":%d,"pad":"%0300d"}`, j.Last().Seq+1, 0)))
		if r.Seq != wrote+1 {
			t.Fatalf("number %d after %d", r.Seq, wrote)
		}
		wrote = r.Seq
	}
	if !errors.Is(err, ErrNoSpace) {
		t.Fatalf("on a full disk: %v", err)
	}
	// All of it is known to this process, and more can come.
	expectSince(t, j, 0, wrote)
	if _, err := j.Append(json.RawMessage(fmt.Sprintf(`{"n":%d}`, wrote+1))); !errors.Is(err, ErrNoSpace) {
		t.Errorf("the next one: %v", err)
	}
	expectSince(t, j, 0, wrote+1)
	// The next daemon must not give a number out twice: it lacks records.
	other := must[*Journal](t)(OpenJournal(dir, "boot"))
	if other.Last().Epoch == epoch {
		t.Errorf("the next daemon goes on at %+v", other.Last())
	}
	expectSince(t, other, 0, 0)
	ok(t, other.Close())

	free()
	appendN(t, j, 3)
	expectSince(t, j, 0, wrote+4)
	ok(t, j.Close())
	j = openJ(t, dir, "boot", defaultLimits())
	if j.Last() != (Cursor{epoch, wrote + 4}) {
		t.Errorf("with space again it goes on at %+v", j.Last())
	}
	expectSince(t, j, wrote+1, wrote+4)
}

// TestJournalKilled kills the writer at random moments: what it had told is there.
func TestJournalKilled(t *testing.T) {
	dir := private(t)
	var told Cursor
	for round := range 15 {
		cmd := helper(t, "append", dir)
		out, err := cmd.StdoutPipe()
		ok(t, err)
		ok(t, cmd.Start())
		scan := bufio.NewScanner(out)
		for n := 0; scan.Scan(); n++ {
			var c Cursor
			if _, err := fmt.Sscanf(scan.Text(), "%s %d", &c.Epoch, &c.Seq); err != nil {
				break // torn by the kill
			}
			if told.Epoch != "" && c != (Cursor{told.Epoch, told.Seq + 1}) && n > 0 {
				t.Fatalf("after %+v came %+v", told, c)
			}
			if told.Epoch != "" && (c.Epoch != told.Epoch || c.Seq <= told.Seq) {
				t.Fatalf("round %d: after %+v came %+v", round, told, c)
			}
			told = c
			if n == 100+37*round {
				ok(t, cmd.Process.Kill())
			}
		}
		_ = cmd.Wait()
		j := must[*Journal](t)(OpenJournal(dir, "boot"))
		if last := j.Last(); last.Epoch != told.Epoch || last.Seq < told.Seq {
			t.Fatalf("round %d: told %+v, found %+v", round, told, last)
		}
		if _, known := j.Since(Cursor{told.Epoch, told.Seq - 50}, 1<<20); !known {
			t.Fatalf("round %d: the last records are not known", round)
		}
		ok(t, j.Close())
	}
}

func TestJournalByMany(t *testing.T) {
	dir := private(t)
	j := openJ(t, dir, "boot", journalLimits{file: 20000, record: 1000, records: 100, bytes: 1 << 20})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if _, err := j.Append(json.RawMessage(`{}`)); err != nil {
					t.Error(err)
				}
				at := j.Last()
				at.Seq -= min(at.Seq, 10)
				// The others may have written on meanwhile; the last hundred
				// are known in any case.
				if _, known := j.Since(at, 1000); !known && j.Last().Seq-at.Seq <= 100 {
					t.Error("the newest are not known")
				}
			}
		})
	}
	all.Wait()
	got, known := j.Since(Cursor{j.Last().Epoch, 700}, 100)
	if !known || len(got) != 100 || got[99].Seq != 800 {
		t.Errorf("%d records, %v", len(got), known)
	}
}

func TestJournalMemoryIsBounded(t *testing.T) {
	j := openJ(t, private(t), "boot", journalLimits{file: 1 << 20, record: 1000, records: 1000, bytes: 500})
	for range 100 {
		must[Record](t)(j.Append(json.RawMessage(fmt.Sprintf(`"%0100d"`, 1))))
	}
	if len(j.recent) > 5 || j.bytes > 500 {
		t.Errorf("%d records, %d bytes in memory", len(j.recent), j.bytes)
	}
	if got, known := j.Since(Cursor{j.Last().Epoch, 0}, 100); !known || len(got) != 100 {
		t.Errorf("from the file: %d, %v", len(got), known)
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"journal":1,"epoch":"e","boot":"b","first":1}`+"\n"+`{"seq":1,"time":"2026-01-01T00:00:00Z","data":{}}`+"\n"), uint(70))
	f.Add([]byte(`{"journal":1,"epoch":"e","boot":"b","first":18446744073709551615}`+"\n"+`{"seq":18446744073709551615}`+"\n{}\n"), uint(3))
	f.Add([]byte("\n\n\n"), uint(0))
	f.Fuzz(func(t *testing.T, data []byte, cut uint) {
		c, err := parseJournal(data)
		if err != nil {
			return
		}
		// What is whole stays, whatever is cut off behind it.
		n := int(cut % uint(len(data)+1))
		part, perr := parseJournal(data[:n])
		if perr != nil && n >= bytes.IndexByte(data, '\n')+1 {
			t.Fatalf("cut at %d: %v", n, perr)
		}
		if perr == nil {
			want := max(0, bytes.Count(data[:n], []byte("\n"))-1)
			if len(part.records) != want {
				t.Fatalf("cut at %d: %d records, want %d", n, len(part.records), want)
			}
			if d := cmp.Diff(c.records[:want], part.records, cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })); d != "" && want > 0 {
				t.Error(d)
			}
			if part.good > int64(n) || part.torn != (part.good < int64(n)) {
				t.Errorf("cut at %d: good %d, torn %v", n, part.good, part.torn)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	j := openJ(b, private(b), "boot", defaultLimits())
	data := json.RawMessage(fmt.Sprintf(`{"pad":"%0600d"}`, 1))
	for b.Loop() {
		if _, err := j.Append(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenFullJournal(b *testing.B) {
	dir := private(b)
	j := openJ(b, dir, "boot", defaultLimits())
	data := json.RawMessage(fmt.Sprintf(`{"pad":"%0600d"}`, 1))
	for j.size+1000 < j.limits.file {
		if _, err := j.Append(data); err != nil {
			b.Fatal(err)
		}
	}
	ok(b, j.Close())
	for b.Loop() {
		ok(b, must[*Journal](b)(OpenJournal(dir, "boot")).Close())
	}
}
