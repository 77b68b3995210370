package ike

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
)

// agreeing is a change of the configuration for tests in which the peer takes fragments.
func agreeing(how Fragmentation) func(*Config) {
	return func(c *Config) { c.Connections[0].Fragmentation = how }
}

// callsInFragments is called, by a peer that announces fragments, up to the IKE_AUTH request.
func callsInFragments(t *testing.T, how Fragmentation) *script {
	t.Helper()
	s := newScript(t, agreeing(how))
	s.announces = true
	s.call()
	return s
}

// calledInFragments is the same up to an IKE SA with a child.
func calledInFragments(t *testing.T, how Fragmentation) *script {
	t.Helper()
	s := callsInFragments(t, how)
	s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
	s.want("answers IKE_AUTH", wire.IKE_AUTH, true)
	if s.installs() != 2 {
		t.Fatalf("not established: %v", s.texts())
	}
	return s
}

// split makes the fragments of a message of the peer, in messages of a size.
func (s *script) split(x wire.Exchange, id uint32, response bool, size int, payloads ...wire.Payload) [][]byte {
	list := wire.AppendFragments(nil, s.header(x, id, response), payloads, s.keys.out, s.keys.iv+1, size)
	s.keys.iv += uint64(len(list))
	return list
}

// piece makes a fragment of the peer with any numbers. The content is its own.
func (s *script) piece(h wire.Header, next wire.PayloadType, number, total uint16, content []byte) []byte {
	list := wire.AppendFragments(nil, h, []wire.Payload{&wire.Vendor{Data: content}}, s.keys.out, 0, 1<<16)
	b := list[0][:wire.HeaderLen+8]
	b[16], b[wire.HeaderLen] = byte(wire.TypeSKF), byte(next)
	b = append(b, make([]byte, s.keys.out.IVLen())...)
	b = append(append(b, content...), 0)
	b = append(b, make([]byte, s.keys.out.TagLen())...)
	put := func(at, v int) { b[at], b[at+1] = byte(v>>8), byte(v) }
	put(wire.HeaderLen+2, len(b)-wire.HeaderLen)
	put(wire.HeaderLen+4, int(number))
	put(wire.HeaderLen+6, int(total))
	put(26, len(b))
	put(24, len(b)>>16)
	s.keys.iv++
	s.keys.out.Seal(b, wire.HeaderLen+8, s.keys.iv, false)
	return b
}

// notes are a request that is answered and means nothing.
func notes(n, size int) []wire.Payload {
	var list []wire.Payload
	for range n {
		list = append(list, &wire.Notify{Kind: wire.COOKIE2, Data: make([]byte, size)})
	}
	return list
}

// TestFragmentsOffered: fragmentation is announced unless it is switched off, and used if both announced it.
//
// Cases: ikev2-frag-03-retrans.
func TestFragmentsOffered(t *testing.T) {
	for _, how := range []Fragmentation{FragmentationYes, FragmentationAccept, FragmentationNo} {
		for _, peer := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d, peer %v", how, peer), func(t *testing.T) {
				agreed := how != FragmentationNo && peer
				s := newScript(t, agreeing(how))
				s.announces = peer
				s.call()
				m, err := wire.Parse(slices.Clone(s.theirFirst))
				if err != nil {
					t.Fatal(err)
				}
				c, _ := collect(m.Payloads)
				if (c.notify(wire.IKEV2_FRAGMENTATION_SUPPORTED) != nil) != agreed || s.sa().fragments.agreed != agreed {
					t.Errorf("as responder: %v, agreed %v", m, s.sa().fragments.agreed)
				}
				s = newScript(t, agreeing(how))
				s.announces = peer
				s.give(Initiate{Conn: "c"})
				m, err = wire.Parse(slices.Clone(s.sends[0].Data))
				if err != nil {
					t.Fatal(err)
				}
				c, _ = collect(m.Payloads)
				if (c.notify(wire.IKEV2_FRAGMENTATION_SUPPORTED) != nil) != (how != FragmentationNo) {
					t.Errorf("as initiator: %v", m)
				}
				s.takeCall()
				if s.sa().fragments.agreed != agreed {
					t.Errorf("as initiator: agreed %v", s.sa().fragments.agreed)
				}
			})
		}
	}
}

// TestFragmentsInAnyOrder takes a request in fragments in every order, each of them twice.
func TestFragmentsInAnyOrder(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		s := calledInFragments(t, FragmentationYes)
		list := s.split(wire.INFORMATIONAL, 2, false, 300, notes(6, 100)...)
		if len(list) != 3 {
			t.Fatalf("%d fragments", len(list))
		}
		for _, i := range order[:2] {
			s.deliver(list[i])
			s.deliver(list[i])
		}
		s.wantIdle("waits for the rest")
		s.deliver(list[order[2]])
		s.want("answers when all are there", wire.INFORMATIONAL, true)
		s.wantIdle("once")
		if len(s.sa().fragments.partial) > 0 || !s.sa().timers[timerFragments].IsZero() {
			t.Error("something is left")
		}
		// The whole set again: one answer, for the first fragment, with the same bytes (RFC 7383 2.6.1).
		answer := s.sa().win.in.answer(2).datagrams[0]
		for _, i := range order {
			s.deliver(list[i])
			if got := len(s.sends); got != 0 && i != 0 || i == 0 && (got != 1 || !bytes.Equal(s.sends[0].Data, answer)) {
				t.Errorf("%v: %d answers to fragment %d of a request that was answered", order, got, i+1)
			}
			s.sends = nil
		}
		// Sent again in smaller ones.
		for i, b := range s.split(wire.INFORMATIONAL, 2, false, 200, notes(6, 100)...) {
			s.deliver(b)
			if got := len(s.sends); (got == 1) != (i == 0) {
				t.Errorf("%d answers to fragment %d of another set", got, i+1)
			}
			s.sends = nil
		}
		list[0][len(list[0])-1] ^= 1
		s.deliver(list[0])
		s.wantIdle("a repetition has to be authentic")
	}
}

// TestHostileFragments gives the endpoint fragments that a sound peer does not send. None is answered, and the request goes
// through afterwards unless the IKE SA is gone.
//
// Cases: BUG-06; ikev2-unknown-payload-01..03.
func TestHostileFragments(t *testing.T) {
	for _, c := range []struct {
		name   string
		send   func(s *script, list [][]byte) // list is a request in three fragments
		reason string                         // why one of them was dropped
		kept   int                            // how many fragments are kept
		gone   bool                           // the IKE SA is given up
	}{
		{"number 0", func(s *script, _ [][]byte) {
			s.deliver(s.piece(s.header(wire.INFORMATIONAL, 2, false), wire.TypeNOTIFY, 0, 3, nil))
		}, "malformed message", 0, false},
		{"number above total", func(s *script, _ [][]byte) {
			s.deliver(s.piece(s.header(wire.INFORMATIONAL, 2, false), 0, 4, 3, nil))
		}, "malformed message", 0, false},
		{"total 65535", func(s *script, _ [][]byte) {
			s.deliver(s.piece(s.header(wire.INFORMATIONAL, 2, false), wire.TypeNOTIFY, 1, 65535, []byte{1}))
		}, "fragment of a message of too many", 0, false},
		{"a smaller total", func(s *script, list [][]byte) {
			s.deliver(list[0])
			s.deliver(s.piece(s.header(wire.INFORMATIONAL, 2, false), 0, 2, 2, []byte{1}))
		}, "fragment of a message that was sent again in smaller ones", 1, false},
		{"another content", func(s *script, list [][]byte) {
			s.deliver(list[0])
			s.deliver(s.piece(s.header(wire.INFORMATIONAL, 2, false), wire.TypeDELETE, 1, 3, []byte{1, 2, 3}))
		}, "fragment that is there already", 1, false},
		{"another exchange", func(s *script, list [][]byte) {
			s.deliver(list[0])
			s.deliver(s.piece(s.header(wire.CREATE_CHILD_SA, 2, false), 0, 2, 3, []byte{1}))
		}, "fragment of another exchange", 1, false},
		{"another message ID", func(s *script, list [][]byte) {
			s.deliver(list[0])
			s.deliver(s.piece(s.header(wire.INFORMATIONAL, 3, false), 0, 2, 3, []byte{1}))
		}, "message ID outside the window", 1, false},
		{"an answer to nothing", func(s *script, list [][]byte) {
			s.deliver(s.piece(s.header(wire.INFORMATIONAL, 0, true), 0, 2, 3, []byte{1}))
		}, "answer to no request", 0, false},
		{"not authentic", func(s *script, list [][]byte) {
			s.deliver(list[1])
			for _, i := range []int{0, 2} {
				b := slices.Clone(list[i])
				b[len(b)-1] ^= 1
				s.deliver(b)
			}
		}, "integrity check failed", 1, false},
		{"not authentic, with a larger total", func(s *script, list [][]byte) {
			s.deliver(list[1])
			b := s.piece(s.header(wire.INFORMATIONAL, 2, false), 0, 2, 4, []byte{1})
			b[len(b)-1] ^= 1
			s.deliver(b)
		}, "integrity check failed", 1, false},
		{"unknown payloads in front", func(s *script, list [][]byte) {
			for range 3 {
				s.deliver(inFront(list[0], 40))
			}
		}, "no message for an established IKE SA", 0, false},
		{"a critical payload in front", func(s *script, list [][]byte) {
			b := inFront(list[0], 1)
			b[wire.HeaderLen+1] = 0x80
			s.deliver(b)
		}, "no message for an established IKE SA", 0, false},
		{"more payloads in front than there can be", func(s *script, list [][]byte) {
			s.deliver(inFront(list[0], 2000))
		}, "no message for an established IKE SA", 0, false},
		{"more than a message holds", func(s *script, _ [][]byte) {
			for n := uint16(1); n <= 9; n++ {
				s.deliver(s.piece(s.header(wire.INFORMATIONAL, 2, false), wire.TypeNOTIFY, n, 10, make([]byte, 8000)))
			}
		}, "", 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := calledInFragments(t, FragmentationYes)
			sa := s.sa()
			list := s.split(wire.INFORMATIONAL, 2, false, 300, notes(6, 100)...)
			c.send(s, list)
			if c.gone {
				s.wantEvent(c.name, Failed, "more than 65536 bytes")
				if len(sa.fragments.partial) > 0 || sa.isCurrent() {
					t.Error("it goes on")
				}
				return
			}
			s.wantIdle("does not answer")
			s.wantEvent(c.name, Dropped, c.reason)
			kept := 0
			for _, a := range sa.fragments.partial {
				kept = len(a.chunks) - a.missing
			}
			if kept != c.kept {
				t.Errorf("%d fragments are kept, want %d", kept, c.kept)
			}
			for _, b := range list {
				s.deliver(b)
			}
			s.want("answers the request all the same", wire.INFORMATIONAL, true)
		})
	}
}

// inFront puts payloads of an unknown type in front of SKF.
func inFront(msg []byte, n int) []byte {
	front := bytes.Repeat([]byte{77, 0, 0, 4}, n)
	front[len(front)-4] = byte(wire.TypeSKF)
	b := slices.Concat(msg[:wire.HeaderLen], front, msg[wire.HeaderLen:])
	b[16] = 77
	b[26], b[27] = byte(len(b)>>8), byte(len(b))
	return b
}

// TestFragmentsNotAgreed: without the consent of both ends nothing is taken, not even a repetition.
//
// Cases: BUG-06.
func TestFragmentsNotAgreed(t *testing.T) {
	for name, how := range map[string]Fragmentation{"not announced": FragmentationYes, "switched off": FragmentationNo} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, agreeing(how))
			s.announces = how == FragmentationNo
			s.call()
			auth := append(s.auth(s.id, s.secret), s.childPayloads(1)...)
			for _, b := range s.split(wire.IKE_AUTH, 1, false, 150, auth...) {
				s.deliver(b)
			}
			s.wantIdle("takes no fragments")
			s.wantEvent(name, Dropped, "fragment that was not negotiated")
			s.request(wire.IKE_AUTH, auth...)
			s.want("takes the whole", wire.IKE_AUTH, true)
			for _, b := range s.split(wire.IKE_AUTH, 1, false, 150, auth...) {
				s.deliver(b)
			}
			s.wantIdle("takes no fragments of what was answered")
		})
	}
}

// TestFragmentsAndWhole mixes fragments and SK, in either order, and sets of several sizes.
//
// Cases: BUG-06.
func TestFragmentsAndWhole(t *testing.T) {
	s := calledInFragments(t, FragmentationYes)
	list := s.split(wire.INFORMATIONAL, 2, false, 300, notes(6, 100)...)
	s.deliver(list[0])
	s.deliver(s.seal(wire.INFORMATIONAL, 2, false, notes(6, 100)...))
	s.want("answers the whole message", wire.INFORMATIONAL, true)
	if len(s.sa().fragments.partial) > 0 {
		t.Error("the fragment is kept")
	}
	s.deliver(list[1])
	s.deliver(list[2])
	s.wantIdle("the rest comes too late")

	// A larger total starts anew; fragments of the old set do not count any more.
	large, small := s.split(wire.INFORMATIONAL, 3, false, 300, notes(6, 100)...), s.split(wire.INFORMATIONAL, 3, false, 200, notes(6, 100)...)
	s.deliver(large[0])
	s.deliver(large[1])
	s.deliver(small[len(small)-1])
	s.deliver(large[2])
	s.wantIdle("does not mix two sets")
	for _, b := range small {
		s.deliver(b)
	}
	s.want("answers the smaller fragments", wire.INFORMATIONAL, true)
	s.wantIdle("once")
}

// TestFragmentsOfNothing: a syntax error is found when all fragments are there, and fragments may be empty.
func TestFragmentsOfNothing(t *testing.T) {
	s := calledInFragments(t, FragmentationYes)
	h := s.header(wire.INFORMATIONAL, 2, false)
	s.deliver(s.piece(h, 0, 3, 3, nil))
	s.deliver(s.piece(h, wire.TypeNOTIFY, 1, 3, nil))
	s.deliver(s.piece(h, wire.TypeNOTIFY, 2, 3, []byte{0, 0, 0, 8, 0, 0, 0x40, 0}))
	s.want("empty fragments around one payload", wire.INFORMATIONAL, true)

	h.MessageID = 3
	s.deliver(s.piece(h, wire.TypeNOTIFY, 1, 2, []byte{0, 0, 0xff}))
	s.wantIdle("not even the first payload is read")
	s.deliver(s.piece(h, 0, 2, 2, []byte{0xff, 0, 0}))
	s.wantNotify("a payload longer than everything", wire.INFORMATIONAL, wire.INVALID_SYNTAX)

	s = calledInFragments(t, FragmentationYes)
	h = s.header(wire.INFORMATIONAL, 2, false)
	s.deliver(s.piece(h, wire.TypeSKF, 1, 1, []byte{0, 0, 0, 8, 0, 1, 0, 1}))
	s.wantNotify("a fragment inside a fragment", wire.INFORMATIONAL, wire.INVALID_SYNTAX)
}

// TestFragmentsLate: a request that is never complete is forgotten, and the IKE SA goes on.
//
// Cases: BUG-06; add_notify.
func TestFragmentsLate(t *testing.T) {
	s := calledInFragments(t, FragmentationYes)
	list := s.split(wire.INFORMATIONAL, 2, false, 300, notes(6, 100)...)
	s.deliver(list[0])
	s.pass(fragmentTime - time.Second)
	if len(s.sa().fragments.partial) == 0 {
		t.Fatal("forgotten too early")
	}
	s.pass(2 * time.Second)
	if len(s.sa().fragments.partial) > 0 {
		t.Fatal("not forgotten")
	}
	s.wantEvent("late", Dropped, "rest did not come")
	s.deliver(list[1])
	s.deliver(list[2])
	s.wantIdle("the first is missing")
	s.deliver(list[0])
	s.want("answers when it is complete", wire.INFORMATIONAL, true)
}

// TestFragmentsOfStrangers: what unknown peers can make us keep is bounded, and given back when they are.
//
// Cases: BUG-06.
func TestFragmentsOfStrangers(t *testing.T) {
	s := callsInFragments(t, FragmentationYes)
	h := s.header(wire.IKE_AUTH, 1, false)
	s.deliver(s.piece(h, wire.TypeIDi, 1, 3, make([]byte, 1000)))
	if s.strangers != 1000 {
		t.Fatalf("%d bytes on the account", s.strangers)
	}
	s.strangers += maxStrangers - 1999 // of others
	s.deliver(s.piece(h, 0, 2, 3, make([]byte, 1000)))
	s.wantEvent("the account is full", Dropped, "too many fragments of strangers")
	s.deliver(s.piece(h, 0, 2, 3, make([]byte, 999)))
	if s.strangers != maxStrangers {
		t.Errorf("%d bytes on the account, want %d", s.strangers, maxStrangers)
	}
	s.pass(halfOpenTime + time.Second)
	if s.strangers != maxStrangers-1999 || s.order.len() != 0 {
		t.Errorf("%d bytes are left, and %d IKE SAs", s.strangers, s.order.len())
	}

	// One that is complete is given back as well, and so is one that is too large.
	for _, size := range []int{200, 60000} {
		s = callsInFragments(t, FragmentationYes)
		if size > 1000 {
			h = s.header(wire.IKE_AUTH, 1, false)
			s.deliver(s.piece(h, wire.TypeIDi, 1, 3, make([]byte, 60000)))
			s.deliver(s.piece(h, 0, 2, 3, make([]byte, 6000)))
			s.wantEvent("too large", Failed, "more than 65536 bytes")
			if s.order.len() != 0 {
				t.Error("the IKE SA is kept")
			}
		} else {
			for _, b := range s.split(wire.IKE_AUTH, 1, false, size, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...) {
				s.deliver(b)
			}
			s.want("answers IKE_AUTH", wire.IKE_AUTH, true)
		}
		if s.strangers != 0 {
			t.Errorf("%d bytes are left", s.strangers)
		}
	}
}

// large gives the connection so many proposals that a request for a child takes several packets.
func large(c *Config) {
	child := c.Connections[0].Children[0]
	for range 25 {
		child.Proposals = append(child.Proposals, testProposal(suite.ESP, "aes128-aes192-aes256-sha256-sha512-x25519-ecp256")...)
	}
}

// TestRequestInFragments: a large request is sent in fragments, repeated as it was, then made anew in smaller ones, and given
// up in the end (RFC 7383 2.5.2). Its answer may come in fragments too, or whole.
func TestRequestInFragments(t *testing.T) {
	for _, inFragments := range []bool{true, false} {
		s := newScript(t, large)
		s.announces = true
		s.give(Initiate{Conn: "c"})
		s.takeCall()
		first := takeFrom(s)
		if len(first) != 2 {
			t.Fatalf("%d messages", len(first))
		}
		if n := len(first[0]); n > room(s.path, usualPacket) || n < room(s.path, usualPacket)-1 {
			t.Errorf("the first has %d bytes", n)
		}
		s.pass(time.Second)
		if again := takeFrom(s); !reflect.DeepEqual(again, first) {
			t.Error("not the same when it is repeated")
		}
		s.pass(2 * time.Second)
		smaller := takeFrom(s)
		if len(smaller) <= len(first) || len(smaller[0]) > room(s.path, smallPacket) {
			t.Fatalf("%d messages, the first of %d bytes", len(smaller), len(smaller[0]))
		}
		s.pass(time.Second) // the waiting started over
		if again := takeFrom(s); !reflect.DeepEqual(again, smaller) {
			t.Error("not the same when it is repeated")
		}
		answer := append(s.auth(s.id, s.secret), s.childPayloads(1)...)
		if !inFragments {
			s.answer(wire.IKE_AUTH, 1, answer...)
		} else {
			for _, b := range s.split(wire.IKE_AUTH, 1, true, 150, answer...) {
				s.deliver(b)
			}
		}
		if s.installs() != 2 || len(s.sa().fragments.partial) > 0 {
			t.Fatalf("not established: %v", s.texts())
		}
		// The next one begins with what was learned; it is given up after the usual number of repetitions.
		s.give(Rekey{Conn: "c", Child: "net"})
		if next := takeFrom(s); len(next) < 4 || len(next[0]) > room(s.path, smallPacket) {
			t.Errorf("%d messages", len(next))
		}
		s.pass(time.Minute)
		s.wantEvent("no answer", Failed, "does not answer any more")
	}
}

// take takes all that was sent.
func takeFrom(s *script) [][]byte {
	var list [][]byte
	for _, x := range s.sends {
		list = append(list, x.Data)
	}
	s.sends = nil
	return list
}

// vector is the counter in a message that AES-GCM protects.
func vector(t *testing.T, msg []byte) uint64 {
	t.Helper()
	m, err := wire.Parse(slices.Clone(msg))
	if err != nil {
		t.Fatal(err)
	}
	if m.Fragment != nil {
		return binary.BigEndian.Uint64(m.Fragment.Body)
	}
	return binary.BigEndian.Uint64(m.Encrypted.Body)
}

// TestAnswerInFragments: the fragments of an answer are no longer than those of the request, within reason.
func TestAnswerInFragments(t *testing.T) {
	s := calledInFragments(t, FragmentationYes)
	sa := s.sa()
	for _, c := range []struct{ request, want int }{{0, usualPacket}, {2000, usualPacket}, {900, 900 + 32}, {150, smallPacket}, {0, usualPacket}} {
		if c.request == 0 {
			s.request(wire.INFORMATIONAL)
		} else {
			for _, b := range s.split(wire.INFORMATIONAL, s.nextID, false, c.request, notes(10, 200)...) {
				s.deliver(b)
			}
			s.nextID++
		}
		s.want("answers", wire.INFORMATIONAL, true)
		list := sa.seal(wire.INFORMATIONAL, 9, true, notes(20, 200)).datagrams
		if again := sa.seal(wire.INFORMATIONAL, 9, true, nil); vector(t, again.datagrams[0]) <= vector(t, list[len(list)-1]) {
			t.Error("the initialisation vectors are used again")
		}
		want := room(s.path, c.want)
		if n := len(list[0]); n > want || n < want-1 || len(list) < 4 {
			t.Errorf("a request in fragments of %d bytes is answered in %d of %d bytes, want %d", c.request, len(list), n, want)
		}
	}
	for _, how := range []Fragmentation{FragmentationAccept, FragmentationNo} {
		s := calledInFragments(t, how)
		before := s.sa().keys.iv
		if list := s.sa().seal(wire.INFORMATIONAL, 9, true, notes(20, 200)).datagrams; len(list) != 1 || s.sa().keys.iv != before+1 {
			t.Errorf("%d: %d messages", how, len(list))
		}
	}
}
