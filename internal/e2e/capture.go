//go:build linux

package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Capture records what crosses a cable, in both directions, into a pcap file in the scenario's directory.
type Capture struct {
	Path string

	host    *Host
	socket  *os.File
	file    *os.File
	stopped chan struct{}
	err     error // why recording ended early; to be read after stopped
}

const (
	pcapMagic    = 0xa1b23c4d // times in nanoseconds
	pcapEthernet = 1
	snapLen      = 1 << 16
	// Bytes that the kernel keeps while the recorder is not scheduled.
	captureBuffer = 32 << 20
)

// Capture starts to record a cable, at its end B. The file is named after the cable. Trains of segments, which the
// kernel otherwise moves as one packet larger than the MTU, cross the cable one by one from now on.
func (n *Net) Capture(l *Link) *Capture {
	n.t.Helper()
	l.separate()
	c := &Capture{
		Path: filepath.Join(n.dir, l.A.Name+"-"+l.B.Name+".pcap"),
		host: l.B, stopped: make(chan struct{}),
	}
	var err error
	c.file, err = os.Create(c.Path)
	Must(n.t, err)
	var header [24]byte
	binary.NativeEndian.PutUint32(header[0:], pcapMagic)
	binary.NativeEndian.PutUint16(header[4:], 2) // version 2.4
	binary.NativeEndian.PutUint16(header[6:], 4)
	binary.NativeEndian.PutUint32(header[16:], snapLen)
	binary.NativeEndian.PutUint32(header[20:], pcapEthernet)
	_, err = c.file.Write(header[:])
	Must(n.t, err, l.B.Do(func() (err error) {
		c.socket, err = packetSocket(l.A.Name)
		return err
	}))
	n.t.Cleanup(func() { _ = c.Stop() })
	go c.record()
	return c
}

// packetSocket sees every packet on an interface.
func packetSocket(device string) (*os.File, error) {
	ifi, err := net.InterfaceByName(device)
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", device, err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", device, err)
	}
	all := bits.ReverseBytes16(unix.ETH_P_ALL)
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 { // a big-endian machine: network order already
		all = unix.ETH_P_ALL
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("capture on %s: %w", device, err)
	}
	return os.NewFile(uintptr(fd), device), nil
}

// record writes packets to the file until the socket's deadline, which Stop sets.
func (c *Capture) record() {
	defer close(c.stopped)
	buf := make([]byte, snapLen)
	for {
		n, err := c.socket.Read(buf)
		if err == nil {
			err = c.write(buf[:n])
		}
		if errors.Is(err, unix.ENETDOWN) { // the cable was pulled; it may be plugged in again
			continue
		}
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				c.err = err
			}
			return
		}
	}
}

func (c *Capture) write(packet []byte) error {
	now := time.Now()
	record := make([]byte, 16, 16+len(packet))
	binary.NativeEndian.PutUint32(record[0:], uint32(now.Unix()))
	binary.NativeEndian.PutUint32(record[4:], uint32(now.Nanosecond()))
	binary.NativeEndian.PutUint32(record[8:], uint32(len(packet)))
	binary.NativeEndian.PutUint32(record[12:], uint32(len(packet)))
	_, err := c.file.Write(append(record, packet...))
	return err
}

// Stop ends the recording when everything that has crossed the cable is in the file. Stopping twice is no error.
func (c *Capture) Stop() error {
	select {
	case <-c.stopped:
		return nil
	default:
	}
	if err := c.socket.SetReadDeadline(time.Now()); err != nil {
		return err
	}
	<-c.stopped
	err := errors.Join(c.err, c.drain(), c.socket.Close(), c.file.Close())
	if err != nil {
		return fmt.Errorf("capture %s: %w", filepath.Base(c.Path), err)
	}
	return nil
}

// drain records what the socket still holds, and checks that it had room for everything.
func (c *Capture) drain() error {
	raw, err := c.socket.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		buf := make([]byte, snapLen)
		for inner == nil {
			var n int
			if n, inner = unix.Read(int(fd), buf); inner == nil {
				inner = c.write(buf[:n])
			}
		}
		if inner != unix.EAGAIN && inner != unix.ENETDOWN {
			return
		}
		var stats *unix.TpacketStats
		if stats, inner = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); inner == nil && stats.Drops > 0 {
			inner = fmt.Errorf("%d packets were lost", stats.Drops)
		}
	})
	return errors.Join(err, inner)
}
