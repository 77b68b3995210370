package wire

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"strconv"
)

// CFGType is the CFG Type of a Configuration payload (RFC 7296 3.15).
type CFGType uint8

// The types of Configuration payloads.
const (
	CFG_REQUEST CFGType = 1
	CFG_REPLY   CFGType = 2
	CFG_SET     CFGType = 3
	CFG_ACK     CFGType = 4
)

var cfgNames = map[CFGType]string{CFG_REQUEST: "CFG_REQUEST", CFG_REPLY: "CFG_REPLY", CFG_SET: "CFG_SET", CFG_ACK: "CFG_ACK"}

// String is the name of the RFC, or CFG_n.
func (t CFGType) String() string {
	if name, ok := cfgNames[t]; ok {
		return name
	}
	return "CFG_" + strconv.Itoa(int(t))
}

// AttributeType is the type of a Configuration Attribute (RFC 7296 3.15.1), 15 bits.
type AttributeType uint16

// Configuration Attributes. The two of Cisco's Unity are of the private use range, as IKEv1 gateways and strongSwan send
// them.
const (
	INTERNAL_IP4_ADDRESS AttributeType = 1
	INTERNAL_IP4_NETMASK AttributeType = 2
	INTERNAL_IP4_DNS     AttributeType = 3
	INTERNAL_IP4_NBNS    AttributeType = 4
	INTERNAL_IP4_DHCP    AttributeType = 6
	APPLICATION_VERSION  AttributeType = 7
	INTERNAL_IP6_ADDRESS AttributeType = 8
	INTERNAL_IP6_DNS     AttributeType = 10
	INTERNAL_IP6_DHCP    AttributeType = 12
	INTERNAL_IP4_SUBNET  AttributeType = 13
	SUPPORTED_ATTRIBUTES AttributeType = 14
	INTERNAL_IP6_SUBNET  AttributeType = 15
	INTERNAL_DNS_DOMAIN  AttributeType = 25 // RFC 8598
	INTERNAL_DNSSEC_TA   AttributeType = 26 // RFC 8598
	UNITY_LOCAL_LAN      AttributeType = 28678
)

// attributeForms says how the values of attributes are built. What is not listed is bytes.
var attributeForms = map[AttributeType]attributeForm{
	INTERNAL_IP4_ADDRESS: {4, 0}, INTERNAL_IP4_NETMASK: {4, 0}, INTERNAL_IP4_DNS: {4, 0}, INTERNAL_IP4_NBNS: {4, 0}, INTERNAL_IP4_DHCP: {4, 0},
	INTERNAL_IP6_DNS: {16, 0}, INTERNAL_IP6_DHCP: {16, 0},
	INTERNAL_IP6_ADDRESS: {16, 1}, INTERNAL_IP6_SUBNET: {16, 1}, INTERNAL_IP4_SUBNET: {4, 4},
}

// attributeForm is an address of some bytes, and a mask of some: none, a prefix length, or a netmask.
type attributeForm struct{ addr, mask int }

// Attribute is a Configuration Attribute. Without a value it asks for one, or accepts it.
type Attribute struct {
	Type AttributeType
	// Net is the value of attributes that hold an address or a network: for a single address, and for a netmask, with the
	// full prefix length. The bits beyond the prefix length are kept: INTERNAL_IP6_ADDRESS has them. It is the zero Prefix
	// if there is no value.
	Net netip.Prefix
	// Data is the value of all other attributes, and of those whose value is no network, such as a netmask with holes: they
	// mean nothing and are to be ignored.
	Data []byte
}

// CP is the Configuration payload (RFC 7296 3.15).
type CP struct {
	Kind CFGType
	// Attributes in the order of the payload; at most MaxAttributes when parsed. Unknown ones are there to be ignored (RFC
	// 7296 3.15.1).
	Attributes []Attribute
}

// AddrAttribute is an attribute whose value is one address.
func AddrAttribute(t AttributeType, a netip.Addr) Attribute {
	return Attribute{Type: t, Net: netip.PrefixFrom(a, a.BitLen())}
}

func readConfiguration(r *reader) *CP {
	p := &CP{Kind: CFGType(r.u8())}
	r.skip(3)
	for r.left() > 0 {
		if len(p.Attributes) == MaxAttributes {
			r.fail("too many attributes")
			break
		}
		p.Attributes = append(p.Attributes, readAttribute(r))
	}
	return p
}

func readAttribute(r *reader) Attribute {
	a := Attribute{Type: AttributeType(r.u16() &^ 0x8000)} // RFC 7296 3.15.1: the reserved bit is ignored
	value := r.take(int(r.u16()))
	form, ok := attributeForms[a.Type]
	// Some peers send INTERNAL_IP6_ADDRESS without the prefix length.
	bare := a.Type == INTERNAL_IP6_ADDRESS && len(value) == form.addr
	switch {
	case !ok || len(value) == 0:
		a.Data = value
	case len(value) != form.addr+form.mask && !bare:
		r.fail("attribute length does not fit its type")
	default:
		if a.Net = form.network(value); !a.Net.IsValid() {
			a.Data = value
		}
	}
	return a
}

// network reads a value; what is none is the zero Prefix.
func (f attributeForm) network(value []byte) netip.Prefix {
	addr, _ := netip.AddrFromSlice(value[:f.addr])
	length, mask := addr.BitLen(), value[f.addr:]
	switch len(mask) {
	case 1:
		length = int(mask[0])
	case 4:
		m := binary.BigEndian.Uint32(mask)
		if length = bits.LeadingZeros32(^m); m != uint32(uint64(0xffffffff)<<(32-length)) {
			return netip.Prefix{}
		}
	}
	if p := netip.PrefixFrom(addr, length); p.IsValid() {
		return p
	}
	return netip.Prefix{}
}

func (p *CP) append(b []byte) []byte {
	b = append(b, byte(p.Kind), 0, 0, 0)
	for _, a := range p.Attributes {
		start := len(b)
		b = binary.BigEndian.AppendUint16(b, uint16(a.Type))
		b = a.appendValue(append(b, 0, 0))
		binary.BigEndian.PutUint16(b[start+2:], uint16(len(b)-start-4))
	}
	return b
}

func (a Attribute) appendValue(b []byte) []byte {
	if !a.Net.IsValid() {
		return append(b, a.Data...)
	}
	b = append(b, a.Net.Addr().AsSlice()...)
	switch attributeForms[a.Type].mask {
	case 1:
		b = append(b, byte(a.Net.Bits()))
	case 4:
		b = binary.BigEndian.AppendUint32(b, uint32(uint64(0xffffffff)<<(32-a.Net.Bits())))
	}
	return b
}

// UnityLocalLAN is a network that is not to be reached through the tunnel: address, netmask and 6 bytes of zero.
func UnityLocalLAN(p netip.Prefix) Attribute {
	value := binary.BigEndian.AppendUint32(p.Addr().AsSlice(), uint32(uint64(0xffffffff)<<(32-p.Bits())))
	return Attribute{Type: UNITY_LOCAL_LAN, Data: append(value, 0, 0, 0, 0, 0, 0)}
}
