package gateway

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/culvert-vpn/culvert/internal/inet/inettest"
	"github.com/culvert-vpn/culvert/ts"
)

// selectorsOf are the selectors of a Child SA that carries some of what drawInspected draws.
func selectorsOf(t testing.TB, text ...string) (list []ts.Selector) {
	t.Helper()
	for _, s := range text {
		parsed, err := ts.ParseSpec(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, ts.Resolve([]ts.Spec{parsed})...)
	}
	return list
}

// inspected holds what an inspector says of packets, one after the other, against what is to be said of each by itself.
func inspected(t *testing.T, d *inettest.Dice) (same int) {
	sas := []*inboundSA{
		{local: selectorsOf(t, "0.0.0.0/0", "::/0"), remote: selectorsOf(t, "0.0.0.0/0", "::/0")},
		{local: selectorsOf(t, "10.0.0.0/8[/443]", "2001:db8::/32[udp]"), remote: selectorsOf(t, "10.0.0.1[tcp]", "2001:db8::1")},
	}
	addresses := [][]netip.Addr{
		{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}, {netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")},
	}
	var i inspector
	list := addresses[d.N(2)]
	packet := d.Flow(list[0], list[1], true)
	sa := sas[d.N(2)]
	for range 40 {
		switch d.N(8) {
		case 0:
			list = addresses[d.N(2)]
			packet = d.Flow(list[d.N(2)], list[d.N(2)], true)
		case 1:
			sa = sas[d.N(2)]
		case 2:
			packet.SrcPort = uint16(d.N(3))
		case 3:
			packet.TOS++
		}
		packet.Payload = d.Bytes(d.N(40))
		b := packet.Bytes()
		if d.One(3) {
			b[d.N(min(len(b), 48))] ^= byte(1 << d.N(8))
		}
		if d.One(10) {
			b = b[:d.N(len(b)+1)]
		}
		if !opens(b) {
			continue // it cannot come out of an SA
		}
		b = b[:totalLen(b):totalLen(b)]
		if i.sa == sa && i.same(b) {
			same++
		}
		got, why, ok := i.inspect(sa, b)
		want, err := ts.ParsePacket(b)
		switch {
		case err != nil:
			if ok || why != DropInnerMalformed {
				t.Fatalf("%x: %v, %v, want %v", b, ok, why, err)
			}
		case !ts.Match(sa.local, sa.remote, want, false):
			if ok || why != DropSelectors {
				t.Fatalf("%x: %v, %v; the selectors do not allow it", b, ok, why)
			}
		case !ok || *got != want:
			t.Fatalf("%x: %v, %v\n got %+v\nwant %+v", b, ok, why, got, want)
		}
	}
	return same
}

// totalLen is the length that an IP header claims, 0 if it is none.
func totalLen(b []byte) int {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		return int(b[2])<<8 | int(b[3])
	case len(b) >= 40 && b[0]>>4 == 6:
		return 40 + int(b[4])<<8 + int(b[5])
	}
	return 0
}

// opens reports whether package esp lets a packet through: its header fits into it, and its length too.
func opens(b []byte) bool {
	n := totalLen(b)
	return n != 0 && n <= len(b) && (b[0]>>4 == 6 || int(b[0]&15)*4 >= 20 && int(b[0]&15)*4 <= n)
}

func TestInspector(t *testing.T) {
	same := 0
	for seed := range 2000 {
		same += inspected(t, inettest.NewDice([]byte{byte(seed), byte(seed >> 8)}))
	}
	if same == 0 {
		t.Error("nothing was like the packet before")
	}
}

func FuzzInspector(f *testing.F) {
	f.Add([]byte("0123456789"))
	f.Add(slices.Repeat([]byte{0, 1}, 100))
	f.Fuzz(func(t *testing.T, input []byte) { inspected(t, inettest.NewDice(input)) })
}
