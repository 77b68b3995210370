package tun

import (
	"encoding/binary"

	"github.com/culvert-vpn/culvert/internal/inet"
)

// complete stores the checksum of a transport message in its field at offset, where the sum of the pseudo header stands.
func complete(msg []byte, offset int) {
	c := inet.Checksum(msg)
	if c == 0 && offset == udpChecksum {
		c = 0xffff // RFC 768: zero would say that there is no checksum
	}
	binary.BigEndian.PutUint16(msg[offset:], c)
}
