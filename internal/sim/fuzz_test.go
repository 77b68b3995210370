package sim

import (
	"testing"
	"time"
)

// maxSteps bounds how long a list of operations is.
const maxSteps = 200

// FuzzOperations reads bytes as a list of operations on the reference case, two bytes for each: which one and to whom, and its
// argument. Whatever is done, both ends agree when it is over.
func FuzzOperations(f *testing.F) {
	step := func(name string, host, how byte) []byte {
		for i, o := range operations {
			if o.name == name {
				return []byte{byte(i)<<1 | host, how}
			}
		}
		panic(name)
	}
	const child, all, both, close, open, boot, lose, link, wait = "rekey the child", "rekey the IKE SA", "both rekey, or nearly at once", "close",
		"create", "reboot", "of the next eight messages, those are lost that have a bit", "the link changes", "5 ms to a minute pass"
	for _, seed := range [][][]byte{
		{},
		{step(child, 0, 0), step(child, 1, 0), step(wait, 0, 100)},
		{step(all, 0, 0), step(all, 1, 0), step(wait, 0, 100)},
		{step(child, 0, 0), step(wait, 0, 1), step(all, 1, 0), step(wait, 0, 100)},
		{step(close, 0, 0), step(wait, 0, 1), step(child, 1, 0), step(wait, 0, 200), step(open, 0, 0)},
		{step(lose, 0, 3), step(child, 0, 0), step(wait, 0, 1), step(child, 1, 0), step(lose, 0, 1), step(wait, 0, 255)},
		{step(boot, 0, 0), step(wait, 0, 255), step(boot, 1, 0), step(wait, 0, 255)},
		{step(link, 0, 9), step(all, 0, 0), step(child, 0, 0), step(wait, 0, 3), step(link, 0, 200), step(all, 1, 0), step(child, 1, 0)},
		{step(close, 1, 0), step(wait, 0, 5), step(close, 1, 1), step(wait, 0, 5), step(open, 0, 0), step(both, 0, 2), step(wait, 0, 50)},
	} {
		var list []byte
		for _, s := range seed {
			list = append(list, s...)
		}
		for _, world := range []uint8{0, 1, 9, 11} {
			f.Add(world, list)
		}
	}
	// And each operation by itself, in the middle of a rekeying.
	for i := range operations {
		f.Add(uint8(i), append(step(child, byte(i%2), 0), byte(i)<<1, byte(50*i)))
	}
	f.Fuzz(func(t *testing.T, world uint8, list []byte) {
		s := disorderly(t, uint64(world)%worlds)
		s.Traffic(conn, "net", time.Second, s.a, s.b)
		s.Run(time.Second)
		for n := 0; len(list) >= 2 && n < maxSteps; n++ {
			if i := int(list[0] >> 1); i < len(operations) {
				s.let(operations[i], int(list[0]&1), list[1])
			}
			list = list[2:]
		}
		s.rest()
	})
}
