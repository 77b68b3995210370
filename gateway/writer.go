package gateway

import (
	"bytes"
	"encoding/binary"

	"github.com/culvert-vpn/culvert/internal/inet"
	"github.com/culvert-vpn/culvert/ts"
	"github.com/culvert-vpn/culvert/tun"
)

// writer writes to a queue of the TUN device. Neighbours of a TCP flow go out as one superpacket, from which the kernel
// can make again exactly the packets that came: one system call, and one walk through the kernel, for all of them.
type writer struct {
	queue    tun.Queue
	counters *counters
	merge    bool // superpackets may be written

	// What is kept back: a packet, and the payloads of those that follow it.
	first   []byte
	more    [][]byte
	header  int    // length of the IP header of first
	hdrLen  int    // of the IP and TCP header
	segment int    // payload bytes of each packet but the last
	next    uint32 // the TCP sequence number that goes on
	total   int    // bytes of all of it
	checked bool   // the checksum of first is right
	ended   bool   // nothing may follow
}

const (
	tcpSeq      = 4
	tcpAck      = 8
	tcpOffset   = 12
	tcpFlags    = 13
	tcpWindow   = 14
	tcpChecksum = 16
	tcpUrgent   = 18
	tcpMinimum  = 20

	flagPSH = 0x08
	flagACK = 0x10
)

// put takes a packet, which must stay as it is until flush. p is what is known of it.
func (w *writer) put(packet []byte, p *ts.Packet) {
	if !w.merge || !mergeable(packet, p) {
		w.flush()
		w.write(tun.Super{Packet: packet}, nil)
		return
	}
	if w.first == nil || !w.follows(packet, p) {
		w.flush()
		w.keep(packet, p)
		return
	}
	payload := packet[w.hdrLen:]
	w.more = append(w.more, payload)
	w.next += uint32(len(payload))
	w.total += len(payload)
	push := packet[w.header+tcpFlags] & flagPSH
	w.first[w.header+tcpFlags] |= push
	w.ended = push != 0 || len(payload) < w.segment
}

// mergeable reports whether a packet is of the kind that superpackets are made of: TCP with payload, with no flag but
// ACK and PSH, without IP options or extension headers, and no fragment.
func mergeable(b []byte, p *ts.Packet) bool {
	header := ip4Header
	if p.Src.Is6() {
		header = ip6Header
	}
	if p.Protocol != inet.ProtoTCP || p.HeaderLen != header || p.TotalLen != len(b) || len(b) < header+tcpMinimum {
		return false
	}
	if header == ip4Header && binary.BigEndian.Uint16(b[6:])&^0x4000 != 0 { // anything but DF
		return false
	}
	tcp := b[header:]
	n := int(tcp[tcpOffset]>>4) * 4
	return n >= tcpMinimum && n < len(tcp) && tcp[tcpFlags]&^flagPSH == flagACK
}

// keep keeps a packet back.
func (w *writer) keep(b []byte, p *ts.Packet) {
	w.first, w.more, w.header = b, w.more[:0], p.HeaderLen
	tcp := b[p.HeaderLen:]
	w.hdrLen = p.HeaderLen + int(tcp[tcpOffset]>>4)*4
	w.segment = len(b) - w.hdrLen
	w.next = binary.BigEndian.Uint32(tcp[tcpSeq:]) + uint32(w.segment)
	w.total = len(b)
	w.checked = false
	w.ended = tcp[tcpFlags]&flagPSH != 0
}

// follows reports whether a packet continues what is kept back, so that cutting the superpacket gives it back as it is.
// As the kernel will make the checksums anew, those that came have to be right.
func (w *writer) follows(b []byte, p *ts.Packet) bool {
	a := w.first
	payload := len(b) - w.hdrLen
	if w.ended || p.HeaderLen != w.header || payload <= 0 || payload > w.segment || w.total+payload > 65535 {
		return false
	}
	if w.header == ip4Header {
		id := binary.BigEndian.Uint16(a[4:]) + uint16(len(w.more)) + 1
		if !bytes.Equal(a[:2], b[:2]) || !bytes.Equal(a[6:10], b[6:10]) || !bytes.Equal(a[12:20], b[12:20]) ||
			binary.BigEndian.Uint16(b[4:]) != id {
			return false
		}
	} else if !bytes.Equal(a[:4], b[:4]) || !bytes.Equal(a[6:ip6Header], b[6:ip6Header]) {
		return false
	}
	first, this := a[w.header:w.hdrLen], b[w.header:w.hdrLen]
	if !bytes.Equal(first[:tcpSeq], this[:tcpSeq]) || binary.BigEndian.Uint32(this[tcpSeq:]) != w.next ||
		!bytes.Equal(first[tcpAck:tcpFlags], this[tcpAck:tcpFlags]) ||
		!bytes.Equal(first[tcpWindow:tcpChecksum], this[tcpWindow:tcpChecksum]) ||
		!bytes.Equal(first[tcpUrgent:], this[tcpUrgent:]) {
		return false
	}
	if !w.checked {
		w.checked = soundTCP(a, w.header, p)
	}
	return w.checked && soundTCP(b, w.header, p)
}

// soundTCP reports whether the checksum of a segment from and to the addresses in p is right.
func soundTCP(b []byte, header int, p *ts.Packet) bool {
	tcp := b[header:]
	return inet.Fold(inet.Add(inet.AddPseudo(0, p.Src, p.Dst, inet.ProtoTCP, len(tcp)), tcp)) == 0xffff
}

// flush writes what is kept back.
func (w *writer) flush() {
	if w.first == nil {
		return
	}
	s := tun.Super{Packet: w.first}
	if len(w.more) > 0 {
		w.describe(&s)
	}
	w.write(s, w.more)
	w.first = nil
}

// describe makes s the beginning of a superpacket: its headers stand for the whole.
func (w *writer) describe(s *tun.Super) {
	s.GSO, s.HdrLen, s.SegmentSize = tun.GSOTCP4, w.hdrLen, w.segment
	s.NeedsChecksum, s.ChecksumStart, s.ChecksumOffset = true, w.header, tcpChecksum
	b := s.Packet
	length := w.total - w.header
	var addresses []byte
	if w.header == ip4Header {
		binary.BigEndian.PutUint16(b[2:], uint16(w.total))
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], inet.Checksum(b[:ip4Header]))
		addresses = b[12:20]
	} else {
		s.GSO = tun.GSOTCP6
		binary.BigEndian.PutUint16(b[4:], uint16(length))
		addresses = b[8:ip6Header]
	}
	// The pseudo header is summed here, the rest by the kernel.
	rest := [4]byte{0, inet.ProtoTCP, byte(length >> 8), byte(length)}
	binary.BigEndian.PutUint16(b[w.header+tcpChecksum:], inet.Fold(inet.Add(inet.Add(0, addresses), rest[:])))
}

func (w *writer) write(s tun.Super, more [][]byte) {
	if err := w.queue.Write(s, more); err != nil {
		w.counters.drop(dropOfDevice(err))
	}
}
