package suite

import "io"

// KE is a key exchange method (RFC 7296 transform type 4).
type KE interface {
	// ID is the transform ID, which is also the number in the KE payload.
	ID() uint16
	// Offer draws a private value from rand and returns it with the public value for the KE payload.
	Offer(rand io.Reader) (priv KEPrivate, public []byte, err error)
	// Answer is the responder's half: it draws a private value of its own, which it forgets, and returns the public value
	// for the reply and the shared secret g^ir. The caller zeroes secret. A public value that must be refused is ErrPublic.
	Answer(rand io.Reader, offer []byte) (public, secret []byte, err error)
}

// KEPrivate is the initiator's private value while it waits for the answer.
type KEPrivate interface {
	// Finish makes the shared secret g^ir from the responder's public value; ErrPublic if that must be refused. The caller
	// zeroes secret.
	Finish(answer []byte) (secret []byte, err error)
	// Zero forgets the private value; Finish then fails.
	Zero()
}
