package vici

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxSegment is how many bytes a packet may have, without the length in front of it.
const MaxSegment = 512 << 10

// lengthSize is the size in bytes of the length in front of a packet.
const lengthSize = 4

// Type says what a packet is for.
type Type uint8

// The types of packets.
const (
	Request    Type = iota // a command, with its name and arguments
	Response               // the answer to a command
	Unknown                // the answer if there is no such command
	Register               // from now on the client wants the events of a name
	Unregister             // from now on it does not
	Confirm                // the answer to Register and Unregister
	NoEvent                // the answer to them if there is no such event
	Event                  // something has happened
)

// shapes is what each type carries.
var shapes = [...]struct {
	text           string
	named, message bool
}{
	Request:    {"request", true, true},
	Response:   {"response", false, true},
	Unknown:    {"unknown command", false, false},
	Register:   {"register event", true, false},
	Unregister: {"unregister event", true, false},
	Confirm:    {"event confirmed", false, false},
	NoEvent:    {"unknown event", false, false},
	Event:      {"event", true, true},
}

// String is the type in words.
func (t Type) String() string {
	if int(t) < len(shapes) {
		return shapes[t].text
	}
	return fmt.Sprintf("packet type %d", uint8(t))
}

// Packet is what a segment carries. Name is empty and Message nil for the types that have none.
type Packet struct {
	Type    Type
	Name    string
	Message *Message
}

// Errors of the format. Those of Parse wrap ErrMalformed and say what is wrong; none holds a value.
var (
	ErrMalformed = errors.New("malformed vici packet")
	ErrTooLong   = errors.New("too long for vici")
)

// malformed is an ErrMalformed with its reason.
func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Segment reads the length in front of a packet: the first bytes of a stream, at least four. The packet has n bytes, from 1
// to MaxSegment; anything else is an ErrMalformed, after which nothing in the stream can be understood.
func Segment(b []byte) (n int, err error) {
	if len(b) < lengthSize {
		return 0, malformed("a length of %d bytes", len(b))
	}
	length := binary.BigEndian.Uint32(b)
	if length < 1 || length > MaxSegment {
		return 0, malformed("a packet of %d bytes, where 1 to %d are possible", length, MaxSegment)
	}
	return int(length), nil
}

// Parse reads a packet without the length in front of it. The values of the message borrow b.
func Parse(b []byte) (Packet, error) {
	r := reader{rest: b}
	var p Packet
	if len(b) > MaxSegment {
		return p, malformed("%d bytes", len(b))
	}
	t, ok := r.byte()
	if !ok {
		return p, malformed("it is empty")
	}
	p.Type = Type(t)
	if int(t) >= len(shapes) {
		return Packet{}, malformed("%v", p.Type)
	}
	if shapes[t].named {
		name, ok := r.name()
		if !ok {
			return Packet{}, malformed("the name of a %v is cut off", p.Type)
		}
		p.Name = name
	}
	if !shapes[t].message {
		if len(r.rest) > 0 {
			return Packet{}, malformed("%d bytes after the end of a %v", len(r.rest), p.Type)
		}
		return p, nil
	}
	m, err := r.message()
	if err != nil {
		return Packet{}, err
	}
	p.Message = m
	return p, nil
}

// Append appends the segment of p, with its length in front, to b. What does not fit into the format is an ErrTooLong, and
// leaves b as it was.
func (p Packet) Append(b []byte) ([]byte, error) {
	if int(p.Type) >= len(shapes) {
		return b, fmt.Errorf("there is no %v", p.Type)
	}
	start := len(b)
	out := append(b, 0, 0, 0, 0, byte(p.Type))
	shape := shapes[p.Type]
	if shape.named {
		if len(p.Name) > maxName {
			return b, fmt.Errorf("the name of a %v of %d bytes is %w", p.Type, len(p.Name), ErrTooLong)
		}
		out = appendName(out, p.Name)
	}
	if shape.message && p.Message != nil {
		var err error
		if out, err = p.Message.append(out, maxDepth); err != nil {
			return b, err
		}
	}
	length := len(out) - start - lengthSize
	if length > MaxSegment {
		return b, fmt.Errorf("a %v of %d bytes is %w", p.Type, length, ErrTooLong)
	}
	binary.BigEndian.PutUint32(out[start:], uint32(length))
	return out, nil
}
