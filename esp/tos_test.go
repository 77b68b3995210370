package esp

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func TestDecapECNFigure4(t *testing.T) {
	const (
		x    = ECNDrop
		odd  = ECNUnused
		good = ECNNormal
	)
	type cell struct {
		ecn     byte
		verdict ECN
	}
	inner := []byte{notECT, ect0, ect1, ce}
	outer := []byte{notECT, ect0, ect1, ce}
	figure := [4][4]cell{ // RFC 6040 figure 4, rows inner, columns outer
		{{notECT, good}, {notECT, odd}, {notECT, odd}, {notECT, x}},
		{{ect0, good}, {ect0, good}, {ect1, good}, {ce, good}},
		{{ect1, good}, {ect1, odd}, {ect1, good}, {ce, good}},
		{{ce, good}, {ce, good}, {ce, odd}, {ce, good}},
	}
	for r := range figure {
		for c, want := range figure[r] {
			for _, copyDSCP := range []bool{false, true} {
				tos, verdict := InnerTOS(0b101110_00|inner[r], 0b001010_00|outer[c], copyDSCP)
				wantTOS := 0b101110_00 | want.ecn
				if copyDSCP && verdict != x {
					wantTOS = 0b001010_00 | want.ecn
				}
				if tos != wantTOS || verdict != want.verdict {
					t.Errorf("inner %02b outer %02b copy %v: %08b, %d; want %08b, %d",
						inner[r], outer[c], copyDSCP, tos, verdict, wantTOS, want.verdict)
				}
			}
		}
	}
}

func TestOuterTOS(t *testing.T) {
	for tos := range 256 {
		if got := OuterTOS(byte(tos), true); got != byte(tos) {
			t.Errorf("OuterTOS(%#x, true) = %#x", tos, got)
		}
		if got := OuterTOS(byte(tos), false); got != byte(tos%4) {
			t.Errorf("OuterTOS(%#x, false) = %#x", tos, got)
		}
	}
}

// Every change of TOS must leave the checksum a full computation gives, over headers with all sorts of sums.
func TestDecapTOSMendsTheChecksum(t *testing.T) {
	for id := range 256 {
		for tos := range 256 {
			inner := ipv4(40)
			inner[1], inner[4], inner[5] = byte(tos), byte(id*7), byte(id)
			binary.BigEndian.PutUint16(inner[10:], 0)
			binary.BigEndian.PutUint16(inner[10:], ^sum16(inner[:20]))
			want := bytes.Clone(inner)
			outer := byte(tos*31 + id)
			wantTOS, wantVerdict := InnerTOS(byte(tos), outer, true)
			want[1] = wantTOS
			binary.BigEndian.PutUint16(want[10:], 0)
			binary.BigEndian.PutUint16(want[10:], ^sum16(want[:20]))
			if v := DecapTOS(inner, outer, true); v != wantVerdict || !bytes.Equal(inner, want) {
				t.Fatalf("tos %#x outer %#x: verdict %d\n got %x\nwant %x", tos, outer, v, inner[:20], want[:20])
			}
		}
	}
}

// RFC 1624 4: a header whose checksum becomes 0x0000, which the older formula of RFC 1141 made 0xffff.
func TestSetTOSGivesPlusZero(t *testing.T) {
	header := make([]byte, 20)
	header[0], header[1] = 0x45, 0x55
	binary.BigEndian.PutUint16(header[4:], 0xffff-0x4500) // all but the TOS sums to 0xffff
	binary.BigEndian.PutUint16(header[10:], ^sum16(header))
	setTOS4(header, 0)
	if got := binary.BigEndian.Uint16(header[10:]); got != 0 {
		t.Errorf("checksum %#04x, want 0", got)
	}
}

func TestDecapTOSOfIPv6(t *testing.T) {
	inner := ipv6(48)
	binary.BigEndian.PutUint32(inner, 6<<28|0xba<<20|0xabcde) // DSCP 101110, ECT(0), flow label abcde
	if v := DecapTOS(inner, 0x03, false); v != ECNNormal {
		t.Errorf("verdict %d", v)
	}
	if got, want := binary.BigEndian.Uint32(inner), uint32(6<<28|0xbb<<20|0xabcde); got != want {
		t.Errorf("first word %#x, want %#x", got, want)
	}
	before := bytes.Clone(inner)
	inner[1] &^= 0x30 // not ECN capable
	before[1] &^= 0x30
	if v := DecapTOS(inner, 0xff, true); v != ECNDrop || !bytes.Equal(inner, before) {
		t.Errorf("verdict %d, packet %x; want a drop that changes nothing", v, inner)
	}
}
