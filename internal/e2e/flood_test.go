//go:build linux

package e2e

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// flooder sends first messages, and what only looks like them, to a gateway from an address and a port of its own each, as fast as
// it is told to or as the machine gives. It sits on the router before the gateway, hears what comes back, and keeps account
// of it for each of the addresses.
type flooder struct {
	t        *testing.T
	frames   []floodFrame
	out, in  int // sockets
	perSec   int
	began    time.Time
	stopping chan struct{}
	done     sync.WaitGroup

	sent      uint32
	bytesSent uint64
	// device is the gateway's end of the cable; what it had counted before the flood is before.
	device func() netlink.LinkStatistics
	before netlink.LinkStatistics
	// returned is how many bytes came back to the sender of each message, answers how many messages did so in all.
	returned  []uint16
	answers   uint64
	bytesBack uint64
}

// floodFrame is one kind of message as a frame, in which the addresses and what is random are filled in.
type floodFrame struct {
	name  string
	bytes []byte
	noise [][2]int // where it is random
}

const (
	// floodNet is where the messages come from: nobody is there.
	floodNet = "198.18.0.0/15"
	// floodMost is how many messages a flood can have.
	floodMost = 8 << 20

	frameIP, frameUDP, frameIKE = 14, 14 + 20, 14 + 20 + 8
)

// flood starts to send so many messages a second to the gateway.
func (g *Gateway) flood(t *testing.T, perSec int) *flooder {
	t.Helper()
	router := g.Uplink.B
	// What comes back ends here: the router would answer that there is no way to go on.
	router.nft("table ip flood {\nchain in {\ntype filter hook prerouting priority raw;\nip daddr " + floodNet + " drop\n}\n}\n")
	f := &flooder{t: t, perSec: perSec, stopping: make(chan struct{}), returned: make([]uint16, floodMost)}
	near, err := router.Netlink().LinkByName(g.Uplink.A.Name)
	Must(t, err)
	far, err := g.Uplink.A.Netlink().LinkByName(router.Name)
	Must(t, err)
	Must(t, router.Do(func() (err error) {
		if f.out, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		f.in, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	}))
	index := near.Attrs().Index
	f.device = func() netlink.LinkStatistics {
		link, err := g.Uplink.A.Netlink().LinkByIndex(far.Attrs().Index)
		Must(t, err)
		return *link.Attrs().Statistics
	}
	f.before = f.device()
	Must(t, unix.Bind(f.out, &unix.SockaddrLinklayer{Ifindex: index}),
		unix.SetsockoptInt(f.in, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(f.in, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer),
		unix.SetsockoptTimeval(f.in, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}),
		unix.Bind(f.in, &unix.SockaddrLinklayer{Ifindex: index, Protocol: bits.ReverseBytes16(unix.ETH_P_IP)}))
	ethernet := append(append(append([]byte{}, far.Attrs().HardwareAddr...), near.Attrs().HardwareAddr...), 8, 0)
	f.frames = floodFrames(ethernet, g.Public)
	f.began = time.Now()
	f.done.Go(f.send)
	f.done.Go(f.hear)
	t.Cleanup(f.stop)
	return f
}

// floodFrames are the kinds: most are as good as those of an honest peer that begins.
func floodFrames(ethernet []byte, to netip.Addr) (list []floodFrame) {
	add := func(name string, port uint16, message []byte, noise ...[2]int) {
		ip := make([]byte, 20)
		ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
		binary.BigEndian.PutUint16(ip[2:], uint16(28+len(message)))
		copy(ip[16:], to.AsSlice())
		udp := binary.BigEndian.AppendUint16(nil, 0)
		udp = binary.BigEndian.AppendUint16(udp, port)
		udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(message)))
		udp = append(udp, 0, 0) // no checksum: RFC 768 allows it
		frame := append(append(append([]byte{}, ethernet...), ip...), udp...)
		for i := range noise {
			noise[i][0] += len(frame)
			noise[i][1] += len(frame)
		}
		list = append(list, floodFrame{name, append(frame, message...), noise})
	}
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rand.Uint32()) | 1
		}
		return b
	}
	first := firstMessage(1, groupX25519, random(32), random(32))
	spi, nonce := [2]int{0, 8}, [2]int{len(first) - 2*28 - 32, len(first) - 2*28} // before two notifies of 28 bytes
	add("a first message", 500, first, spi, nonce)
	add("a first message", 500, first, spi, nonce)
	add("a first message", 500, first, spi, nonce)
	add("a first message on port 4500", 4500, marked(first), [2]int{4, 12}, [2]int{nonce[0] + 4, nonce[1] + 4})
	// A cookie of somebody else's: version and MAC (RFC 7296 2.6).
	const cookie = 16390
	notify := payload(payloadSA, append([]byte{0, 0, cookie >> 8, cookie & 255}, random(17)...))
	cookied := header(1, 0, payloadNotify, version2, initExchange, fromInitiator, 0, append(notify, first[28:]...))
	add("a wrong cookie", 500, cookied, spi, [2]int{36, 53})
	add("a group that nobody has", 500, firstMessage(1, groupMODP1024, random(128), random(32)), spi)
	add("a message that is cut off", 500, header(1, 0, payloadSA, version2, initExchange, fromInitiator, 0, first[28:len(first)-40]), spi)
	add("IKE_AUTH of no IKE SA", 500, header(1, 1, payloadSK, version2, authExchange, fromInitiator, 1, payload(0, random(200))), [2]int{0, 16}, [2]int{32, 232})
	return list
}

// stop ends the flood, and what is on its way still comes.
func (f *flooder) stop() {
	select {
	case <-f.stopping:
		return
	default:
	}
	close(f.stopping)
	f.done.Wait()
	unix.Close(f.in)
	unix.Close(f.out)
}

func (f *flooder) stopped() bool {
	select {
	case <-f.stopping:
		return true
	default:
		return false
	}
}

// send sends until the flood is stopped.
func (f *flooder) send() {
	random := rand.New(rand.NewPCG(1, 2))
	for !f.stopped() {
		due := uint32(time.Since(f.began).Seconds() * float64(f.perSec))
		for f.sent < min(due, floodMost) {
			frame := &f.frames[f.sent%uint32(len(f.frames))]
			frame.fill(f.sent, random)
			if err := unix.Send(f.out, frame.bytes, 0); err != nil {
				if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EAGAIN) {
					break
				}
				f.t.Errorf("the flood cannot send: %v", err)
				return
			}
			f.sent++
			f.bytesSent += uint64(len(frame.bytes) - frameIP)
		}
		time.Sleep(time.Millisecond)
	}
}

// fill makes the n-th message of the flood of a frame, from 198.18.0.0 on.
func (m *floodFrame) fill(n uint32, random *rand.Rand) {
	ip := m.bytes[frameIP:frameUDP]
	binary.BigEndian.PutUint32(ip[12:], 198<<24|18<<16|n&0x1ffff)
	ip[10], ip[11] = 0, 0
	sum := uint32(0)
	for i := 0; i < len(ip); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	sum = sum&0xffff + sum>>16
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(m.bytes[frameUDP:], uint16(1024+n>>17))
	for _, at := range m.noise {
		for i := at[0]; i < at[1]; i += 4 {
			var word [4]byte
			binary.LittleEndian.PutUint32(word[:], random.Uint32()|1)
			copy(m.bytes[i:at[1]], word[:])
		}
	}
}

// hear counts what comes back, until nothing does any more.
func (f *flooder) hear() {
	buf := make([]byte, 2048)
	for {
		n, err := unix.Read(f.in, buf)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			if f.stopped() {
				return
			}
			continue
		}
		if err != nil {
			f.t.Errorf("the flood hears nothing: %v", err)
			return
		}
		if n < frameIKE || buf[frameIP] != 0x45 || buf[frameIP+9] != unix.IPPROTO_UDP || buf[frameIP+16] != 198 || buf[frameIP+17]&^1 != 18 {
			continue
		}
		number := binary.BigEndian.Uint32(buf[frameIP+16:])&0x1ffff | uint32(binary.BigEndian.Uint16(buf[frameUDP+2:])-1024)<<17
		length := binary.BigEndian.Uint16(buf[frameIP+2:])
		if number >= floodMost {
			f.t.Errorf("an answer to somebody who asked for nothing")
			continue
		}
		f.returned[number] += length
		f.answers++
		f.bytesBack += uint64(length)
	}
}

// check reports senders to whom more came back than they had sent, and whether the gateway sent more than it received. The flood
// is over by then.
func (f *flooder) check() {
	f.t.Helper()
	if now := f.device(); now.TxBytes-f.before.TxBytes > now.RxBytes-f.before.RxBytes || now.RxBytes-f.before.RxBytes < f.bytesSent {
		f.t.Errorf("the gateway's interface counts %d bytes out and %d in, of which the flood sent %d",
			now.TxBytes-f.before.TxBytes, now.RxBytes-f.before.RxBytes, f.bytesSent)
	}
	bad := 0
	for n, back := range f.returned[:f.sent] {
		frame := &f.frames[n%len(f.frames)]
		if int(back) > len(frame.bytes)-frameIP {
			if bad++; bad <= 5 {
				f.t.Errorf("%d bytes came back for %s of %d", back, frame.name, len(frame.bytes)-frameIP)
			}
		}
	}
	if bad > 0 {
		f.t.Errorf("%d of %d senders got more back than they sent", bad, f.sent)
	}
}
