package ike

import "testing"

// BenchmarkStranger is what one message of a stranger costs under load, the making of the message included.
func BenchmarkStranger(b *testing.B) {
	for _, kind := range []string{"good", "a wrong cookie", "no nonce", "IKE_AUTH", "an answer"} {
		b.Run(kind, func(b *testing.B) {
			// A script reports to a test; there is nothing to report here.
			s := newScript(&testing.T{}, nil)
			stranger := strangers(s)[kind]
			s.keepLoad()
			path := s.path
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				path.Remote = address(n)
				s.Handle(s.now, Datagram{Path: path, Data: stranger(n)})
			}
		})
	}
}
