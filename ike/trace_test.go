package ike

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/natt"
)

// ladder writes what a Tracer is told.
type ladder []string

func (l *ladder) Traced(m *Message) {
	arrow, notes := "<", ""
	if m.Out {
		arrow = ">"
	}
	var parts []string
	for _, p := range m.Parts {
		parts = append(parts, p.String())
	}
	if m.Datagrams != 1 {
		notes += fmt.Sprintf(" in %d", m.Datagrams)
	}
	if m.Sends > 1 {
		notes += fmt.Sprintf(" sent %d times", m.Sends)
	}
	if m.Repeated {
		notes += " repeated"
	}
	if m.Refused != "" {
		notes += " refused: " + m.Refused
	}
	*l = append(*l, fmt.Sprintf("%s %q %v %d %s%s", arrow, m.Conn, m.Header.Exchange, m.Header.MessageID, strings.Join(parts, " "), notes))
}

func (l *ladder) want(t *testing.T, what string, want ...string) {
	t.Helper()
	if !slices.Equal(*l, want) {
		t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(*l, "\n"), strings.Join(want, "\n"))
	}
	*l = nil
}

// TestTrace: every message is told once, with the names of what is inside, a request before its answer.
func TestTrace(t *testing.T) {
	var l ladder
	trace := func(c *Config) { c.Tracer = &l }
	s := newScript(t, trace)
	s.call()
	first := `"" IKE_SA_INIT 0 SA KE No N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP) V`
	answer := strings.Replace(first, "No N", "No N(CHILDLESS_IKEV2_SUPPORTED) N", 1)
	l.want(t, "IKE_SA_INIT", "< "+first, "> "+answer)

	at := s.path
	s.path = natt.Path{Local: netip.MustParseAddrPort("192.0.2.1:500"), Remote: netip.MustParseAddrPort("192.0.2.2:500")}
	s.deliver(s.first)
	l.want(t, "the same again", "< "+first+" repeated", "> "+answer+" repeated")
	s.path, s.sends = at, nil

	request := s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
	if len(l) != 2 || !strings.HasPrefix(l[0], `< "c" IKE_AUTH 1 IDi AUTH SA TSi TSr`) || !strings.HasPrefix(l[1], `> "c" IKE_AUTH 1 IDr AUTH`) {
		t.Errorf("IKE_AUTH: %q", l)
	}
	if e := &s.arrival; e.sa != nil {
		t.Error("the trace keeps the IKE SA")
	}
	l, s.sends = nil, nil
	s.deliver(request)
	if len(l) != 2 || !strings.HasSuffix(l[0], "TSr repeated") || !strings.HasSuffix(l[1], " repeated") {
		t.Errorf("IKE_AUTH again: %q", l)
	}
	l, s.sends = nil, nil

	bad := s.seal(wire.INFORMATIONAL, s.nextID, false)
	bad[len(bad)-1] ^= 1
	s.deliver(bad)
	l.want(t, "forged", `< "c" INFORMATIONAL 2  refused: integrity check failed`)
	s.deliver(bytes.Repeat([]byte{1}, 40))
	l.want(t, "junk", `< "" EXCHANGE_0 0  refused: malformed header`)

	s.give(Rekey{Conn: "c"})
	s.pass(time.Second)
	ask := `> "c" CREATE_CHILD_SA 0 SA No KE`
	l.want(t, "unanswered", ask, ask+" sent 2 times")
}

// TestTraceFragments: what comes in fragments is one message.
func TestTraceFragments(t *testing.T) {
	var l ladder
	s := newScript(t, func(c *Config) { c.Tracer = &l })
	s.announces = true
	s.call()
	s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
	l, s.sends = nil, nil
	list := s.split(wire.INFORMATIONAL, s.nextID, false, 200, notes(3, 100)...)
	for _, b := range list {
		s.deliver(b)
	}
	note := "N(" + wire.COOKIE2.String() + ")"
	l.want(t, "fragments", fmt.Sprintf(`< "c" INFORMATIONAL 2 %s in %d`, strings.Join([]string{note, note, note}, " "), len(list)), `> "c" INFORMATIONAL 2 `)
}
