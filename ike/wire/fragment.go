package wire

import (
	"encoding/binary"
	"math"

	"github.com/culvert-vpn/culvert/suite"
)

// fragmentHeaderLen is the length of what an SKF payload has before its IV: the generic payload header, Fragment
// Number and Total Fragments (RFC 7383 2.5).
const fragmentHeaderLen = payloadHeaderLen + 4

// AppendFragments appends to list the messages, SKF{...} each, into which a message whose content is inner has to be
// split so that none is longer than size bytes, IKE header included; if size is too small for any content, each carries
// the least that is possible. They are protected by c under seq, seq+1 and so on, one for each message, none of which
// may ever be used again with c. It panics as AppendMessage does, and if there were more than 65535 fragments.
func AppendFragments(list [][]byte, h Header, inner []Payload, c suite.Cipher, seq uint64, size int) [][]byte {
	content := appendChain(nil, inner)
	room := size - HeaderLen - fragmentHeaderLen - c.IVLen() - c.TagLen()
	chunk := max(room-room%c.BlockLen()-1, c.BlockLen()-1, 1) // one byte is Pad Length
	total := max((len(content)+chunk-1)/chunk, 1)
	if total > math.MaxUint16 {
		panic("wire: more fragments than the field can count")
	}
	next := firstType(inner)
	for n := 1; n <= total; n++ {
		part := content[:min(chunk, len(content))]
		content = content[len(part):]
		list = append(list, appendFragment(nil, h, next, n, total, part, c, seq))
		next = TypeNone // only the first says what comes first (RFC 7383 2.5)
		seq++
	}
	return list
}

// appendFragment appends one of them.
func appendFragment(b []byte, h Header, next PayloadType, n, total int, part []byte, c suite.Cipher, seq uint64) []byte {
	start := len(b)
	h.Next = TypeSKF
	b = h.append(b)
	skf := len(b)
	b = append(b, byte(next), 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	b = binary.BigEndian.AppendUint16(b, uint16(total))
	head := len(b) - start
	b = append(b, make([]byte, c.IVLen())...)
	b = append(b, part...)
	return sealFrom(b, start, skf, head, len(part), c, seq)
}

// OpenFragment decrypts in place the SKF payload of m, which Parse made from msg, and returns its chunk of the content of
// the whole message, without padding. The chunk borrows from msg. A second call for the same msg fails.
//
// A *SyntaxError says something about content that the peer authenticated. Any other error is the cipher's or
// ErrNotSealed: the fragment is not known to be from the peer and must be dropped.
func OpenFragment(msg []byte, m *Message, c suite.Cipher) ([]byte, error) {
	if m.Fragment == nil {
		return nil, ErrNotSealed
	}
	return openPadded(TypeSKF, msg, m.Fragment.Offset, c)
}
