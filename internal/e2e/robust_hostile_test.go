//go:build linux

package e2e

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// attacker sends packets from a router on the way between two gateways, with any sender it likes.
type attacker struct {
	t      *testing.T
	socket int
	random *rand.Rand
	sent   int
}

func newAttacker(t *testing.T, h *Host) *attacker {
	t.Helper()
	x := &attacker{t: t, random: rand.New(rand.NewPCG(1, 2))}
	Must(t, h.Do(func() (err error) {
		x.socket, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	}))
	t.Cleanup(func() { unix.Close(x.socket) })
	return x
}

// raw sends an IPv4 packet as it is; the kernel fills in its length and checksum.
func (x *attacker) raw(packet []byte) {
	x.t.Helper()
	to := unix.SockaddrInet4{Addr: [4]byte(packet[16:20])}
	if err := unix.Sendto(x.socket, packet, 0, &to); err != nil {
		x.t.Fatalf("the attacker cannot send %d bytes: %v", len(packet), err)
	}
	if x.sent++; x.sent%100 == 0 {
		time.Sleep(10 * time.Millisecond) // the point is not to flood the machine that runs the test
	}
}

// udp sends a datagram.
func (x *attacker) udp(from, to netip.AddrPort, data []byte) {
	x.t.Helper()
	p := make([]byte, 28, 28+len(data))
	p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_UDP
	copy(p[12:], from.Addr().AsSlice())
	copy(p[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(p[20:], from.Port())
	binary.BigEndian.PutUint16(p[22:], to.Port())
	binary.BigEndian.PutUint16(p[24:], uint16(8+len(data))) // no checksum: RFC 768 allows it
	x.raw(append(p, data...))
}

// noise is some random bytes.
func (x *attacker) noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(x.random.Uint32())
	}
	return b
}

// header is an IKE header (RFC 7296 3.1), with the length of what follows it.
func header(spiI, spiR uint64, next, version, exchange, flags byte, id uint32, body []byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, spiI)
	b = binary.BigEndian.AppendUint64(b, spiR)
	b = append(b, next, version, exchange, flags)
	b = binary.BigEndian.AppendUint32(b, id)
	b = binary.BigEndian.AppendUint32(b, uint32(28+len(body)))
	return append(b, body...)
}

// payload is a generic payload header (RFC 7296 3.2) and a body.
func payload(next byte, body []byte) []byte {
	return append([]byte{next, 0, byte((4 + len(body)) >> 8), byte(4 + len(body))}, body...)
}

// Numbers of RFC 7296 and the registry.
const (
	versionIKEv1, version2, version3    = 0x10, 0x20, 0x30
	initExchange, authExchange, inform  = 34, 35, 37
	fromInitiator, isResponse           = 0x08, 0x20
	payloadSA, payloadKE, payloadNonce  = 33, 34, 40
	payloadNotify                       = 41
	natSource, natDestination           = 16388, 16389
	payloadSK                           = 46
	groupMODP1024, groupX25519          = 2, 31
	transformAES256GCM, transformSHA256 = 20, 5
)

// firstMessage is a well-formed IKE_SA_INIT request, with a proposal of the given group and a public value for it.
func firstMessage(spi uint64, group byte, public, nonce []byte) []byte {
	transforms := []byte{
		3, 0, 0, 12, 1, 0, 0, transformAES256GCM, 0x80, 14, 1, 0, // ENCR_AES_GCM_16 of 256 bits
		3, 0, 0, 8, 2, 0, 0, transformSHA256,
		0, 0, 0, 8, 4, 0, 0, group,
	}
	proposal := append([]byte{0, 0, 0, byte(8 + len(transforms)), 1, 1, 0, 3}, transforms...)
	body := payload(payloadKE, proposal)
	body = append(body, payload(payloadNonce, append([]byte{0, group, 0, 0}, public...))...)
	body = append(body, payload(payloadNotify, nonce)...)
	natDetection := make([]byte, 4+20) // of a peer behind a NAT: no hash of addresses is zero
	binary.BigEndian.PutUint16(natDetection[2:], natSource)
	body = append(body, payload(payloadNotify, natDetection)...)
	binary.BigEndian.PutUint16(natDetection[2:], natDestination)
	body = append(body, payload(0, natDetection)...)
	return header(spi, 0, payloadSA, version2, initExchange, fromInitiator, 0, body)
}

// marked is an IKE message for port 4500, with the non-ESP marker (RFC 3948 2.2).
func marked(b []byte) []byte { return append(make([]byte, 4), b...) }

// TestRobustHostile sends to a running pair what no honest peer sends, from anywhere and in the name of each other. The
// tunnel does not notice, the counters tell of all of it, the log hardly, and nothing is left of it.
//
// Cases: BUG-04; BUG-20; BUG-31; SGW.I.1.3.4.1; Ipsec.Conf.2.1.10; FCS_IPSEC_EXT.1.5; TestMalformedMessages;
// impair-41-log-rate-limit.
func TestRobustHostile(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: OneToOne})
	a, b := matches[2].start(t, ref, referenceA, referenceB)
	culvertA := a.(*Culvert)
	x := newAttacker(t, ref.Router)
	sa := settled(t, a, b, soon, nil)

	wire := ref.Net.Capture(ref.A.Uplink)
	ping, err := ref.B.Client.Ping(ref.A.Client.Addr(), Ping{Count: 50})
	Must(t, err, wire.Stop())
	replay := espOf(t, wire, ref.A.Public)

	pinger, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{})
	Must(t, err)
	answers(t, pinger, 20)
	lines := strings.Count(a.Log(), "\n")
	peer, stranger := sa.Remote, netip.MustParseAddrPort("198.51.100.7:4500")
	port500, port4500 := netip.AddrPortFrom(ref.A.Public, 500), netip.AddrPortFrom(ref.A.Public, 4500)

	// each does something so many times, in the name of the peer and of a stranger, and has it counted under all these
	// reasons together at least as often.
	each := func(what string, times int, reasons []string, do func(n int, from netip.AddrPort)) {
		t.Helper()
		counted := func() (sum uint64) {
			status, err := culvertA.Status()
			Must(t, err)
			for _, r := range reasons {
				sum += status.Drops[r] + status.IKEDrops[r]
			}
			return sum
		}
		before := counted()
		for n := range times {
			do(n, peer)
			do(n, stranger)
		}
		if !eventually(soon, func() bool { return counted() >= before+uint64(2*times) }) {
			status, err := culvertA.Status()
			Must(t, err)
			t.Errorf("%s: sent %d, of which only %d are counted under %q\n%v\n%v", what, 2*times, counted()-before, reasons, status.Drops, status.IKEDrops)
		}
	}
	ours, theirs := sa.SPIr, sa.SPIi // A answered the first message
	spiIn := binary.BigEndian.AppendUint32(nil, sa.Children[0].SPIIn)
	malformed := []string{"malformed header", "malformed message", "malformed IKE_SA_INIT", "unknown IKE SPI", "IKEv1", "unknown major version",
		"mailbox-unknown-full"}

	each("noise on port 500", 300, append(malformed, "in-junk"), func(n int, from netip.AddrPort) {
		x.udp(from, port500, x.noise(n))
	})
	each("noise on port 4500", 300, []string{"in-junk", "in-unknown-spi", "esp-short"}, func(n int, from netip.AddrPort) {
		b := x.noise(2 + n)
		b[0] |= 1 // not the non-ESP marker
		x.udp(from, port4500, b)
	})
	each("noise behind the marker", 300, append(malformed, "in-junk"), func(n int, from netip.AddrPort) {
		x.udp(from, port4500, marked(x.noise(n)))
	})
	whole := firstMessage(77, groupX25519, x.noise(32), x.noise(32))
	each("IKE_SA_INIT cut off", len(whole), append(malformed, "in-junk"), func(n int, from netip.AddrPort) {
		x.udp(from, port500, whole[:n])
	})
	each("IKE_SA_INIT cut off, and its length made right", len(whole)-28, malformed, func(n int, from netip.AddrPort) {
		x.udp(from, port500, header(78, 0, payloadSA, version2, initExchange, fromInitiator, 0, whole[28:28+n]))
	})
	each("IKEv1", 100, []string{"IKEv1", "mailbox-unknown-full"}, func(n int, from netip.AddrPort) {
		const mainMode, aggressive = 2, 4
		x.udp(from, port500, header(uint64(n+1), 0, 1, versionIKEv1, mainMode, 0, 0, x.noise(100)))
		x.udp(from, port4500, marked(header(uint64(n+1), 0, 1, versionIKEv1, aggressive, 0, 0, x.noise(100))))
	})
	each("a version to come", 100, []string{"unknown major version", "mailbox-unknown-full"}, func(n int, from netip.AddrPort) {
		x.udp(from, port500, header(uint64(n+1), 0, payloadSA, version3, initExchange, fromInitiator, 0, x.noise(100)))
	})
	each("messages of an unknown IKE SA", 200, []string{"unknown IKE SPI", "mailbox-unknown-full"}, func(n int, from netip.AddrPort) {
		x.udp(from, port4500, marked(header(theirs+1, ours+1, payloadSK, version2, inform, fromInitiator, uint32(n), payload(0, x.noise(60)))))
	})
	forged := []string{"integrity check failed", "message ID outside the window", "malformed message", "mailbox-known-full"}
	each("forged messages of the IKE SA", 200, forged, func(n int, from netip.AddrPort) {
		x.udp(from, port4500, marked(header(theirs, ours, payloadSK, version2, inform, fromInitiator, uint32(n%8), payload(0, x.noise(60)))))
	})
	each("ESP of an unknown SA", 300, []string{"in-unknown-spi"}, func(n int, from netip.AddrPort) {
		b := x.noise(100)
		copy(b, spiIn)
		b[0] ^= 0x80
		x.udp(from, port4500, b)
	})
	each("ESP too short", 30, []string{"esp-short", "in-junk"}, func(n int, from netip.AddrPort) {
		x.udp(from, port4500, append(spiIn, x.noise(n)...))
	})
	each("forged ESP", 300, []string{"esp-integrity", "esp-replay", "esp-old"}, func(n int, from netip.AddrPort) {
		b := append(append([]byte{}, spiIn...), 0, 0, byte(n>>3), byte(n))
		if n%2 == 0 {
			b[4] = 0x70 // far ahead: the window must not move
		}
		x.udp(from, port4500, append(b, x.noise(80)...))
	})
	each("ESP again", len(replay), []string{"esp-replay", "esp-old"}, func(n int, from netip.AddrPort) {
		p := append([]byte{}, replay[n]...)
		copy(p[12:16], from.Addr().AsSlice())
		p[26], p[27] = 0, 0 // the checksum covers the address
		x.raw(p)
	})
	if len(replay) < 50 || ping.Lost() != 0 {
		t.Errorf("only %d packets were there to be sent again, of %v", len(replay), ping)
	}

	answers(t, pinger, 20)
	if r := pinger.Stop(); r.Lost() != 0 || r.Doubles != 0 {
		t.Errorf("%v, %d doubles while %d hostile packets arrived\n%s", r, r.Doubles, x.sent, tails(a, b))
	}
	if more := strings.Count(a.Log(), "\n") - lines; more > 100 {
		t.Errorf("%d hostile packets made %d lines of log\n%s", x.sent, more, tails(a))
	}
	now := settled(t, a, b, soon, nil)
	if now.SPIi != sa.SPIi || now.Children[0].SPIIn != sa.Children[0].SPIIn || now.Remote != sa.Remote {
		t.Errorf("the SAs are others than before:\n%+v\n%+v", sa, now)
	}
	alone(t, a, b)
}

// TestRobustStrangers has strangers begin what they do not finish, or cannot. A keeps little and writes little of it, the
// tunnel goes on, and after a while nothing is left.
func TestRobustStrangers(t *testing.T) {
	t.Parallel()
	ref := NewReference(t, Plan{B: OneToOne})
	a, b := matches[2].start(t, ref, referenceA, referenceB)
	culvertA := a.(*Culvert)
	x := newAttacker(t, ref.Router)
	pinger, err := ref.B.Client.StartPing(ref.A.Client.Addr(), Ping{})
	Must(t, err)
	answers(t, pinger, 20)
	lines := strings.Count(a.Log(), "\n")
	port500 := netip.AddrPortFrom(ref.A.Public, 500)
	const many = 3000
	for n := range many {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(n)}), uint16(1024+n))
		x.udp(from, port500, firstMessage(uint64(n+1), groupX25519, x.noise(32), x.noise(32)))
		x.udp(from, port500, firstMessage(uint64(many+n+1), groupMODP1024, x.noise(128), x.noise(32))) // not acceptable
	}
	answers(t, pinger, 20)
	status, err := culvertA.Status()
	Must(t, err)
	// Nobody showed a cookie: beyond the threshold nothing is kept.
	if n := len(status.Strangers); n > 30 {
		t.Errorf("%d strangers are remembered, want no more than 30", n)
	}
	if n := len(status.Refused); n == 0 || n > 100 {
		t.Errorf("%d refusals are remembered, want some, but no more than 100", n)
	}
	// One that is known gets through in spite of them.
	Must(t, b.RekeyIKE("site"), b.RekeyChild("net"))
	if r := pinger.Stop(); r.Lost() != 0 {
		t.Errorf("%v while %d strangers called\n%s", r, many, tails(a, b))
	}
	if !eventually(2*soon, func() bool {
		status, err = culvertA.Status()
		Must(t, err)
		return len(status.Strangers) == 0
	}) {
		t.Errorf("%d strangers are still remembered", len(status.Strangers))
	}
	if more := strings.Count(a.Log(), "\n") - lines; more > 200 {
		t.Errorf("%d strangers made %d lines of log\n%s", many, more, tails(a))
	}
	alone(t, a, b)
}

// espOf are the packets of ESP in UDP to an address, out of a capture.
func espOf(t *testing.T, c *Capture, to netip.Addr) (packets [][]byte) {
	t.Helper()
	file, err := os.ReadFile(c.Path)
	Must(t, err)
	const fileHeader, recordHeader, ethernet, udpESP = 24, 16, 14, 28 + 8
	for rest := file[fileHeader:]; len(rest) > recordHeader; {
		n := int(binary.NativeEndian.Uint32(rest[8:]))
		frame := rest[recordHeader : recordHeader+n]
		rest = rest[recordHeader+n:]
		if n < ethernet+udpESP || frame[12] != 8 || frame[13] != 0 {
			continue
		}
		p := frame[ethernet:]
		isESP := p[0] == 0x45 && p[9] == unix.IPPROTO_UDP && binary.BigEndian.Uint16(p[22:]) == 4500 && binary.BigEndian.Uint32(p[28:]) != 0
		if isESP && netip.AddrFrom4([4]byte(p[16:20])) == to {
			packets = append(packets, p[:binary.BigEndian.Uint16(p[2:])])
		}
	}
	return packets
}
