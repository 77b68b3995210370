package tuntest

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/culvert-vpn/culvert/tun"
)

func TestBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New("culvert0", 1400, 2)
		if d.Name() != "culvert0" || d.MTU() != 1400 || len(d.Queues()) != 2 {
			t.Errorf("%s, %d, %d", d.Name(), d.MTU(), len(d.Queues()))
		}
		packet := []byte{0x45, 1, 2, 3}
		if err := d.Queue(1).Send(tun.Super{Packet: packet}); err != nil {
			t.Fatal(err)
		}
		clear(packet) // Send keeps a copy
		buf := make([]byte, tun.Headroom+100)
		s, err := d.Queues()[1].Read(buf)
		if err != nil || !bytes.Equal(s.Packet, []byte{0x45, 1, 2, 3}) || &s.Packet[0] != &buf[tun.Headroom] {
			t.Errorf("%x, %v", s.Packet, err)
		}
		if err := d.Queues()[0].Write(tun.Super{Packet: []byte{1, 2}}, [][]byte{{3}, nil, {4, 5}}); err != nil {
			t.Fatal(err)
		}
		if got := <-d.Queue(0).Received(); !bytes.Equal(got, []byte{1, 2, 3, 4, 5}) {
			t.Errorf("%x", got)
		}
	})
}

func TestWriteCuts(t *testing.T) {
	header := make([]byte, 28) // IPv4, UDP
	header[0], header[9] = 0x45, 17
	s := tun.Super{Packet: header, GSO: tun.GSOUDP, HdrLen: 28, SegmentSize: 4, NeedsChecksum: true, ChecksumStart: 20, ChecksumOffset: 6}
	q := NewQueue()
	if err := q.Write(s, [][]byte{[]byte("aaaabb"), []byte("bbcc")}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"aaaa", "bbbb", "cc"} {
		p := <-q.Received()
		if string(p[28:]) != want || int(binary.BigEndian.Uint16(p[2:])) != 28+len(want) {
			t.Errorf("segment %d: %x, want %q", i, p, want)
		}
	}
	s.HdrLen = 27
	if err := q.Write(s, nil); err != tun.ErrMalformed {
		t.Errorf("malformed: %v", err)
	}
}

func TestLimits(t *testing.T) {
	q := NewQueue()
	for range queueLength {
		if err := q.Write(tun.Super{Packet: []byte{1}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Write(tun.Super{Packet: []byte{1}}, nil); err != tun.ErrNoBuffers {
		t.Errorf("a full queue: %v", err)
	}
	if err := q.Send(tun.Super{Packet: []byte{1, 2, 3}}); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Read(make([]byte, tun.Headroom+2)); err != io.ErrShortBuffer {
		t.Errorf("a short buffer: %v", err)
	}
}

func TestCloseUnblocksRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New("culvert0", 1400, 1)
		go func() {
			time.Sleep(time.Hour)
			d.Close()
		}()
		q := d.Queue(0)
		if _, err := q.Read(make([]byte, 10)); err != os.ErrClosed {
			t.Errorf("Read: %v", err)
		}
		if err := q.Write(tun.Super{Packet: []byte{1}}, nil); err != os.ErrClosed {
			t.Errorf("Write: %v", err)
		}
		if err := q.Send(tun.Super{Packet: []byte{1}}); err != os.ErrClosed {
			t.Errorf("Send: %v", err)
		}
	})
}
