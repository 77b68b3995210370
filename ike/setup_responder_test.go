package ike

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike/wire"
	"github.com/culvert-vpn/culvert/psk"
	"github.com/culvert-vpn/culvert/suite"
)

func TestEstablish(t *testing.T) {
	for name, make := range map[string]func(*testing.T, func(*Config)) *script{"called": called, "calling": calling} {
		t.Run(name, func(t *testing.T) {
			s := make(t, nil)
			s.wantEvent("says so", Established)
			s.wantIdle("has nothing to say")
			if k := s.sa().keys; k.pi != nil || k.pr != nil || k.d == nil {
				t.Error("SK_pi and SK_pr outlive IKE_AUTH, or SK_d does not")
			}
		})
	}
}

// TestInitRepeated: a repeated IKE_SA_INIT gets the same bytes, and none after IKE_AUTH (RFC 7296 2.1).
func TestInitRepeated(t *testing.T) {
	s := newScript(t, nil)
	s.call()
	at := s.path
	s.path.NATT, s.path.Local, s.path.Remote = false, netip.MustParseAddrPort("192.0.2.1:500"), netip.MustParseAddrPort("192.0.2.2:500")
	init := s.path
	s.deliver(s.first)
	if len(s.sends) != 1 || !bytes.Equal(s.sends[0].Data, s.theirFirst) {
		t.Fatal("not the same answer")
	}
	s.sends = nil
	s.path = at
	s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
	s.want("answers IKE_AUTH", wire.IKE_AUTH, true)
	s.path = init
	s.deliver(s.first)
	s.wantIdle("ignores IKE_SA_INIT after IKE_AUTH")
	s.sa()
}

// TestAuthRepeated: so does IKE_AUTH.
func TestAuthRepeated(t *testing.T) {
	s := newScript(t, nil)
	s.call()
	request := s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
	first := s.sends[0].Data
	s.sends = nil
	s.deliver(request)
	if len(s.sends) != 1 || !bytes.Equal(s.sends[0].Data, first) || s.installs() != 2 {
		t.Error("a repeated IKE_AUTH is not answered from the cache")
	}
}

// TestStrangeHeaders: what is no message to an IKE SA of ours changes nothing.
//
// Cases: BUG-04; FCS_IPSEC_EXT.1.5; TestMalformedMessages; set_ike_version; corrupt_encrypted.
func TestStrangeHeaders(t *testing.T) {
	good := wire.AppendMessage(nil, wire.Header{SPIi: 1, SPIr: 2, Exchange: wire.INFORMATIONAL, Initiator: true, MessageID: 3}, notifyOf(8000))
	alter := func(do func(b []byte)) []byte {
		b := slices.Clone(good)
		do(b)
		return b
	}
	for _, c := range []struct {
		name, dropped string
		data          []byte
		answer        bool
	}{
		{"an unknown SPI", "unknown IKE SPI", good, false},
		{"IKEv1", "IKEv1", alter(func(b []byte) { b[17] = 0x10 }), false},
		{"major version 3", "unknown major version", alter(func(b []byte) { b[17] = 0x30 }), true},
		{"an answer of major version 3", "unknown major version", alter(func(b []byte) { b[17], b[19] = 0x30, 0x28 }), false},
		{"no initiator SPI", "unknown IKE SPI", alter(func(b []byte) { clear(b[:8]) }), false},
		{"a wrong length", "malformed header", alter(func(b []byte) { b[27]++ }), false},
		{"too short", "malformed header", good[:20], false},
		{"nothing", "malformed header", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, nil)
			s.deliver(c.data)
			s.wantEvent("tells", Dropped, c.dropped)
			if c.answer {
				s.wantNotify("names the version that we speak", wire.INFORMATIONAL, wire.INVALID_MAJOR_VERSION)
			}
			s.wantIdle("keeps silent")
			if s.order.len() > 0 {
				t.Error("an IKE SA was made")
			}
		})
	}
}

// TestBeforeItsTime: every exchange in every state, as request and as answer, with and without encryption, in both roles. What has
// no place there is dropped, and what follows works as if it had not come.
//
// Cases: BUG-02; set_ike_version; corrupt_encrypted.
func TestBeforeItsTime(t *testing.T) {
	exchanges := []wire.Exchange{wire.IKE_SA_INIT, wire.IKE_AUTH, wire.CREATE_CHILD_SA, wire.INFORMATIONAL, 99}
	states := map[string]struct {
		reach  func(*testing.T) *script
		finish func(*script)
	}{
		"called, before IKE_AUTH": {
			func(t *testing.T) *script { s := newScript(t, nil); s.call(); return s },
			func(s *script) {
				s.request(wire.IKE_AUTH, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
				s.want("still answers IKE_AUTH", wire.IKE_AUTH, true)
			},
		},
		"calling, before the answer to IKE_AUTH": {
			func(t *testing.T) *script {
				s := newScript(t, nil)
				s.give(Initiate{Conn: "c"})
				s.takeCall()
				s.want("authenticates", wire.IKE_AUTH, false)
				return s
			},
			func(s *script) {
				s.answer(wire.IKE_AUTH, 1, append(s.auth(s.id, s.secret), s.childPayloads(1)...)...)
			},
		},
		"called, established": {
			func(t *testing.T) *script { return called(t, nil) },
			func(s *script) {
				s.request(wire.INFORMATIONAL)
				s.want("still answers", wire.INFORMATIONAL, true)
			},
		},
		"calling, established": {
			func(t *testing.T) *script { return calling(t, nil) },
			func(s *script) {
				s.request(wire.INFORMATIONAL)
				s.want("still answers", wire.INFORMATIONAL, true)
			},
		},
	}
	for name, state := range states {
		t.Run(name, func(t *testing.T) {
			for _, x := range exchanges {
				for _, response := range []bool{false, true} {
					for _, id := range []uint32{0, 1, 2, 7, 1<<32 - 1} {
						s := state.reach(t)
						clearText := wire.AppendMessage(nil, s.header(x, id, response), []wire.Payload{&wire.Notify{Kind: wire.INVALID_SYNTAX}})
						s.deliver(clearText)
						if x != wire.IKE_SA_INIT || response {
							s.wantIdle("ignores clear " + x.String())
						}
						s.sends = nil
						// A message with a wrong checksum is as good as none.
						forged := s.seal(x, id, response, &wire.Delete{Protocol: suite.IKE})
						forged[len(forged)-1] ^= 1
						s.deliver(forged)
						if x != wire.IKE_SA_INIT {
							s.wantIdle("ignores forged " + x.String())
						}
						s.sends = nil
						state.finish(s)
						if s.installs() != 2 {
							t.Fatalf("after %v %d, answer %v: %d halves of a child, events %v", x, id, response, s.installs(), s.texts())
						}
					}
				}
			}
		})
	}
}

// TestInitShapes: a first message that lacks something is not answered, or refused without keeping anything.
//
// Cases: BUG-01; ikev2-unknown-payload-01..03; add_notify; ke_payload.
func TestInitShapes(t *testing.T) {
	type change func(s *script, list []wire.Payload) []wire.Payload
	without := func(kind wire.PayloadType) change {
		return func(_ *script, list []wire.Payload) []wire.Payload {
			return slices.DeleteFunc(list, func(p wire.Payload) bool { return p.Type() == kind })
		}
	}
	for _, c := range []struct {
		name   string
		change change
		answer wire.NotifyType // 0: none
		word   string
	}{
		{"no SA", without(wire.TypeSA), 0, "malformed"},
		{"no KE", without(wire.TypeKE), 0, "malformed"},
		{"no nonce", without(wire.TypeNONCE), 0, "malformed"},
		{"two nonces", func(_ *script, l []wire.Payload) []wire.Payload {
			return append(l, &wire.Nonce{Data: make([]byte, 32)})
		}, 0, "malformed"},
		{"no NAT detection", without(wire.TypeNOTIFY), wire.NO_PROPOSAL_CHOSEN, "NAT traversal"},
		{"unknown critical payload", func(_ *script, l []wire.Payload) []wire.Payload {
			return append(l, &wire.Unknown{Kind: 200, Critical: true})
		}, wire.UNSUPPORTED_CRITICAL_PAYLOAD, "critical"},
		{"unknown payload that is not critical", func(_ *script, l []wire.Payload) []wire.Payload {
			return append(l, &wire.Unknown{Kind: 200})
		}, wire.NAT_DETECTION_SOURCE_IP, ""},
		{"another group", func(s *script, _ []wire.Payload) []wire.Payload {
			return s.initPayloads(testProposal(suite.IKE, "aes128gcm16-prfsha256-ecp256-modp2048"), suite.MODP2048, 1)
		}, wire.INVALID_KE_PAYLOAD, ""},
		{"nothing in common", func(s *script, _ []wire.Payload) []wire.Payload {
			return s.initPayloads(testProposal(suite.IKE, "aes256-sha384-modp3072"), suite.MODP3072, 1)
		}, wire.NO_PROPOSAL_CHOSEN, "aes256-sha384-prfsha384-modp3072"},
		{"a public value of zeros", func(s *script, l []wire.Payload) []wire.Payload {
			l[1] = &wire.KE{Group: suite.CURVE25519, Data: make([]byte, 32)}
			return l
		}, wire.INVALID_SYNTAX, "invalid public value"},
		{"a public value of a wrong length", func(s *script, l []wire.Payload) []wire.Payload {
			l[1] = &wire.KE{Group: suite.CURVE25519, Data: make([]byte, 31)}
			return l
		}, wire.INVALID_SYNTAX, "invalid public value"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, nil)
			s.initiator, s.spiI = true, 0xaaaa
			list := c.change(s, s.initPayloads(testProposal(suite.IKE, testIKE), suite.CURVE25519, 1))
			s.send(s.header(wire.IKE_SA_INIT, 0, false), list...)
			if c.answer != 0 {
				n := s.wantNotify("answers", wire.IKE_SA_INIT, c.answer)
				if c.answer == wire.INVALID_KE_PAYLOAD && !bytes.Equal(n.Data, []byte{0, suite.ECP256}) {
					t.Errorf("wants group %x", n.Data)
				}
			}
			s.wantIdle("no more")
			if c.word != "" && !slices.ContainsFunc(s.events, func(ev Event) bool {
				return bytes.Contains([]byte(ev.Text+ev.Remedy), []byte(c.word))
			}) {
				t.Errorf("nobody is told of %q: %v", c.word, s.texts())
			}
			if (s.order.len() > 0) != (c.answer == wire.NAT_DETECTION_SOURCE_IP) {
				t.Errorf("%d IKE SAs are kept", s.order.len())
			}
		})
	}
}

// TestAuthFailures: whatever is wrong with an IKE_AUTH request, the peer is told AUTHENTICATION_FAILED, the operator why, and
// nothing is installed.
//
// Cases: BUG-03; BUG-08.
func TestAuthFailures(t *testing.T) {
	for _, c := range []struct {
		name   string
		config func(*Config)
		alter  func(s *script, list []wire.Payload) []wire.Payload
		words  []string
	}{
		{"another secret", nil, func(s *script, _ []wire.Payload) []wire.Payload { return s.auth(s.id, testSecrets(s.t, "terces")) },
			[]string{"another secret", "@peer"}},
		{"a newline behind the secret", nil, func(s *script, _ []wire.Payload) []wire.Payload { return s.auth(s.id, testSecrets(s.t, "secret\n")) },
			[]string{"another secret", "line"}},
		{"an unknown identity", nil, func(s *script, _ []wire.Payload) []wire.Payload { return s.auth(testID("@stranger"), s.secret) },
			[]string{"no connection", "@stranger", "remote.id"}},
		{"an identity that is nearly right", nil, func(s *script, _ []wire.Payload) []wire.Payload { return s.auth(testID("@peer."), s.secret) },
			[]string{"no connection", "dot"}},
		{"another identity for us", nil, func(s *script, l []wire.Payload) []wire.Payload {
			return append(l, &wire.ID{Responder: true, ID: testID("@them")})
		}, []string{"calls us", "@them", "@us"}},
		{"no secret", func(c *Config) {
			store := psk.NewStore()
			if err := store.Add("ike-other", []byte("x"), []ident.Pattern{testPattern("@other")}); err != nil {
				panic(err)
			}
			c.Secrets = store
		}, nil, []string{"no secret", "@peer"}},
		{"another method", nil, func(_ *script, l []wire.Payload) []wire.Payload {
			l[1].(*wire.Auth).Method = wire.AuthSignature
			return l
		}, []string{"pre-shared key"}},
		{"an empty AUTH", nil, func(_ *script, l []wire.Payload) []wire.Payload {
			l[1].(*wire.Auth).Data = []byte{0}
			return l
		}, []string{"another secret"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript(t, c.config)
			s.call()
			list := s.auth(s.id, s.secret)
			if c.alter != nil {
				list = c.alter(s, list)
			}
			keys := s.sa().keys
			d := keys.d
			s.request(wire.IKE_AUTH, append(list, s.childPayloads(1)...)...)
			s.wantNotify("refuses", wire.IKE_AUTH, wire.AUTHENTICATION_FAILED)
			s.wantEvent("explains", Failed, c.words...)
			if s.installs() != 0 || len(s.Snapshot()) != 0 {
				t.Error("something is up")
			}
			if keys.d != nil || keys.pi != nil || bytes.Count(d, []byte{0}) != len(d) {
				t.Error("secrets are kept")
			}
			s.pass(time.Hour)
			if s.order.len()+len(s.initial)+len(s.halfOpen.of)+s.halfOpen.all+len(s.Endpoint.sas)+len(s.agenda.entries) > 0 {
				t.Error("something is left")
			}
		})
	}
}

// TestAuthShapes: an IKE_AUTH request that lacks something.
//
// Cases: BUG-03.
func TestAuthShapes(t *testing.T) {
	for name, alter := range map[string]func([]wire.Payload) []wire.Payload{
		"no identity": func(l []wire.Payload) []wire.Payload { return l[1:] },
		"nothing":     func([]wire.Payload) []wire.Payload { return nil },
		"two AUTH":    func(l []wire.Payload) []wire.Payload { return append(l, l[1]) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, nil)
			s.call()
			s.request(wire.IKE_AUTH, alter(s.auth(s.id, s.secret))...)
			s.wantNotify("refuses", wire.IKE_AUTH, wire.INVALID_SYNTAX)
			if s.installs() != 0 || len(s.Snapshot()) != 0 {
				t.Error("something is up")
			}
		})
	}
}
