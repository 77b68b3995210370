package pool

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ident"
)

var (
	epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	any4  = netip.IPv4Unspecified()
	any6  = netip.IPv6Unspecified()
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func id(s string) ident.ID {
	v, err := ident.Parse(s)
	if err != nil {
		panic(err)
	}
	return v
}

func span(name, first, last string) Range { return Range{name, addr(first), addr(last)} }

// book is a Book and the time.
type book struct {
	*Book
	t   *testing.T
	now time.Time
}

func newBook(t *testing.T, ranges ...Range) *book { return &book{New(ranges), t, epoch} }

// want lends an address, which must be this one; "" is none.
func (b *book) want(why, owner string, wish netip.Addr, want string, pools ...string) {
	b.t.Helper()
	b.now = b.now.Add(time.Second)
	if pools == nil {
		for _, r := range b.Ranges() {
			pools = append(pools, r.Name)
		}
	}
	_, a, ok := b.Lend(b.now, pools, id(owner), wish)
	got := ""
	if ok {
		got = a.String()
	}
	if got != want {
		b.t.Errorf("%s: %s gets %q, want %q", why, owner, got, want)
	}
}

func (b *book) release(name, a string) {
	b.now = b.now.Add(time.Second)
	b.Return(b.now, name, addr(a))
}

func TestLend(t *testing.T) {
	b := newBook(t, span("p", "10.0.0.1", "10.0.0.3"), span("q", "10.1.0.1", "10.1.0.1"), span("s", "2001:db8::1", "2001:db8::ffff"))
	b.want("the first one", "@a", any4, "10.0.0.1")
	b.want("another identity", "@b", any4, "10.0.0.2")
	b.want("an unknown pool", "@c", any4, "", "r")
	b.want("the second one of an identity that is still there", "@a", any4, "10.0.0.3")
	b.want("the next pool", "@c", any4, "10.1.0.1")
	b.want("the other family", "@a", any6, "2001:db8::1")
	b.want("nothing is left", "@d", any4, "")
	b.want("the same address again, before the old IKE SA is closed", "@B", addr("10.0.0.2"), "10.0.0.2")
	b.release("p", "10.0.0.2")
	b.want("another one uses it", "@d", addr("10.0.0.2"), "")
	b.release("p", "10.0.0.2")
	b.release("q", "10.1.0.1")
	b.want("the owner has come back", "@b", any4, "10.0.0.2")
	b.release("p", "10.0.0.2")
	b.want("who was away the longest loses it", "@d", any4, "10.1.0.1")
	b.want("and gets what is left", "@c", any4, "10.0.0.2")
	b.want("nothing is left again", "@b", any4, "")
	b.release("p", "10.0.0.9")
	b.release("x", "10.0.0.1")
	if n := len(b.Leases()); n != 5 {
		t.Errorf("%d leases, want 5", n)
	}
}

// TestWish has peers ask for an address, or for an interface identifier (RFC 7296 3.15.1, 3.15.3).
func TestWish(t *testing.T) {
	b := newBook(t, span("p", "10.0.0.1", "10.0.0.254"), span("s", "2001:db8::1", "2001:db8::ffff"))
	b.want("a wish that nobody has", "@a", addr("10.0.0.77"), "10.0.0.77")
	b.want("a wish that somebody else has", "@b", addr("10.0.0.77"), "10.0.0.1")
	b.want("a wish outside of the pool", "@c", addr("10.9.9.9"), "10.0.0.2")
	b.release("p", "10.0.0.77")
	b.want("nobody else gets it while others are left", "@d", addr("10.0.0.77"), "10.0.0.3")
	b.want("what it had before, not what it would like", "@a", addr("10.0.0.99"), "10.0.0.77")
	b.want("the identifier, with our prefix", "@a", addr("2001:db8:1::42"), "2001:db8::42")
	b.want("an identifier that is taken", "@b", addr("2001:db8:1::42"), "2001:db8::1")
	b.want("an identifier that is not in the pool", "@c", addr("fd00::1:0:0:0"), "2001:db8::2")
}

// TestHugePool lends of all of IPv6, and of a pool that ends where IPv6 ends.
func TestHugePool(t *testing.T) {
	b := newBook(t, span("all", "::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))
	b.want("the first one", "@a", any6, "::1")
	b.want("the last one", "@b", addr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
	for _, c := range []struct {
		r    Range
		want uint64
	}{
		{span("", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), 1<<64 - 1},
		{span("", "::", "::ffff:ffff:ffff:ffff"), 1<<64 - 1},
		{span("", "::1", "::ffff:ffff:ffff:ffff"), 1<<64 - 1},
		{span("", "::2", "::ffff:ffff:ffff:ffff"), 1<<64 - 2},
		{span("", "::ffff:ffff:ffff:ffff", "::1:0:0:0:1"), 3},
		{span("", "0.0.0.0", "255.255.255.255"), 1 << 32},
		{span("", "10.0.0.1", "10.0.0.1"), 1},
	} {
		if got := c.r.Size(); got != c.want {
			t.Errorf("%v to %v: %d, want %d", c.r.First, c.r.Last, got, c.want)
		}
	}
	last := newBook(t, span("p", "255.255.255.254", "255.255.255.255"))
	last.want("", "@a", any4, "255.255.255.254")
	last.want("", "@b", any4, "255.255.255.255")
	last.want("", "@c", any4, "")
}

// TestMaxLeases bounds what identities without number leave behind.
//
// Cases: BUG-28.
func TestMaxLeases(t *testing.T) {
	b := newBook(t, span("p", "2001:db8::1", "2001:db8::ffff:ffff"))
	name := func(i int) string { return fmt.Sprintf("@client-%d", i) }
	for i := range MaxLeases + 10 {
		from, a, ok := b.Lend(b.now, []string{"p"}, id(name(i)), any6)
		if !ok {
			t.Fatalf("client %d gets nothing", i)
		}
		b.Return(b.now, from, a)
	}
	if n := len(b.Leases()); n != MaxLeases {
		t.Errorf("%d leases, want %d", n, MaxLeases)
	}
	b.want("a late one is remembered", name(MaxLeases+9), any6, fmt.Sprintf("2001:db8::1:%x", 10))
	if len(b.byOwner[id(name(9))]) != 0 || len(b.byOwner[id(name(10))]) != 1 {
		t.Errorf("the oldest ones are not those that are forgotten")
	}
}

// TestRestore writes the leases and reads them in a new run.
func TestRestore(t *testing.T) {
	ranges := []Range{span("p", "10.0.0.1", "10.0.0.2"), span("q", "10.1.0.1", "10.1.0.9")}
	b := newBook(t, ranges...)
	b.want("", "@a", any4, "10.0.0.1")
	b.want("", `keyid:a "b" c`, any4, "10.0.0.2")
	b.want("", "@c", any4, "10.1.0.1")
	b.release("p", "10.0.0.1")
	text, err := b.Text(b.now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	ranges[1] = span("q", "10.1.0.5", "10.1.0.9") // the configuration was changed
	next := newBook(t, ranges...)
	if err := next.Restore(text); err != nil {
		t.Fatal(err)
	}
	if got := len(next.Leases()); got != 2 {
		t.Errorf("%d leases, want 2: %s", got, text)
	}
	next.want("comes back", `keyid:a "b" c`, any4, "10.0.0.2")
	next.want("its pool was changed", "@c", any4, "10.1.0.5")
	for range 4 {
		next.Lend(next.now, []string{"q"}, id("@d"), any4)
	}
	next.want("who was away the longest loses it", "@e", any4, "10.0.0.1")
}

func TestRestoreCorrupt(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "unexpected end"},
		{`{"version":2,"leases":[]}`, "version 2"},
		{`{"leases":[]}`, "version 0"},
		{`{"version":1,"leases":[{"pool":"p","address":"10.0.0.1","identity":"","since":"2026-01-01T00:00:00Z"}]}`, "lease 1"},
		{`{"version":1,"leases":[{"pool":"p","address":"10.0.0.1","identity":"*@example.org","since":"2026-01-01T00:00:00Z"}]}`, "lease 1"},
		{`{"version":1,"leases":[{"pool":"p","address":"","identity":"@a","since":"2026-01-01T00:00:00Z"}]}`, "lease 1"},
		{`{"version":1,"leases":[{"pool":"p","address":"10.0.0.300","identity":"@a"}]}`, "10.0.0.300"},
		{`{"version":1,"leases":[` + strings.Repeat(`{},`, MaxLeases) + `{}]}`, "more than 65536"},
	} {
		b := newBook(t, span("p", "10.0.0.1", "10.0.0.9"))
		if err := b.Restore([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) || b.count != 0 {
			t.Errorf("%.60s: %v, want an error with %q", c.text, err, c.want)
		}
	}
}

// TestAgainstModel compares the Book with what must hold after any operations: nobody has the address of somebody else, an owner
// that comes back before anybody lost anything has its address again, and a small pool can be used up.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		b := newBook(t, span("p", "10.0.0.1", "10.0.0.5"), span("q", "10.0.1.1", "10.0.1.2"))
		type use struct {
			owner ident.ID
			pool  string
			addr  netip.Addr
		}
		var online []use
		for range 300 {
			b.now = b.now.Add(time.Second)
			if len(online) > 0 && r.IntN(2) == 0 {
				i := r.IntN(len(online))
				b.Return(b.now, online[i].pool, online[i].addr)
				online = slices.Delete(online, i, i+1)
				continue
			}
			owner := id(fmt.Sprintf("@%d", r.IntN(9)))
			wish := any4
			if r.IntN(3) == 0 {
				wish = addr(fmt.Sprintf("10.0.%d.%d", r.IntN(2), r.IntN(7)))
			}
			from, a, ok := b.Lend(b.now, []string{"p", "q"}, owner, wish)
			used := map[netip.Addr]ident.ID{}
			for _, u := range online {
				used[u.addr] = u.owner
			}
			if !ok {
				if len(used) != 7 {
					t.Fatalf("seed %d: nothing for %v although %d of 7 are in use", seed, owner, len(used))
				}
				continue
			}
			if other, taken := used[a]; taken && (other != owner || a != wish) {
				t.Fatalf("seed %d: %v gets %v, which %v uses", seed, owner, a, other)
			}
			online = append(online, use{owner, from, a})
		}
		for _, u := range online {
			b.Return(b.now, u.pool, u.addr)
		}
		for _, l := range b.Leases() {
			if l.Online != 0 {
				t.Fatalf("seed %d: %+v is in use by nobody", seed, l)
			}
		}
		if b.offline.Len() != b.count || b.count > 7 {
			t.Fatalf("seed %d: %d leases, %d of them offline", seed, b.count, b.offline.Len())
		}
	}
}

// TestRestoreBeforePools: who had an address of a pool that is loaded later has it again, and what is saved meanwhile is not lost.
func TestRestoreBeforePools(t *testing.T) {
	ranges := []Range{span("p", "10.0.0.1", "10.0.0.2"), span("q", "10.1.0.1", "10.1.0.9")}
	b := newBook(t, ranges...)
	b.want("", "@a", any4, "10.0.0.1")
	b.want("", "@b", any4, "10.0.0.2")
	b.want("", "@c", any4, "10.1.0.1", "q")
	b.release("p", "10.0.0.1")
	text, err := b.Text(b.now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time of what the first one has saved
		next := newBook(t)
		if err := next.Restore(text); err != nil {
			t.Fatal(err)
		}
		next.Configure(ranges[1:])
		next.want("its pool is there", "@c", any4, "10.1.0.1", "q")
		if text, err = next.Text(next.now.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	next := newBook(t)
	if err := next.Restore(text); err != nil {
		t.Fatal(err)
	}
	next.Configure(ranges[1:])
	next.Configure(ranges)
	next.want("its pool came later", "@b", any4, "10.0.0.2")
	next.want("who was away the longest loses it", "@d", any4, "10.0.0.1", "p")
	if len(next.Leases()) != 3 || len(next.waiting) != 0 {
		t.Errorf("%v are left, and wait: %v", next.Leases(), next.waiting)
	}
}

func FuzzRestore(f *testing.F) {
	b := New([]Range{span("p", "10.0.0.1", "10.0.0.9")})
	b.Lend(epoch, []string{"p"}, id("@a"), any4)
	text, _ := b.Text(epoch)
	f.Add(text)
	f.Add([]byte(`{"version":1,"leases":[{"pool":"p","address":"::ffff:10.0.0.1","identity":"@a","since":"2026-01-01T00:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		b := New([]Range{span("p", "10.0.0.1", "10.0.0.9"), span("q", "2001:db8::", "2001:db8::ffff")})
		if b.Restore(text) != nil {
			return
		}
		was, err := b.Text(epoch)
		if err != nil {
			return // a year of five digits
		}
		again := New(b.Ranges())
		if err := again.Restore(was); err != nil {
			t.Fatalf("what was read cannot be read again: %v\n%s", err, was)
		}
		for _, l := range b.Leases() {
			if !b.pools[0].Contains(l.Addr) && !b.pools[1].Contains(l.Addr) || l.Online != 0 {
				t.Fatalf("%+v", l)
			}
		}
		if len(again.Leases()) != len(b.Leases()) {
			t.Fatalf("%d leases, then %d", len(b.Leases()), len(again.Leases()))
		}
	})
}

// TestConfigure changes the pools while addresses are lent.
func TestConfigure(t *testing.T) {
	b := newBook(t, span("p", "10.0.0.1", "10.0.0.9"), span("q", "10.1.0.1", "10.1.0.9"))
	b.want("", "@a", any4, "10.0.0.1")
	b.want("", "@b", any4, "10.0.0.2")
	b.want("", "@c", any4, "10.1.0.1", "q")
	b.release("p", "10.0.0.2")
	b.Configure([]Range{span("new", "10.0.0.1", "10.0.0.3"), span("r", "10.2.0.1", "10.2.0.9")})
	b.want("an address is not lent twice, whatever its pool is called", "@d", any4, "10.0.0.3")
	b.want("offline leases stay too", "@b", any4, "10.0.0.2")
	b.want("the pool is gone", "@c", any4, "10.2.0.1")
	b.release("p", "10.0.0.1")
	b.release("q", "10.1.0.1")
	b.want("it was given back", "@e", addr("10.0.0.1"), "10.2.0.2")
	b.want("and is kept for its owner", "@a", any4, "10.0.0.1")
	if b.count != 5 || len(b.Leases()) != 5 {
		t.Errorf("%d leases are counted, %d listed", b.count, len(b.Leases()))
	}
}
