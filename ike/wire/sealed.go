package wire

import (
	"errors"

	"github.com/culvert-vpn/culvert/suite"
)

// ErrNotSealed is returned for a message without an Encrypted payload.
var ErrNotSealed = errors.New("message is not encrypted")

// AppendSealed appends to b a message whose only payload is SK{inner}, protected by c under seq, which must
// never be used twice with c. RFC 7296 3.14 for a block cipher with a MAC, RFC 5282 3 and 5 for an AEAD: in
// both the integrity covers everything from the IKE header on. It panics as AppendMessage does.
func AppendSealed(b []byte, h Header, inner []Payload, c suite.Cipher, seq uint64) []byte {
	start := len(b)
	h.Next = TypeSK
	b = h.append(b)
	sk := len(b)
	b = append(b, byte(firstType(inner)), 0, 0, 0)
	head := len(b) - start
	b = append(b, make([]byte, c.IVLen())...)
	plain := len(b)
	b = appendChain(b, inner)
	return sealFrom(b, start, sk, head, len(b)-plain, c, seq)
}

// sealFrom completes a message that begins at start of b and ends with n bytes of plaintext: padding, ICV and lengths. Its
// last payload begins at payload, and head bytes of the message stay in the clear.
func sealFrom(b []byte, start, payload, head, n int, c suite.Cipher, seq uint64) []byte {
	// The smallest padding that aligns plaintext, padding and Pad Length; none for an AEAD.
	padding := padLen(n+1, c.BlockLen())
	b = append(b, make([]byte, padding)...)
	b = append(b, byte(padding))
	b = append(b, make([]byte, c.TagLen())...)
	putLength(b[payload:])
	putMessageLength(b[start:])
	c.Seal(b[start:], head, seq, false)
	return b
}

// padLen is the number of bytes missing from n to a multiple of block.
func padLen(n, block int) int { return (block - n%block) % block }

// OpenSealed decrypts in place the SK payload of m, which Parse made from msg, and parses what is inside. The
// payloads borrow from msg. A second call for the same msg fails, for the ciphertext is gone.
//
// A *SyntaxError or *UnknownCritical says something about content that the peer authenticated. Any other error
// is the cipher's or ErrNotSealed: the message is not known to be from the peer and must be dropped.
func OpenSealed(msg []byte, m *Message, c suite.Cipher) ([]Payload, error) {
	if m.Encrypted == nil {
		return nil, ErrNotSealed
	}
	head := m.Encrypted.Offset
	inner, err := openPadded(TypeSK, msg, head, c)
	if err != nil {
		return nil, err
	}
	return parseInner(m.Encrypted.Next, inner, head+c.IVLen())
}

// openPadded decrypts a message in place from head on and takes the padding off.
func openPadded(kind PayloadType, msg []byte, head int, c suite.Cipher) ([]byte, error) {
	plain, err := c.Open(msg, head, 0, false)
	if err != nil {
		return nil, err
	}
	inner, ok := unpad(plain)
	if !ok {
		return nil, &SyntaxError{kind, len(msg) - c.TagLen() - 1, "pad length exceeds the content"}
	}
	return inner, nil
}

// unpad takes Padding and Pad Length off. Padding has any content and any length that fits (RFC 7296 3.14).
func unpad(plain []byte) ([]byte, bool) {
	n := len(plain) - 1
	if n < 0 || int(plain[n]) > n {
		return nil, false
	}
	return plain[:n-int(plain[n])], true
}
