package vici

import (
	"encoding/binary"
	"fmt"
)

// The bounds of the format, and the one that is ours: sections may be nested without end there, here maxDepth deep.
const (
	maxName  = 1<<8 - 1
	maxValue = 1<<16 - 1
	maxDepth = 16
)

// The elements on the wire.
const (
	sectionStart = 1 + iota
	sectionEnd
	keyValue
	listStart
	listItem
	listEnd
)

// reader takes elements off the front of a packet.
type reader struct{ rest []byte }

func (r *reader) byte() (byte, bool) {
	if len(r.rest) < 1 {
		return 0, false
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b, true
}

func (r *reader) take(n int) ([]byte, bool) {
	if len(r.rest) < n {
		return nil, false
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b, true
}

// name is a string with its length in a byte.
func (r *reader) name() (string, bool) {
	n, ok := r.byte()
	if !ok {
		return "", false
	}
	b, ok := r.take(int(n))
	return string(b), ok
}

// value is a string with its length in two bytes.
func (r *reader) value() ([]byte, bool) {
	n, ok := r.take(2)
	if !ok {
		return nil, false
	}
	return r.take(int(binary.BigEndian.Uint16(n)))
}

// message reads all the rest.
func (r *reader) message() (*Message, error) {
	m := &Message{}
	ended, err := r.section(m, maxDepth)
	if err == nil && ended {
		err = malformed("a section ends that did not begin")
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// section reads elements into m, until the section or the packet has ended.
func (r *reader) section(m *Message, depth int) (ended bool, err error) {
	seen := names{}
	for {
		kind, ok := r.byte()
		if !ok || kind == sectionEnd {
			return ok, nil
		}
		if kind != keyValue && kind != listStart && kind != sectionStart {
			return false, malformed("an element of type %d where a value, a list or a section begins", kind)
		}
		name, ok := r.name()
		if !ok {
			return false, malformed("a name is cut off")
		}
		if !seen.add(m, name) {
			return false, malformed("two elements %q in one section", name)
		}
		e := Element{Name: name}
		switch kind {
		case keyValue:
			if e.Value, ok = r.value(); !ok {
				return false, malformed("the value of %q is cut off", name)
			}
		case listStart:
			e.Kind = KindList
			if e.List, err = r.list(name); err != nil {
				return false, err
			}
		case sectionStart:
			if depth == 0 {
				return false, malformed("sections are nested more than %d deep", maxDepth)
			}
			e.Kind, e.Section = KindSection, &Message{}
			if ok, err = r.section(e.Section, depth-1); err != nil {
				return false, err
			}
			if !ok {
				return false, malformed("the section %q does not end", name)
			}
		}
		m.add(e)
	}
}

// list reads the items of a list up to its end.
func (r *reader) list(name string) (items [][]byte, err error) {
	items = [][]byte{}
	for {
		kind, ok := r.byte()
		switch {
		case !ok:
			return nil, malformed("the list %q does not end", name)
		case kind == listEnd:
			return items, nil
		case kind != listItem:
			return nil, malformed("an element of type %d in the list %q", kind, name)
		}
		item, ok := r.value()
		if !ok {
			return nil, malformed("an item of the list %q is cut off", name)
		}
		items = append(items, item)
	}
}

// names finds what is in a section twice. A map is worth it only for long ones.
type names struct{ set map[string]bool }

// few is up to how many elements are compared one by one.
const few = 16

// add notes a name before its element is in m, and reports whether it is new.
func (n *names) add(m *Message, name string) bool {
	if n.set == nil {
		if _, double := m.Find(name); double {
			return false
		}
		if len(m.Elements) < few {
			return true
		}
		n.set = make(map[string]bool)
		for i := range m.Elements {
			n.set[m.Elements[i].Name] = true
		}
	}
	if n.set[name] {
		return false
	}
	n.set[name] = true
	return true
}

func appendName(b []byte, name string) []byte {
	return append(append(b, byte(len(name))), name...)
}

func appendValue(b, value []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(value))), value...)
}

// append appends the elements of m, whose sections may be nested depth deep.
func (m *Message) append(b []byte, depth int) ([]byte, error) {
	if m == nil {
		return b, nil
	}
	seen := names{}
	done := Message{}
	for i := range m.Elements {
		e := &m.Elements[i]
		if len(e.Name) > maxName {
			return nil, fmt.Errorf("a name of %d bytes is %w", len(e.Name), ErrTooLong)
		}
		if !seen.add(&done, e.Name) {
			return nil, fmt.Errorf("two elements %q in one section", e.Name)
		}
		done.Elements = m.Elements[:i+1]
		var err error
		if b, err = e.append(b, depth); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (e *Element) append(b []byte, depth int) ([]byte, error) {
	switch e.Kind {
	case KindList:
		b = appendName(append(b, listStart), e.Name)
		for _, item := range e.List {
			if len(item) > maxValue {
				return nil, fmt.Errorf("an item of %q of %d bytes is %w", e.Name, len(item), ErrTooLong)
			}
			b = appendValue(append(b, listItem), item)
		}
		return append(b, listEnd), nil
	case KindSection:
		if depth == 0 {
			return nil, fmt.Errorf("sections nested more than %d deep are %w", maxDepth, ErrTooLong)
		}
		b, err := e.Section.append(appendName(append(b, sectionStart), e.Name), depth-1)
		return append(b, sectionEnd), err
	}
	if len(e.Value) > maxValue {
		return nil, fmt.Errorf("the value of %q of %d bytes is %w", e.Name, len(e.Value), ErrTooLong)
	}
	return appendValue(appendName(append(b, keyValue), e.Name), e.Value), nil
}
