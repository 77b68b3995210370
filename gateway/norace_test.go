//go:build !race

package gateway

import (
	"testing"

	"github.com/culvert-vpn/culvert/internal/inet/inettest"
	"github.com/culvert-vpn/culvert/tun"
)

const raceEnabled = false

// Merging allocates nothing once the table is there.
func TestWriterAllocatesNothing(t *testing.T) {
	d := inettest.NewDice(nil)
	w := &writer{queues: []tun.Queue{&nullQueue{}}, counters: new(counters), merge: true}
	var packets [][]byte
	list := flows(d, 4)
	for range 20 {
		for i := range list {
			list[i].Payload = d.Bytes(64)
			packets = append(packets, list[i].Bytes())
			list[i].Seq += 64
			list[i].ID++
		}
	}
	buf := make([]byte, 0, 1<<16)
	all := func() {
		buf = buf[:0]
		for _, b := range packets {
			start := len(buf)
			buf = append(buf, b...)
			put(t, w, buf[start:])
		}
		w.flush()
	}
	if n := testing.AllocsPerRun(100, all); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
