package tun

import (
	"encoding/binary"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// vnetHeader is the length of the virtio-net header before each packet (struct virtio_net_hdr, in the host's byte order):
// flags, GSO type, header length, segment size, checksum start, checksum offset.
const (
	vnetHeader = 10

	vnetNeedsChecksum = 1
	vnetECN           = 0x80 // flag in the GSO type: the first segment may carry CWR; Cut takes care of it always
)

// queue is one file of a TUN device.
type queue struct {
	file   *os.File
	raw    syscall.RawConn
	closed atomic.Bool

	read     reading
	writings sync.Pool // *writing
}

func newQueue(file *os.File) (*queue, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	q := &queue{file: file, raw: raw}
	q.read.wait, q.read.try = q.readOrWait, q.readOnce
	q.writings.New = newWriting
	return q, nil
}

func (q *queue) Close() error {
	if q.closed.Swap(true) {
		return os.ErrClosed
	}
	return q.file.Close()
}

// failure turns what a call returned into what Queue promises.
func (q *queue) failure(err error) error {
	if q.closed.Load() {
		return os.ErrClosed
	}
	switch err {
	case unix.EIO: // of a write only
		return ErrDown
	case unix.ENOBUFS, unix.ENOMEM:
		return ErrNoBuffers
	case unix.EINVAL: // the kernel does not find the headers that the description names
		return ErrMalformed
	}
	return os.NewSyscallError("tun", err)
}

func setIovec(v *unix.Iovec, b []byte) {
	v.Base = unsafe.SliceData(b)
	v.SetLen(len(b))
}

// decodeHeader reads the virtio-net header and checks it against the packet.
func decodeHeader(h, packet []byte) (Super, error) {
	s := Super{Packet: packet}
	s.GSO = GSO(h[1] &^ vnetECN)
	s.NeedsChecksum = h[0]&vnetNeedsChecksum != 0
	if s.Plain() {
		return s, nil
	}
	s.ChecksumStart = int(binary.NativeEndian.Uint16(h[6:]))
	s.ChecksumOffset = int(binary.NativeEndian.Uint16(h[8:]))
	if s.GSO != GSONone {
		s.SegmentSize = int(binary.NativeEndian.Uint16(h[4:]))
		s.HdrLen = s.headerLen()
	}
	if !s.valid() {
		return Super{}, ErrMalformed
	}
	return s, nil
}

// encodeHeader writes the virtio-net header of a packet that starts with s.Packet, which has all headers. It reports
// whether s can be described.
func encodeHeader(h []byte, s *Super) bool {
	if len(s.Packet) == 0 || !s.valid() {
		return false
	}
	clear(h)
	if s.Plain() {
		return true
	}
	h[0] = vnetNeedsChecksum
	h[1] = byte(s.GSO)
	binary.NativeEndian.PutUint16(h[2:], uint16(s.HdrLen))
	binary.NativeEndian.PutUint16(h[4:], uint16(s.SegmentSize))
	binary.NativeEndian.PutUint16(h[6:], uint16(s.ChecksumStart))
	binary.NativeEndian.PutUint16(h[8:], uint16(s.ChecksumOffset))
	return true
}
