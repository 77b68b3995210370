// Package wire parses and appends IKEv2 messages (RFC 7296 3).
//
// A message is a header and a chain of payloads. Parse turns the bytes into typed payloads once; whatever
// comes out has consistent lengths and counts, so nothing behind this package looks at raw bytes again.
// What a message must contain, and whether its values make sense together, is not judged here.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------------------------------------------------------+
//	|                  IKE SA Initiator's SPI (8)                   |
//	|                  IKE SA Responder's SPI (8)                   |
//	| Next Payload  | MjVer | MnVer | Exchange Type |     Flags     |
//	|                          Message ID                           |
//	|                            Length                             |
//	+---------------------------------------------------------------+
//	| Next Payload  |C|  RESERVED   |        Payload Length         |  each payload, then its body
//	+---------------------------------------------------------------+
//
// Payloads borrow from the message they were parsed from: they are valid as long as those bytes are, and
// OpenSealed decrypts in place. Reserved bits are ignored on receipt and zero on sending (RFC 7296 2.5).
package wire

import (
	"encoding/binary"
	"fmt"
)

// Limits of what one message may hold. A message beyond them is refused with a SyntaxError; real peers stay
// far below. They bound work and memory before a peer is authenticated, on top of the bound that every
// element costs bytes on the wire. Selectors of a TS payload (255) and SPIs of a Delete payload (16379) are
// bounded by the format itself.
const (
	MaxPayloads   = 64  // payloads of one chain, in the clear or inside SK
	MaxProposals  = 32  // proposals of one SA payload
	MaxTransforms = 128 // transforms of one proposal
	MaxAttributes = 256 // attributes of one CP payload
)

// Bounds of Nonce Data in bytes (RFC 7296 3.9).
const (
	MinNonce = 16
	MaxNonce = 256
)

// HeaderLen is the length of the IKE header in bytes.
const HeaderLen = 28

// payloadHeaderLen is the length of the generic payload header (RFC 7296 3.2).
const payloadHeaderLen = 4

// Header is the IKE header (RFC 7296 3.1).
type Header struct {
	SPIi, SPIr uint64      // SPIr is 0 in the first message of an IKE_SA_INIT exchange
	Next       PayloadType // of the first payload
	Major      uint8       // version of the message; receipt only, 2.0 is sent
	Minor      uint8
	Exchange   Exchange
	Initiator  bool // I flag: sent by the original initiator of the IKE SA
	Version    bool // V flag: the sender speaks a higher major version; receipt only, never sent
	Response   bool // R flag
	MessageID  uint32
	Length     uint32 // of the whole message in bytes
}

// The flags of the header; the other bits are reserved.
const (
	flagInitiator = 0x08
	flagVersion   = 0x10
	flagResponse  = 0x20
)

// ParseHeader reads the header of the message b. The Length field must equal len(b). The version is not
// judged: it tells who may parse the rest. The error is a *SyntaxError.
func ParseHeader(b []byte) (Header, error) {
	r := newReader(b, 0)
	h := readHeader(&r)
	if err := r.err(); err != nil {
		return Header{}, err
	}
	if uint64(h.Length) != uint64(len(b)) {
		return Header{}, &SyntaxError{Offset: 24, Reason: "message length differs from the datagram's"}
	}
	return h, nil
}

func readHeader(r *reader) Header {
	var h Header
	h.SPIi, h.SPIr = r.u64(), r.u64()
	h.Next = PayloadType(r.u8())
	version := r.u8()
	h.Major, h.Minor = version>>4, version&0x0f
	h.Exchange = Exchange(r.u8())
	flags := r.u8()
	h.Initiator = flags&flagInitiator != 0
	h.Version = flags&flagVersion != 0
	h.Response = flags&flagResponse != 0
	h.MessageID = r.u32()
	h.Length = r.u32()
	return h
}

// append writes the header with Next and Length as they stand in h. The version is always 2.0 and the V flag
// clear (RFC 7296 3.1).
func (h Header) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, h.SPIi)
	b = binary.BigEndian.AppendUint64(b, h.SPIr)
	var flags byte
	if h.Initiator {
		flags |= flagInitiator
	}
	if h.Response {
		flags |= flagResponse
	}
	b = append(b, byte(h.Next), 0x20, byte(h.Exchange), flags)
	b = binary.BigEndian.AppendUint32(b, h.MessageID)
	return binary.BigEndian.AppendUint32(b, h.Length)
}

// Message is a parsed message: the header, the payloads in the clear, and the Encrypted payload or the
// Encrypted Fragment payload if there is one, never both. A protected message normally has no payload in the
// clear.
type Message struct {
	Header    Header
	Payloads  []Payload
	Encrypted *Encrypted // nil if there is none
	Fragment  *Fragment  // nil if there is none
}

// Encrypted is the SK payload (RFC 7296 3.14), always the last of a message. Body is borrowed.
type Encrypted struct {
	Next   PayloadType // of the first payload inside
	Offset int         // of Body in the message
	Body   []byte      // IV, ciphertext, ICV
}

// Fragment is the SKF payload (RFC 7383 2.5), always the last of a message. Next is the type of the first
// payload in the whole message if Number is 1, and without meaning otherwise.
type Fragment struct {
	Encrypted
	Number, Total uint16 // 1 <= Number <= Total
}

// SyntaxError says that a message is malformed: the INVALID_SYNTAX of RFC 7296 3.10.1. Reason is fixed text
// without bytes of the peer.
type SyntaxError struct {
	Payload PayloadType // where; 0 is the header or what follows the last payload
	Offset  int         // in bytes from the start of what was parsed
	Reason  string
}

func (e *SyntaxError) Error() string {
	where := "message"
	if e.Payload != 0 {
		where = e.Payload.String() + " payload"
	}
	return fmt.Sprintf("malformed %s at offset %d: %s", where, e.Offset, e.Reason)
}

// UnknownCritical says that a payload of unknown type had its critical bit set, so the whole message must be
// refused with UNSUPPORTED_CRITICAL_PAYLOAD (RFC 7296 2.5).
type UnknownCritical struct{ Type PayloadType }

func (e *UnknownCritical) Error() string {
	return "unsupported critical payload " + e.Type.String()
}
