package suite

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"testing"
)

// FuzzX25519 compares the X25519 of circl with that of the standard library: the same public value, the same secret, the same refusals.
func FuzzX25519(f *testing.F) {
	r := rand.NewChaCha8([32]byte{25})
	for _, public := range []string{
		// The points of low order, what is not reduced, and the same with the bit that does not count (RFC 7748 5).
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"0900000000000000000000000000000000000000000000000000000000000000",
		"0900000000000000000000000000000000000000000000000000000000000080",
	} {
		b, err := hex.DecodeString(public)
		if err != nil {
			f.Fatal(err)
		}
		private := make([]byte, 32)
		r.Read(private)
		f.Add(private, b)
	}
	f.Fuzz(func(t *testing.T, private, public []byte) {
		std, _ := curveOf(CURVE25519)
		a, pubA, errA := std.Offer(bytes.NewReader(private))
		b, pubB, errB := curve25519{}.Offer(bytes.NewReader(private))
		if (errA == nil) != (errB == nil) || !bytes.Equal(pubA, pubB) {
			t.Fatalf("public values %x (%v) and %x (%v)", pubA, errA, pubB, errB)
		}
		if errA != nil {
			return
		}
		secretA, errA := a.Finish(public)
		secretB, errB := b.Finish(public)
		if errA != errB || !bytes.Equal(secretA, secretB) {
			t.Fatalf("secrets %x (%v) and %x (%v)", secretA, errA, secretB, errB)
		}
		b.Zero()
		if _, err := b.Finish(public); err != errForgotten || b.(*curve25519Private).key != [32]byte{} {
			t.Error("a private value that was zeroed is there still")
		}
	})
}

// BenchmarkX25519 is what a responder computes.
func BenchmarkX25519(b *testing.B) {
	std, _ := curveOf(CURVE25519)
	for _, c := range []struct {
		name string
		KE
	}{{"std", std}, {"circl", curve25519{}}} {
		b.Run(c.name, func(b *testing.B) {
			r := rand.NewChaCha8([32]byte{1})
			_, offer, err := c.Offer(r)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, _, err := c.Answer(r, offer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
