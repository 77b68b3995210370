package suite

import (
	"errors"
	"io"
	"runtime"

	"github.com/cloudflare/circl/dh/x448"
)

// KE is a key exchange method (RFC 7296 transform type 4). The values are stateless and safe for concurrent use.
type KE interface {
	// ID is the transform ID, which is also the number in the KE payload.
	ID() uint16
	// Offer draws a private value from rand and returns it with the public value for the KE payload. The error is that of
	// rand.
	Offer(rand io.Reader) (priv KEPrivate, public []byte, err error)
	// Answer is the responder's half: it draws a private value, which it forgets, and returns the public value for the
	// reply and the shared secret g^ir. The caller zeroes secret. A public value that must be refused is ErrPublic.
	Answer(rand io.Reader, offer []byte) (public, secret []byte, err error)
}

// KEPrivate is the initiator's private value while it waits for the answer. It must be used once only: RFC 6989 2 demands
// more checks of those who use it again.
type KEPrivate interface {
	// Finish makes the shared secret g^ir from the responder's public value; ErrPublic if that must be refused. The caller
	// zeroes secret.
	Finish(answer []byte) (secret []byte, err error)
	// Zero forgets the private value; Finish then fails.
	Zero()
}

var (
	errForgotten = errors.New("suite: the private key exchange value was zeroed")
	errRandom    = errors.New("suite: the source of randomness gives no usable private key exchange value")
)

// NewKE returns the key exchange method with a transform ID, or ErrUnsupported.
func NewKE(id uint16) (KE, error) {
	if id == CURVE25519 && runtime.GOARCH == "amd64" {
		return curve25519{}, nil
	}
	if c, ok := curveOf(id); ok {
		return c, nil
	}
	if g, ok := modpOf(id); ok {
		return g, nil
	}
	if c, ok := brainpoolOf(id); ok {
		return c, nil
	}
	if id == CURVE448 {
		return curve448{}, nil
	}
	return nil, ErrUnsupported
}

// KEPublicLen is the length in bytes of the public value of a method, both ways alike; 0 if Culvert does not implement it.
func KEPublicLen(id uint16) int {
	if c, ok := curveOf(id); ok {
		return c.publicLen()
	}
	if g, ok := modpOf(id); ok {
		return g.size()
	}
	if c, ok := brainpoolOf(id); ok {
		return c.publicLen()
	}
	if id == CURVE448 {
		return x448.Size
	}
	return 0
}

// answer is Answer for every method here: an offer of one's own, finished at once.
func answer(k KE, rand io.Reader, offer []byte) (public, secret []byte, err error) {
	if len(offer) != KEPublicLen(k.ID()) {
		return nil, nil, ErrPublic
	}
	priv, public, err := k.Offer(rand)
	if err != nil {
		return nil, nil, err
	}
	defer priv.Zero()
	secret, err = priv.Finish(offer)
	if err != nil {
		return nil, nil, err
	}
	return public, secret, nil
}
