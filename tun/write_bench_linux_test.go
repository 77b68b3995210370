package tun

import (
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// BenchmarkWrite has one goroutine, and one for each processor, write small packets that the host drops.
func BenchmarkWrite(b *testing.B) {
	if os.Geteuid() != 0 {
		lacking(b, "making a network namespace needs root")
	}
	runtime.LockOSThread() // and not unlocked, so that the thread ends with the namespace
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		b.Fatal(err)
	}
	d, err := Open(Options{Offload: true})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	link, err := netlink.LinkByName(d.Name())
	if err != nil {
		b.Fatal(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		b.Fatal(err)
	}
	packet := make([]byte, 92)
	packet[0], packet[3], packet[8], packet[9] = 0x45, 92, 64, 17
	write := func() {
		if err := d.Queues()[0].Write(Super{Packet: packet}, nil); err != nil {
			b.Error(err)
		}
	}
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			write()
		}
	})
	b.Run("all", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				write()
			}
		})
	})
}
