//go:build !race

// The race detector allocates.

package psk

import "testing"

// TestDecoyDoesTheSameWork counts what dominates the time of a refusal: a lookup miss and a wrong secret compute the
// same function over the same bytes, so they allocate alike.
//
// Cases: BUG-03.
func TestDecoyDoesTheSameWork(t *testing.T) {
	prf, signed, auth := sha256PRF(t), make([]byte, 1000), make([]byte, 32)
	secret := store(t, "a qwerty @foo").Lookup(id(t, "@us"), id(t, "@foo"))[0]
	wrong := testing.AllocsPerRun(100, func() { secret.Verify(prf, signed, auth) })
	miss := testing.AllocsPerRun(100, func() { Secret{}.Verify(prf, signed, auth) })
	if wrong != miss || miss == 0 {
		t.Errorf("a wrong secret costs %v allocations, a miss %v", wrong, miss)
	}
}
