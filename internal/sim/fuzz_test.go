package sim

import (
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike"
)

// maxSteps bounds how long a list of operations is.
const maxSteps = 200

// FuzzOperations reads bytes as a list of operations on the reference case, two bytes for each: what to do, and how. Whatever is
// done, both ends agree when it is over.
func FuzzOperations(f *testing.F) {
	for _, seed := range [][]byte{
		{},
		{0, 0, 1, 0, 10, 100},              // both rekey the child
		{2, 0, 3, 0, 10, 100},              // both rekey the IKE SA
		{0, 0, 10, 1, 3, 0, 10, 100},       // one the child, the other the IKE SA
		{4, 0, 10, 1, 1, 0, 10, 200, 6, 0}, // close against rekey
		{12, 3, 0, 0, 10, 1, 1, 0, 12, 1, 10, 255},             // both rekey, and messages are lost
		{8, 0, 10, 255, 9, 0, 10, 255},                         // both reboot
		{11, 9, 2, 0, 0, 0, 10, 3, 11, 200, 3, 0, 1, 0, 10, 9}, // heavy loss
		{13, 0, 10, 30, 13, 1, 14, 60, 0, 0},                   // the NAT box forgets, clocks step
		{5, 0, 10, 5, 7, 0, 10, 5, 6, 0, 2, 0, 3, 0, 10, 50},   // everything closed and opened
	} {
		f.Add(uint8(0), seed)
		f.Add(uint8(1), seed)
		f.Add(uint8(4), seed)
	}
	f.Fuzz(func(t *testing.T, kind uint8, list []byte) {
		s := disorderly(t, uint64(kind%8))
		s.Traffic(conn, child, time.Second, s.a, s.b)
		s.Run(time.Second)
		for n := 0; len(list) >= 2 && n < maxSteps; n++ {
			s.do(list[0], list[1])
			list = list[2:]
		}
		s.Lose = nil
		s.rest()
	})
}

// do carries out one operation; how is its argument.
func (s *scene) do(what, how byte) {
	hosts := []*Host{s.a, s.b}
	h := hosts[what%2]
	switch what % 16 {
	case 0, 1:
		h.Rekey(conn, child)
	case 2, 3:
		h.Rekey(conn, "")
	case 4, 5:
		h.Terminate(conn, []string{child, ""}[how%2])
	case 6, 7:
		h.Initiate(conn, child)
	case 8, 9:
		h.Reboot()
	case 10:
		// Steps of 5 ms to a minute.
		s.Run(5*time.Millisecond + time.Duration(how)*time.Duration(how)*time.Millisecond)
	case 11:
		s.Link.Loss, s.Link.Double = float64(how%64)/100, float64(how/64)/10
		s.Link.Jitter = time.Duration(how) * 5 * time.Millisecond
	case 12:
		// The next messages are lost, one for each bit.
		n := 0
		s.Lose = func(d *Datagram) bool {
			n++
			return n <= 8 && how>>(n-1)&1 == 1
		}
	case 13:
		for _, n := range s.nats {
			n.Rebind()
		}
	case 14:
		hosts[how%2].StepClock(time.Duration(how) * time.Minute)
	case 15:
		h.Give(ike.Acquire{Conn: conn, Child: child})
	}
}
