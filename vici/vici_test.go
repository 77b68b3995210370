package vici

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// golden are packets with their bytes, annotated.
var golden = []struct {
	name   string
	packet Packet
	bytes  string
}{
	{"the example of the documentation, as the answer to a command", Packet{Type: Response, Message: example()}, "\x00\x00\x00\x4e" +
		"\x01" + // response
		"\x03\x04key1\x00\x06value1" +
		"\x01\x08section1" +
		"\x01\x0bsub-section" +
		"\x03\x04key2\x00\x06value2" +
		"\x02" + // sub-section
		"\x04\x05list1" +
		"\x05\x00\x05item1" +
		"\x05\x00\x05item2" +
		"\x06" + // list1
		"\x02"}, // section1
	{"a command without arguments", Packet{Type: Request, Name: "version", Message: &Message{}}, "\x00\x00\x00\x09" + "\x00\x07version"},
	{"no such command", Packet{Type: Unknown}, "\x00\x00\x00\x01" + "\x02"},
	{"a registration", Packet{Type: Register, Name: "list-sa"}, "\x00\x00\x00\x09" + "\x03\x07list-sa"},
	{"its end", Packet{Type: Unregister, Name: "list-sa"}, "\x00\x00\x00\x09" + "\x04\x07list-sa"},
	{"confirmed", Packet{Type: Confirm}, "\x00\x00\x00\x01" + "\x05"},
	{"no such event", Packet{Type: NoEvent}, "\x00\x00\x00\x01" + "\x06"},
	{"an event", Packet{Type: Event, Name: "log", Message: new(Message).Set("msg", "").SetList("none")},
		"\x00\x00\x00\x13" + "\x07\x03log" + "\x03\x03msg\x00\x00" + "\x04\x04none" + "\x06"},
	{"a section without a name", Packet{Type: Response, Message: new(Message).Add("", new(Message).SetUint("n", 1<<64-1))},
		"\x00\x00\x00\x1d" + "\x01" + "\x01\x00" + "\x03\x01n\x00\x1418446744073709551615" + "\x02"},
}

func example() *Message {
	m := new(Message).Set("key1", "value1")
	section := m.Section("section1")
	section.Section("sub-section").Set("key2", "value2")
	section.SetList("list1", "item1", "item2")
	return m
}

func TestGolden(t *testing.T) {
	for _, test := range golden {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.packet.Append([]byte("before"))
			if want := "before" + test.bytes; err != nil || string(got) != want {
				t.Fatalf("written as %q, %v; want %q", got, err, want)
			}
			n, err := Segment([]byte(test.bytes))
			if err != nil || n != len(test.bytes)-lengthSize {
				t.Fatalf("a length of %d, %v", n, err)
			}
			p, err := Parse([]byte(test.bytes)[lengthSize:])
			if err != nil {
				t.Fatal(err)
			}
			if again, err := p.Append(nil); err != nil || string(again) != test.bytes {
				t.Errorf("parsed and written again as %q, %v", again, err)
			}
		})
	}
}

// TestTruncated cuts each packet at every length: none of it is taken for a whole one with all its elements.
func TestTruncated(t *testing.T) {
	for _, test := range golden {
		whole := []byte(test.bytes)[lengthSize:]
		for n := range whole {
			p, err := Parse(whole[:n])
			if err != nil {
				if !errors.Is(err, ErrMalformed) {
					t.Errorf("%s, the first %d bytes: %v", test.name, n, err)
				}
				continue
			}
			if again, err := p.Append(nil); err != nil || !bytes.Equal(again[lengthSize:], whole[:n]) {
				t.Errorf("%s: of %q came %q, %v", test.name, whole[:n], again, err)
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	for name, text := range map[string]string{
		"no type":                    "",
		"a type that is none":        "\x08",
		"something after a Confirm":  "\x05x",
		"something after a name":     "\x03\x01ax",
		"a value in a list":          "\x01\x04\x01l\x03\x01k\x00\x00\x06",
		"a list in a list":           "\x01\x04\x01l\x04\x01k\x06\x06",
		"an item outside of a list":  "\x01\x05\x00\x01x",
		"a list's end outside":       "\x01\x06",
		"an end too many":            "\x01\x01\x01a\x02\x02",
		"an end too few":             "\x01\x01\x01a\x01\x01b\x02",
		"an element of type 0":       "\x01\x00",
		"two values of one name":     "\x01\x03\x01k\x00\x01a\x03\x01k\x00\x01b",
		"a list and a value":         "\x01\x04\x01k\x06\x03\x01k\x00\x01b",
		"sections without a bottom":  "\x01" + strings.Repeat("\x01\x01s", 100000) + strings.Repeat("\x02", 100000),
		"more than fits in a packet": "\x01" + strings.Repeat("\x04\x00", MaxSegment),
	} {
		if p, err := Parse([]byte(text)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s is taken for %+v, %v", name, p, err)
		}
	}
	many := &Message{}
	for i := range 3 * few {
		many.SetUint(fmt.Sprint(i), 1)
	}
	b, err := Packet{Type: Response, Message: many}.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	double := append(b[lengthSize:], "\x03\x011\x00\x011"...)
	if _, err := Parse(double); !errors.Is(err, ErrMalformed) {
		t.Errorf("a name that is twice among many: %v", err)
	}
}

func TestSegment(t *testing.T) {
	for _, length := range []uint32{0, MaxSegment + 1, 1<<32 - 1} {
		if n, err := Segment(binary.BigEndian.AppendUint32(nil, length)); !errors.Is(err, ErrMalformed) {
			t.Errorf("a length of %d is taken for %d, %v", length, n, err)
		}
	}
	if n, err := Segment(binary.BigEndian.AppendUint32(nil, MaxSegment)); n != MaxSegment || err != nil {
		t.Errorf("the longest is %d, %v", n, err)
	}
	if _, err := Segment([]byte{0, 0, 1}); !errors.Is(err, ErrMalformed) {
		t.Errorf("three bytes of a length: %v", err)
	}
}

func TestDoesNotFit(t *testing.T) {
	deep := &Message{}
	for m, i := deep, 0; i <= maxDepth; i++ {
		m = m.Section("s")
	}
	for name, p := range map[string]Packet{
		"the name of a packet": {Type: Register, Name: strings.Repeat("n", maxName+1)},
		"a name":               {Type: Event, Message: new(Message).Set(strings.Repeat("n", maxName+1), "")},
		"a value":              {Type: Event, Message: new(Message).Set("n", strings.Repeat("v", maxValue+1))},
		"an item":              {Type: Event, Message: new(Message).SetList("n", strings.Repeat("v", maxValue+1))},
		"depth":                {Type: Event, Message: deep},
		"all of it": {Type: Event, Message: new(Message).SetList("n", strings.Repeat("v", maxValue), strings.Repeat("v", maxValue),
			strings.Repeat("v", maxValue), strings.Repeat("v", maxValue), strings.Repeat("v", maxValue), strings.Repeat("v", maxValue),
			strings.Repeat("v", maxValue), strings.Repeat("v", maxValue))},
	} {
		if b, err := p.Append([]byte("kept")); !errors.Is(err, ErrTooLong) || string(b) != "kept" {
			t.Errorf("%s: %v, and %d bytes", name, err, len(b))
		}
	}
	if _, err := (Packet{Type: Event, Message: new(Message).Set("a", "1").Set("a", "2")}).Append(nil); err == nil {
		t.Error("a message with a name twice was written")
	}
	if _, err := (Packet{Type: 200}).Append(nil); err == nil {
		t.Error("a packet of no type was written")
	}
}

func TestLookups(t *testing.T) {
	m := new(Message).Set("text", "t").SetUint("n", 70000).SetYes("on", true).SetYes("off", false).SetIf("empty", "").
		SetList("list", "a", "b").Set("maybe", "maybe").Set("no", "Disabled")
	m.Section("s").Setf("k", "%04x", 255)
	if m.Text("text") != "t" || m.Text("list") != "" || m.Text("none") != "" {
		t.Error("Text")
	}
	if n, ok, err := m.Uint("n", 32); n != 70000 || !ok || err != nil {
		t.Error("Uint", n, ok, err)
	}
	for _, bad := range []string{"n", "text"} {
		if _, ok, err := m.Uint(bad, 16); !ok || err == nil {
			t.Errorf("%s is a number of 16 bits", bad)
		}
	}
	for name, want := range map[string][2]bool{"on": {true, true}, "off": {false, true}, "no": {false, true}, "maybe": {false, false}} {
		if so, ok := m.Yes(name); so != want[0] || ok != want[1] {
			t.Errorf("%s is %v, %v", name, so, ok)
		}
	}
	if items, ok := m.Items("list"); !ok || strings.Join(items, " ") != "a b" {
		t.Error("Items", items)
	}
	if _, ok := m.Items("text"); ok {
		t.Error("a value is a list")
	}
	if m.Sub("s").Text("k") != "00ff" || m.Sub("text").Text("k") != "" || m.Sub("none").Sub("none").Text("k") != "" {
		t.Error("Sub")
	}
	if text := m.String(); text != "{text n on list[2] maybe no s{k}}" {
		t.Errorf("in words it is %s", text)
	}
}

func FuzzParse(f *testing.F) {
	for _, test := range golden {
		f.Add([]byte(test.bytes)[lengthSize:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		again, err := p.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := Segment(again); err != nil || n != len(b) || !bytes.Equal(again[lengthSize:], b) {
			t.Fatalf("%q became %q", b, again)
		}
	})
}
