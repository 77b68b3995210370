package ike

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// underway brings about each exchange of docs/collisions.md at the endpoint, unanswered.
var underway = map[string]func(*encounter){
	"create child": func(e *encounter) {
		e.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{e.same}})
		e.sends = nil
		e.begin(&childExchange{cfg: e.cfg.Connections[0].Children[0]})
		e.same = []byte{9, 9, 9, 9}
	},
	"rekey child":      func(e *encounter) { e.give(Rekey{Conn: "c", Child: "net"}) },
	"delete child":     func(e *encounter) { e.give(Terminate{Conn: "c", Child: "net"}) },
	"rekey IKE SA":     func(e *encounter) { e.give(Rekey{Conn: "c"}) },
	"delete IKE SA":    func(e *encounter) { e.give(Terminate{Conn: "c"}) },
	"liveness":         func(e *encounter) { e.begin(&alive{}) },
	"update addresses": func(e *encounter) { e.sa.startMobility(&content{}); e.begin(&updateAddresses{}) },
	"disown a child":   func(e *encounter) { spi, _ := e.AllocSPI(); e.begin(&disown{spi: spi}); e.same = []byte{9, 9, 9, 9} },
	"rekey IKE SA, the peer's successor is agreed": func(e *encounter) {
		e.give(Rekey{Conn: "c"})
		e.request(wire.CREATE_CHILD_SA, e.successor()...)
		e.sends = e.sends[:1]
	},
	"tell of a fatal error": func(e *encounter) {
		e.sa.vacate((*childSA).vanish)
		e.sa.state = &established{closing: true}
		e.begin(&farewell{error: wire.AUTHENTICATION_FAILED})
	},
	"delete IKE SA, after the answer that we wait for": func(e *encounter) {
		e.give(Rekey{Conn: "c", Child: "net"})
		e.give(Terminate{Conn: "c"})
	},
}

// theirWishes are the requests of docs/collisions.md, with the SPI of the child that they are about.
var theirWishes = map[string]struct {
	wish wish
	ask  func(e *encounter)
}{
	"create child, same":    {theyCreateChild, func(e *encounter) { e.create(nil, "10.1.0.0/16", "10.2.0.0/16") }},
	"create child, another": {theyCreateChild, func(e *encounter) { e.create(nil, "10.3.0.0/16", "10.4.0.0/16") }},
	"rekey child, same":     {theyRekeyChild, func(e *encounter) { e.create(e.same, "10.1.0.0/16", "10.2.0.0/16") }},
	"rekey child, another":  {theyRekeyChild, func(e *encounter) { e.create(e.another, "10.3.0.0/16", "10.4.0.0/16") }},
	"delete child, same":    {theyDeleteChild, func(e *encounter) { e.delete(e.same) }},
	"delete child, another": {theyDeleteChild, func(e *encounter) { e.delete(e.another) }},
	"rekey IKE SA":          {theyRekeyIKE, func(e *encounter) { e.request(wire.CREATE_CHILD_SA, e.successor()...) }},
	"delete IKE SA":         {theyDeleteIKE, func(e *encounter) { e.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.IKE}) }},
	"liveness":              {numWishes, func(e *encounter) { e.request(wire.INFORMATIONAL) }},
}

// numWishes stands for a request that no exchange is asked about.
const numWishes = theyDeleteIKE + 1

// encounter is a script in which the endpoint has an exchange under way. same and another are the peer's SPIs of the child that it is
// about and of another one.
type encounter struct {
	*script
	sa            *ikeSA
	same, another []byte
}

func newEncounter(t *testing.T) *encounter {
	s := called(t, func(c *Config) {
		next := *c.Connections[0].Children[0]
		next.Name, next.LocalTS, next.RemoteTS = "next", testSpec("10.3.0.0/16"), testSpec("10.4.0.0/16")
		c.Connections[0].Children = append(c.Connections[0].Children, &next)
	})
	e := &encounter{script: s, sa: s.sa(), same: s.childIn}
	e.create(nil, "10.3.0.0/16", "10.4.0.0/16")
	e.another = s.childIn
	if len(e.sa.children) != 2 {
		t.Fatalf("%d children, want 2", len(e.sa.children))
	}
	e.sends = nil
	return e
}

// begin starts an exchange of the endpoint.
func (e *encounter) begin(x exchange) {
	e.sa.enqueue(x)
	e.touch(e.sa)
	e.give(Tick{})
}

// create asks for a child between networks of the endpoint and of the peer, the successor of old if that is given.
func (e *encounter) create(old []byte, ours, theirs string) {
	list := e.newChild(suite.CURVE25519)
	list = append(list[:3:3], &wire.TS{Selectors: ts.Resolve(testSpec(theirs))}, &wire.TS{Responder: true, Selectors: ts.Resolve(testSpec(ours))})
	if old != nil {
		list = append([]wire.Payload{&wire.Notify{Protocol: suite.ESP, SPI: old, Kind: wire.REKEY_SA}}, list...)
	}
	e.request(wire.CREATE_CHILD_SA, list...)
}

func (e *encounter) delete(spi []byte) {
	e.request(wire.INFORMATIONAL, &wire.Delete{Protocol: suite.ESP, SPIs: [][]byte{spi}})
}

// successor asks for a successor of the IKE SA.
func (e *encounter) successor() []wire.Payload {
	list := e.newChild(suite.CURVE25519)
	return append([]wire.Payload{number(testProposal(suite.IKE, testIKE), []byte("12345678"))}, list[1:3]...)
}

// find is the child with one of the peer's SPIs, or nil.
func (e *encounter) find(wish string) *childSA {
	switch {
	case strings.HasSuffix(wish, ", same"):
		return e.sa.childWithOut(binary.BigEndian.Uint32(e.same))
	case strings.HasSuffix(wish, ", another"):
		return e.sa.childWithOut(binary.BigEndian.Uint32(e.another))
	}
	return nil
}

// TestClash lets each request of docs/collisions.md come while each of our exchanges waits for its answer. The answer is the one of the
// document, and what the exchange thinks of it agrees.
//
// Cases: BUG-25.
func TestClash(t *testing.T) {
	cells := readMatrix(t)
	for ours := range underway {
		for theirs, w := range theirWishes {
			t.Run(ours+"/"+theirs, func(t *testing.T) {
				want, ok := cells[ours][theirs]
				if !ok {
					t.Fatal("not in docs/collisions.md")
				}
				delete(cells[ours], theirs)
				e := newEncounter(t)
				underway[ours](e)
				x, _ := find(e.sa, func(exchange) bool { return true })
				if x == nil {
					t.Fatalf("nothing is under way: %v", e.texts())
				}
				child := e.find(theirs)
				e.sends = nil
				if w.wish != numWishes {
					thinks := map[verdict]string{accept: "as usual", refuse: "TEMPORARY_FAILURE", omit: "no Delete"}[x.clash(w.wish, child)]
					isUnknown := child == nil && (w.wish == theyRekeyChild || w.wish == theyDeleteChild)
					if thinks != want && !isUnknown {
						t.Errorf("clash says %q, want %q", thinks, want)
					}
				}
				w.ask(e)
				if got := e.verdict(w.wish); got != want {
					t.Errorf("answered %q, want %q", got, want)
				}
			})
		}
	}
	for ours, row := range cells {
		for theirs := range row {
			t.Errorf("docs/collisions.md has %s / %s, which is not tested", ours, theirs)
		}
	}
}

// verdict says in words how the endpoint answered.
func (e *encounter) verdict(w wish) string {
	e.t.Helper()
	kind := wire.INFORMATIONAL
	if w <= theyRekeyChild || w == theyRekeyIKE {
		kind = wire.CREATE_CHILD_SA
	}
	_, c := e.want("answers", kind, true)
	switch {
	case len(c.notifies) > 0:
		return c.notifies[0].Kind.String()
	case w == theyDeleteChild && len(c.deletes) == 0:
		return "no Delete"
	}
	return "as usual"
}

// readMatrix reads our answers from docs/collisions.md: a heading for each exchange of ours, and below it a table with the requests of
// the peer and the answers.
func readMatrix(t *testing.T) map[string]map[string]string {
	t.Helper()
	text, err := os.ReadFile("../docs/collisions.md")
	if err != nil {
		t.Fatal(err)
	}
	cells := make(map[string]map[string]string)
	var row string
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "### "); ok {
			row = strings.TrimSpace(name)
			cells[row] = make(map[string]string)
			continue
		}
		if strings.HasPrefix(line, "## ") {
			row = ""
		}
		if f := strings.Split(line, "|"); row != "" && len(f) >= 4 && !strings.Contains(f[1], "---") && strings.TrimSpace(f[1]) != "request" {
			cells[row][strings.TrimSpace(f[1])] = strings.TrimSpace(f[2])
		}
	}
	return cells
}
