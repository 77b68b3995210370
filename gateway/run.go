package gateway

import (
	"bytes"
	"encoding/binary"

	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/ts"
	"github.com/culvert-vpn/culvert/tun"
)

// run is what is kept back of a flow: a packet, and the payloads of those that continue it, so that all of them can go out as
// one superpacket. A packet continues a run only if cutting the superpacket gives exactly the packets that came: what differs
// between its segments is counted up by whoever cuts (the identification, the TCP sequence number, the lengths, the
// checksums), is kept for the last one (PSH), and everything else is the same.
type run struct {
	first   []byte
	more    [][]byte
	gso     tun.GSO
	ip      int    // length of the IP header
	header  int    // of the IP and transport header
	segment int    // payload bytes of each packet but the last
	next    uint32 // the TCP sequence number that goes on
	total   int    // bytes of all of it
	sound   bool   // the checksums of first are right
	ended   bool   // nothing may follow
}

// maxRun is how many packets become one superpacket at most: as many as the kernel lets others send at once
// (UDP_MAX_SEGMENTS), so that receivers are used to it, and few enough for one writev.
const maxRun = 64

const (
	tcpSeq      = 4
	tcpAck      = 8
	tcpOffset   = 12
	tcpFlags    = 13
	tcpWindow   = 14
	tcpChecksum = 16
	tcpUrgent   = 18
	tcpMinimum  = 20

	udpLength   = 4
	udpChecksum = 6

	flagPSH = 0x08
	flagACK = 0x10
	flagECE = 0x40
)

// superOf is the kind of superpacket that a packet can be a segment of, GSONone if of none: TCP with payload and with no flag
// but ACK, PSH and ECE, or UDP with payload and checksum, without IP options or extension headers, and no fragment.
func superOf(b []byte, p *ts.Packet) tun.GSO {
	v6 := b[0]>>4 == 6
	ip := ip4Header
	if v6 {
		ip = ip6Header
	}
	if p.HeaderLen != ip || p.TotalLen != len(b) || !v6 && binary.BigEndian.Uint16(b[6:])&^0x4000 != 0 { // any flag but DF, or an offset
		return tun.GSONone
	}
	switch m := b[ip:]; {
	case p.Protocol == inet.ProtoTCP && len(m) > tcpMinimum:
		n := int(m[tcpOffset]>>4) * 4
		if n < tcpMinimum || n >= len(m) || m[tcpFlags]&^(flagPSH|flagECE) != flagACK {
			return tun.GSONone
		}
		if v6 {
			return tun.GSOTCP6
		}
		return tun.GSOTCP4
	case p.Protocol == inet.ProtoUDP && len(m) > udpHeader:
		if int(binary.BigEndian.Uint16(m[udpLength:])) != len(m) || m[udpChecksum]|m[udpChecksum+1] == 0 { // RFC 768: no checksum
			return tun.GSONone
		}
		return tun.GSOUDP
	}
	return tun.GSONone
}

// begin keeps a packet of a kind other than GSONone.
func (r *run) begin(b []byte, gso tun.GSO) {
	*r = run{first: b, more: r.more[:0], gso: gso, ip: ip4Header, total: len(b)}
	if b[0]>>4 == 6 {
		r.ip = ip6Header
	}
	r.header = r.ip + udpHeader
	if gso != tun.GSOUDP {
		m := b[r.ip:]
		r.header = r.ip + int(m[tcpOffset]>>4)*4
		r.next = binary.BigEndian.Uint32(m[tcpSeq:]) + uint32(len(b)-r.header)
		r.ended = m[tcpFlags]&flagPSH != 0
	}
	r.segment = len(b) - r.header
}

// add keeps one more packet, if it continues the run.
func (r *run) add(b []byte, gso tun.GSO) bool {
	n := len(b) - r.header
	if r.ended || gso != r.gso || n <= 0 || n > r.segment || len(r.more)+1 >= maxRun || r.total+n > 65535 ||
		!r.sameIP(b) || !r.sameTransport(b) {
		return false
	}
	// As the checksums will be made anew, those that came have to be right.
	if !r.sound && !sound(r.first, r.ip, r.gso) || !sound(b, r.ip, r.gso) {
		return false
	}
	r.sound = true
	r.more = append(r.more, b[r.header:])
	r.total += n
	r.ended = n < r.segment
	if r.gso != tun.GSOUDP {
		r.next += uint32(n)
		push := b[r.ip+tcpFlags] & flagPSH
		r.first[r.ip+tcpFlags] |= push
		r.ended = r.ended || push != 0
	}
	return true
}

// sameIP compares IP headers without lengths and checksum. The identification counts up by one, with DF too.
func (r *run) sameIP(b []byte) bool {
	a := r.first
	if r.ip == ip6Header {
		return [4]byte(a) == [4]byte(b) && [2]byte(a[6:]) == [2]byte(b[6:]) && [32]byte(a[8:]) == [32]byte(b[8:])
	}
	return [2]byte(a) == [2]byte(b) && [4]byte(a[6:]) == [4]byte(b[6:]) && [8]byte(a[12:]) == [8]byte(b[12:]) &&
		binary.BigEndian.Uint16(b[4:]) == binary.BigEndian.Uint16(a[4:])+uint16(len(r.more)+1)
}

// sameTransport compares transport headers without lengths, checksum and PSH. The TCP sequence number goes on.
func (r *run) sameTransport(b []byte) bool {
	a, b := r.first[r.ip:r.header], b[r.ip:r.header]
	if r.gso == tun.GSOUDP {
		return [4]byte(a) == [4]byte(b)
	}
	return [4]byte(a) == [4]byte(b) && binary.BigEndian.Uint32(b[tcpSeq:]) == r.next &&
		[5]byte(a[tcpAck:]) == [5]byte(b[tcpAck:]) && (a[tcpFlags]^b[tcpFlags])&^flagPSH == 0 &&
		[2]byte(a[tcpWindow:]) == [2]byte(b[tcpWindow:]) && bytes.Equal(a[tcpUrgent:], b[tcpUrgent:])
}

// sound reports whether the checksums of a packet are right, and what the kernel would write: of the two ways to write zero,
// TCP and IPv4 have 0 and UDP has 0xffff (RFC 768).
func sound(b []byte, ip int, gso tun.GSO) bool {
	addresses, m := b[8:], b[ip:]
	if ip == ip4Header {
		addresses = b[12:]
		if !inet.SoundHeader((*[ip4Header]byte)(b)) || b[10]&b[11] == 0xff {
			return false
		}
	}
	protocol := uint64(inet.ProtoUDP)
	if gso != tun.GSOUDP {
		protocol = inet.ProtoTCP
		if m[tcpChecksum]&m[tcpChecksum+1] == 0xff {
			return false
		}
	}
	// The addresses of the pseudo header stand in front of the transport header, so one sum goes over both.
	return inet.Fold(inet.Add(inet.AddWords(0, protocol, len(m)), addresses)) == 0xffff
}

// super is the beginning of a superpacket: the headers of the first packet, changed to stand for the whole.
func (r *run) super() tun.Super {
	s := tun.Super{Packet: r.first}
	if len(r.more) == 0 {
		return s
	}
	s.GSO, s.HdrLen, s.SegmentSize = r.gso, r.header, r.segment
	s.NeedsChecksum, s.ChecksumStart, s.ChecksumOffset = true, r.ip, tcpChecksum
	protocol := uint64(inet.ProtoTCP)
	b, length := r.first, r.total-r.ip
	if r.gso == tun.GSOUDP {
		s.ChecksumOffset, protocol = udpChecksum, inet.ProtoUDP
		binary.BigEndian.PutUint16(b[r.ip+udpLength:], uint16(length))
	}
	var addresses []byte
	if r.ip == ip4Header {
		binary.BigEndian.PutUint16(b[2:], uint16(r.total))
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], inet.Checksum(b[:ip4Header]))
		addresses = b[12:ip4Header]
	} else {
		binary.BigEndian.PutUint16(b[4:], uint16(length))
		addresses = b[8:ip6Header]
	}
	// The pseudo header is summed here, the rest by the kernel.
	binary.BigEndian.PutUint16(b[r.ip+s.ChecksumOffset:], inet.Fold(inet.Add(inet.AddWords(0, protocol, length), addresses)))
	return s
}
