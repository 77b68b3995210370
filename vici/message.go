package vici

import (
	"fmt"
	"strconv"
	"strings"
)

// Message is a section: an ordered list of elements whose names are unique. The root of a packet is one, and so are the
// sections in it. The zero value is empty and ready to be filled; a nil *Message is empty.
type Message struct{ Elements []Element }

// Element is a value, a list or a section, with its name. Names may be empty.
type Element struct {
	Name string
	Kind Kind
	// Value is set if Kind is KindValue, List if it is KindList, Section if it is KindSection. In what was parsed Value and List
	// borrow the bytes of the packet, so that whoever owns those can wipe what is secret.
	Value   []byte
	List    [][]byte
	Section *Message
}

// Kind says what an element is.
type Kind uint8

// The kinds of elements.
const (
	KindValue Kind = iota
	KindList
	KindSection
)

// Set appends a value. It returns m, as all that fills a message does but Section.
func (m *Message) Set(name, value string) *Message {
	return m.add(Element{Name: name, Kind: KindValue, Value: []byte(value)})
}

// SetBytes appends a value, which it takes.
func (m *Message) SetBytes(name string, value []byte) *Message {
	return m.add(Element{Name: name, Kind: KindValue, Value: value})
}

// Setf appends a value as fmt.Sprintf makes it.
func (m *Message) Setf(name, format string, args ...any) *Message {
	return m.Set(name, fmt.Sprintf(format, args...))
}

// SetUint appends a number.
func (m *Message) SetUint(name string, value uint64) *Message {
	return m.Set(name, strconv.FormatUint(value, 10))
}

// SetIf appends a value unless it is empty.
func (m *Message) SetIf(name, value string) *Message {
	if value == "" {
		return m
	}
	return m.Set(name, value)
}

// SetYes appends "yes" if it is so; otherwise the name is left away, as the daemon charon does.
func (m *Message) SetYes(name string, so bool) *Message {
	if !so {
		return m
	}
	return m.Set(name, "yes")
}

// SetList appends a list.
func (m *Message) SetList(name string, items ...string) *Message {
	list := make([][]byte, len(items))
	for i, item := range items {
		list[i] = []byte(item)
	}
	return m.add(Element{Name: name, Kind: KindList, List: list})
}

// Add appends a section that exists already, which it takes.
func (m *Message) Add(name string, section *Message) *Message {
	return m.add(Element{Name: name, Kind: KindSection, Section: section})
}

// Section appends an empty section and returns that, to be filled.
func (m *Message) Section(name string) *Message {
	section := &Message{}
	m.Add(name, section)
	return section
}

func (m *Message) add(e Element) *Message {
	m.Elements = append(m.Elements, e)
	return m
}

// Find is the element of a name, whatever it is.
func (m *Message) Find(name string) (Element, bool) {
	if m != nil {
		for i := range m.Elements {
			if m.Elements[i].Name == name {
				return m.Elements[i], true
			}
		}
	}
	return Element{}, false
}

// Bytes is a value; ok is false if there is none of this name.
func (m *Message) Bytes(name string) (value []byte, ok bool) {
	e, found := m.Find(name)
	return e.Value, found && e.Kind == KindValue
}

// Text is a value as text, empty if there is none.
func (m *Message) Text(name string) string {
	value, _ := m.Bytes(name)
	return string(value)
}

// Uint is a value as a number of at most bits bits; ok is false if there is none of this name. What is no decimal number is an
// error.
func (m *Message) Uint(name string, bits int) (value uint64, ok bool, err error) {
	text, ok := m.Bytes(name)
	if !ok {
		return 0, false, nil
	}
	if value, err = strconv.ParseUint(string(text), 10, bits); err != nil {
		return 0, true, fmt.Errorf("%s is no number of at most %d bits", name, bits)
	}
	return value, true, nil
}

// Yes is a value as a truth, false if there is none. It is told as in strongSwan: yes, true, enabled and 1 in any case mean so,
// no, false, disabled and 0 not; ok is false for anything else.
func (m *Message) Yes(name string) (so, ok bool) {
	value, found := m.Bytes(name)
	if !found {
		return false, true
	}
	switch strings.ToLower(string(value)) {
	case "yes", "true", "enabled", "1":
		return true, true
	case "no", "false", "disabled", "0":
		return false, true
	}
	return false, false
}

// Items is a list as text; ok is false if there is none of this name.
func (m *Message) Items(name string) (items []string, ok bool) {
	e, found := m.Find(name)
	if !found || e.Kind != KindList {
		return nil, false
	}
	return e.Texts(), true
}

// Sub is a section, nil (which is empty) if there is none of this name.
func (m *Message) Sub(name string) *Message {
	e, _ := m.Find(name)
	return e.Section
}

// Texts are the items of a list, or the one value, as text.
func (e *Element) Texts() []string {
	switch e.Kind {
	case KindValue:
		return []string{string(e.Value)}
	case KindList:
		items := make([]string, len(e.List))
		for i, item := range e.List {
			items[i] = string(item)
		}
		return items
	}
	return nil
}

// String shows the names, and nothing of what may be secret.
func (m *Message) String() string {
	if m == nil {
		return "{}"
	}
	var b strings.Builder
	b.WriteByte('{')
	for i := range m.Elements {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(m.Elements[i].String())
	}
	b.WriteByte('}')
	return b.String()
}

// String shows the name, and nothing of what may be secret.
func (e Element) String() string {
	switch e.Kind {
	case KindList:
		return e.Name + "[" + strconv.Itoa(len(e.List)) + "]"
	case KindSection:
		return e.Name + e.Section.String()
	}
	return e.Name
}
