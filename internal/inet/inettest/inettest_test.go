package inettest

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"reflect"
	"testing"
)

// What is written is read, and its checksums are right.
func TestBytesAndParse(t *testing.T) {
	for seed := range byte(200) {
		d := NewDice([]byte{seed, 1, 2})
		src, dst := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
		if d.One(2) {
			src, dst = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
		}
		p := d.Flow(src, dst, true)
		p.Payload = d.Bytes(d.N(3000))
		b := p.Bytes()
		got, checksum, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if again := got.Bytes(); !bytes.Equal(again, b) || len(b) != p.HeaderLen()+p.TransportLen()+len(p.Payload) {
			t.Fatalf("read and written again:\n%x\n%x", again, b)
		}
		transport := bytes.Clone(b[p.HeaderLen():])
		all := binary.BigEndian.AppendUint16(transport[:len(transport):len(transport)], 0)
		if len(transport)%2 == 1 {
			all = append(transport, 0)
		}
		all = binary.BigEndian.AppendUint16(all, p.pseudo(len(transport)))
		if Sum(all) != 0xffff || checksum == 0 && p.Protocol == UDP {
			t.Fatalf("the checksum %#x of %x", checksum, b)
		}
	}
}

// The example of RFC 1071 3.
func TestSum(t *testing.T) {
	if got := Sum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}); got != 0xddf2 {
		t.Errorf("%#x", got)
	}
}

func TestCut(t *testing.T) {
	p := Packet{Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), ID: 0xffff, Protocol: TCP, Seq: 0xfffffffe,
		Flags: CWR | ECE | ACK | PSH | FIN, Payload: []byte("aaabbbc")}
	var got []Packet
	for _, s := range p.Cut(3) {
		got = append(got, Packet{ID: s.ID, Seq: s.Seq, Flags: s.Flags, Payload: s.Payload})
	}
	want := []Packet{
		{ID: 0xffff, Seq: 0xfffffffe, Flags: CWR | ECE | ACK, Payload: []byte("aaa")},
		{ID: 0, Seq: 1, Flags: ECE | ACK, Payload: []byte("bbb")},
		{ID: 1, Seq: 4, Flags: ECE | ACK | PSH | FIN, Payload: []byte("c")},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	p.Payload = nil
	if got := p.Cut(3); len(got) != 1 || len(got[0].Payload) != 0 {
		t.Errorf("nothing becomes %+v", got)
	}
}
