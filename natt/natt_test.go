package natt

import (
	"bytes"
	"net/netip"
	"testing"
)

// ikeHeader is a header of an IKE_SA_INIT request with nothing behind it.
var ikeHeader = []byte{
	0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, // initiator's SPI
	0, 0, 0, 0, 0, 0, 0, 0, // responder's SPI
	0, 0x20, 34, 0x08, // no payload, version 2.0, IKE_SA_INIT, initiator
	0, 0, 0, 0, // message ID
	0, 0, 0, 28, // length
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// Cases: BUG-20.
func TestClassify(t *testing.T) {
	marker := make([]byte, 4)
	for _, c := range []struct {
		name     string
		port4500 bool
		in       []byte
		want     Kind
		out      []byte // nil: as it came
	}{
		{"500: IKE", false, ikeHeader, IKE, nil},
		{"500: IKE one octet short", false, ikeHeader[:27], Junk, nil},
		{"500: empty", false, nil, Junk, nil},
		{"500: no keepalive there", false, []byte{0xff}, Junk, nil},
		{"500: nothing is stripped", false, join(marker, ikeHeader), IKE, nil},
		{"500: never ESP", false, bytes.Repeat([]byte{0x77}, 64), IKE, nil},
		{"4500: IKE", true, join(marker, ikeHeader), IKE, ikeHeader},
		{"4500: IKE one octet short", true, join(marker, ikeHeader[:27]), Junk, nil},
		{"4500: marker alone", true, marker, Junk, nil},
		{"4500: three zeros", true, marker[:3], Junk, nil},
		{"4500: empty", true, []byte{}, Junk, nil},
		{"4500: keepalive", true, []byte{0xff}, Keepalive, nil},
		{"4500: another octet", true, []byte{0xfe}, Junk, nil},
		{"4500: two octets", true, []byte{0xff, 0xff}, Junk, nil},
		{"4500: zeros, and no IKE", true, make([]byte, 31), Junk, nil},
		{"4500: SPI 1", true, append([]byte{0, 0, 0, 1}, make([]byte, 60)...), Junk, nil},
		{"4500: SPI 255", true, append([]byte{0, 0, 0, 255}, make([]byte, 60)...), Junk, nil},
		{"4500: SPI 256", true, append([]byte{0, 0, 1, 0}, make([]byte, 60)...), ESP, nil},
		{"4500: SPI all ones", true, bytes.Repeat([]byte{0xff}, 9), ESP, nil},
		{"4500: ESP header alone", true, bytes.Repeat([]byte{0xff}, 8), Junk, nil},
		{"4500: IKE without marker is taken for ESP", true, ikeHeader, ESP, nil},
	} {
		want := c.out
		if want == nil {
			want = c.in
		}
		kind, out := Classify(c.port4500, c.in)
		if kind != c.want || !bytes.Equal(out, want) {
			t.Errorf("%s: %v %x, want %v %x", c.name, kind, out, c.want, want)
		}
	}
}

func TestClassifyDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations are not counted under the race detector")
	}
	esp := bytes.Repeat([]byte{0x77}, 100)
	ike := join(make([]byte, 4), ikeHeader)
	n := testing.AllocsPerRun(100, func() {
		Classify(true, esp)
		Classify(true, ike)
		Classify(false, ike)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestKindString(t *testing.T) {
	for k, want := range map[Kind]string{Junk: "junk", IKE: "IKE", ESP: "ESP", Keepalive: "keepalive", 77: "junk"} {
		if got := k.String(); got != want {
			t.Errorf("Kind(%d) is %q, want %q", k, got, want)
		}
	}
}

func TestAppendIKE(t *testing.T) {
	plain := Path{Local: ap("192.0.2.1:500"), Remote: ap("192.0.2.2:500")}
	for _, p := range []Path{plain, plain.Float()} {
		b := AppendIKE([]byte("x"), p, ikeHeader)
		kind, msg := Classify(p.NATT, b[1:])
		if b[0] != 'x' || kind != IKE || !bytes.Equal(msg, ikeHeader) {
			t.Errorf("%v: %x is %v %x", p, b, kind, msg)
		}
	}
}

func TestPath(t *testing.T) {
	p := Path{Local: ap("192.0.2.1:500"), Remote: ap("198.51.100.2:500")}
	f := p.Float()
	if want := (Path{ap("192.0.2.1:4500"), ap("198.51.100.2:4500"), true}); f != want {
		t.Errorf("%v floats to %v, want %v", p, f, want)
	}
	mapped := Path{ap("192.0.2.1:4500"), ap("198.51.100.2:31337"), true}
	if mapped.Float() != mapped {
		t.Errorf("%v floats to %v", mapped, mapped.Float())
	}
	if got, want := mapped.String(), "192.0.2.1:4500 - 198.51.100.2:31337 (encapsulated)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, bad := range []Path{
		{},
		{Local: p.Local},
		{Local: p.Local, Remote: ap("198.51.100.2:0")},
		{Local: p.Local, Remote: ap("[2001:db8::1]:500")},
	} {
		if bad.Valid() {
			t.Errorf("%v is valid", bad)
		}
	}
	if !p.Valid() {
		t.Errorf("%v is not valid", p)
	}
}

// Cases: BUG-20.
func FuzzClassify(f *testing.F) {
	f.Add(false, ikeHeader)
	f.Add(true, join(make([]byte, 4), ikeHeader))
	f.Add(true, []byte{0xff})
	f.Add(true, []byte{0, 0, 0, 255, 0, 0, 0, 1, 9})
	f.Add(true, []byte{0, 0, 1, 0, 0, 0, 0, 1, 9})
	f.Fuzz(func(t *testing.T, port4500 bool, b []byte) {
		before := bytes.Clone(b)
		kind, out := Classify(port4500, b)
		if !bytes.Equal(b, before) {
			t.Fatal("the datagram was changed")
		}
		if !bytes.HasSuffix(b, out) || kind != IKE && len(out) != len(b) {
			t.Fatalf("%v: %x out of %x", kind, out, b)
		}
		switch kind {
		case IKE:
			if len(out) < 28 {
				t.Fatalf("IKE of %d octets", len(out))
			}
			p := Path{NATT: port4500}
			if again := AppendIKE(nil, p, out); !bytes.Equal(again, b) {
				t.Fatalf("%x is sent as %x", b, again)
			}
		case ESP:
			if !port4500 || len(b) <= 8 || bytes.HasPrefix(b, []byte{0, 0, 0}) {
				t.Fatalf("ESP: %v %x", port4500, b)
			}
		case Keepalive:
			if !port4500 || len(b) != 1 {
				t.Fatalf("keepalive: %v %x", port4500, b)
			}
		}
	})
}

func ap(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }
