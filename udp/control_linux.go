package udp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ancillary data of sendmsg and recvmsg. The buffers are arrays of uint64, so that the headers in them are aligned.

// controlWords is room for the messages of one call: packet info, TOS, and the segment size.
const controlWords = 16

type controlBuf [controlWords]uint64

func (b *controlBuf) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(&b[0])), controlWords*8)
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// appendControl writes one control message behind the first n bytes of b, and returns the new length and the place for
// size bytes of data.
func appendControl(b []byte, n, level, kind, size int) (int, []byte) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[n]))
	h.Level, h.Type = int32(level), int32(kind)
	h.SetLen(unix.CmsgLen(size))
	from := n + unix.CmsgLen(0)
	end := n + unix.CmsgSpace(size)
	clear(b[from:end])
	return end, b[from : from+size]
}

// The layout of struct in_pktinfo and in6_pktinfo.
const (
	pktinfo4Len   = 12 // interface index (4), local address (4), destination of the header (4)
	pktinfo4Local = 4
	pktinfo4Dst   = 8
	pktinfo6Len   = 20 // address (16), interface index (4)
)

// encodeControl writes what is to be said of a train to b, and returns the length. segment 0: no segmentation.
func encodeControl(b []byte, local netip.Addr, v6 bool, tos byte, segment int) int {
	n := 0
	var data []byte
	if local.IsValid() && !local.IsUnspecified() && local.Is6() == v6 {
		if v6 {
			n, data = appendControl(b, n, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, pktinfo6Len)
			addr := local.As16()
			copy(data, addr[:])
		} else {
			n, data = appendControl(b, n, unix.IPPROTO_IP, unix.IP_PKTINFO, pktinfo4Len)
			addr := local.As4()
			copy(data[pktinfo4Local:], addr[:])
		}
	}
	if tos != 0 {
		level, kind := unix.IPPROTO_IP, unix.IP_TOS
		if v6 {
			level, kind = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
		}
		n, data = appendControl(b, n, level, kind, 4)
		binary.NativeEndian.PutUint32(data, uint32(tos))
	}
	if segment != 0 {
		n, data = appendControl(b, n, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)
		binary.NativeEndian.PutUint16(data, uint16(segment))
	}
	return n
}

// decodeControl reads what was said of a received train into d: Local's address, TOS and Stride, where they are given.
func decodeControl(b []byte, d *Datagrams) {
	for len(b) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			return
		}
		b = rest
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= pktinfo4Len:
			setLocal(d, netip.AddrFrom4([4]byte(data[pktinfo4Dst:])))
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= pktinfo6Len:
			addr := netip.AddrFrom16([16]byte(data))
			if addr.IsLinkLocalUnicast() {
				addr = addr.WithZone(d.Remote.Addr().Zone())
			}
			setLocal(d, addr)
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS && len(data) >= 1:
			d.TOS = data[0]
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(data) >= 4:
			d.TOS = byte(binary.NativeEndian.Uint32(data))
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			if stride := int(binary.NativeEndian.Uint32(data)); stride > 0 {
				d.Stride = stride
			}
		}
	}
}

func setLocal(d *Datagrams, addr netip.Addr) { d.Local = netip.AddrPortFrom(addr, d.Local.Port()) }
