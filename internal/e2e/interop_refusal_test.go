//go:build linux

package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// refusal is a connection that cannot come up.
type refusal struct {
	name     string
	spoil    func(a, b *pact) // makes what A and B have of it differ
	aCalls   verdict
	bCalls   verdict
	keepsIKE bool // it is about the Child SA alone
}

// verdict is what both gateways say of a refusal: Culvert what is wrong and what to change, charon words in its log.
type verdict struct {
	told   string    // the notify by which the caller learns it
	advice string    // what Culvert as the caller advises
	found  [2]string // what Culvert says that was called, and its remedy
	charon string    // what charon says that was called
}

var refusals = []refusal{
	{
		name:  "newline",
		spoil: func(_, b *pact) { b.secret += "\n" },
		aCalls: verdict{
			"AUTHENTICATION_FAILED", "see that it expects the identity @a-newline of us",
			[2]string{`secret "ike-newline" differs from ours only in spelling: ours begins or ends with white space`, "change how secret ike-newline is written"},
			"tried 1 shared key for 'b-newline' - 'a-newline', but MAC mismatched",
		},
		bCalls: verdict{
			"AUTHENTICATION_FAILED", "see that it expects the identity @b-newline of us",
			[2]string{`secret "ike-newline" differs from ours only in spelling: theirs ends in a newline`, "on the peer: change how its secret is written"},
			"tried 1 shared key for 'a-newline' - 'b-newline', but MAC mismatched",
		},
	},
	{
		name:  "secret",
		spoil: func(_, b *pact) { b.secret = "something else entirely" },
		aCalls: verdict{
			"AUTHENTICATION_FAILED", "see that it expects the identity @a-secret of us",
			[2]string{"the peer @a-secret has another secret than we have for it", "compare the secrets of both sides"},
			"tried 1 shared key for 'b-secret' - 'a-secret', but MAC mismatched",
		},
		bCalls: verdict{
			"AUTHENTICATION_FAILED", "see that it expects the identity @b-secret of us",
			[2]string{"the peer @b-secret has another secret than we have for it", "compare the secrets of both sides"},
			"tried 1 shared key for 'a-secret' - 'b-secret', but MAC mismatched",
		},
	},
	{
		name:  "stranger",
		spoil: func(_, b *pact) { b.b.id = "@nobody" },
		aCalls: verdict{
			"AUTHENTICATION_FAILED", "and has @b-stranger itself",
			[2]string{"no connection for a peer that says it is @a-stranger and calls us @b-stranger", "set local.id = @b-stranger in connection stranger; or on the peer: set remote.id = @nobody"},
			"no matching peer config found",
		},
		bCalls: verdict{
			"AUTHENTICATION_FAILED", "see that it expects the identity @nobody of us",
			[2]string{"no connection for a peer that says it is @nobody", "set remote.id = @nobody in the connection that is meant for this peer, newline perhaps"},
			"no matching peer config found",
		},
	},
	{
		name:  "type",
		spoil: func(_, b *pact) { b.b.id = "keyid:b-type" },
		aCalls: verdict{
			"AUTHENTICATION_FAILED", "and has @b-type itself",
			[2]string{"no connection for a peer that says it is @a-type and calls us @b-type", "set local.id = @b-type in connection type; or on the peer: set remote.id = keyid:b-type"},
			"no matching peer config found",
		},
		bCalls: verdict{
			"AUTHENTICATION_FAILED", "see that it expects the identity keyid:b-type of us",
			[2]string{"the difference is the type (ID_KEY_ID, not ID_FQDN)", "set remote.id = keyid:b-type in connection type; or on the peer: set local.id = @b-type"},
			"no matching peer config found",
		},
	},
	{
		// None of the connections has what is offered.
		name:  "ike",
		spoil: func(a, b *pact) { a.ike, b.ike = "aes192gcm16-prfsha384-ecp384", "aes128-sha256-modp3072" },
		aCalls: verdict{
			"NO_PROPOSAL_CHOSEN", "offer more: add default to proposals",
			[2]string{"no common proposal for the IKE SA: the peer offers aes192gcm16-prfsha384-ecp384", "add aes192gcm16-prfsha384-ecp384 to proposals"},
			"received proposals unacceptable",
		},
		bCalls: verdict{
			"NO_PROPOSAL_CHOSEN", "offer more: add default to proposals",
			[2]string{"no common proposal for the IKE SA: the peer offers aes128-sha256-prfsha256-modp3072", "add aes128-sha256-prfsha256-modp3072 to proposals"},
			"received proposals unacceptable",
		},
	},
	{
		// Another connection has what is offered, but the one of the caller, once it is known who that is, has not.
		name:  "other",
		spoil: func(a, b *pact) { a.ike, b.ike = "aes128-sha256-x25519", "aes256-sha512-x25519" },
		aCalls: verdict{
			"AUTHENTICATION_FAILED", "see that it expects the identity @a-other of us",
			[2]string{"connection other is for this peer, but its proposals do not allow what the peer offers, aes128-sha256-prfsha256-x25519", "add aes128-sha256-prfsha256-x25519 to proposals"},
			"no matching peer config found",
		},
		bCalls: verdict{
			"AUTHENTICATION_FAILED", "see that it expects the identity @b-other of us",
			[2]string{"connection other is for this peer, but its proposals do not allow what the peer offers, aes256-sha512-prfsha512-x25519", "add aes256-sha512-prfsha512-x25519 to proposals"},
			"no matching peer config found",
		},
	},
	{
		name:     "esp",
		spoil:    func(_, b *pact) { b.esp = "aes128-sha256" },
		keepsIKE: true,
		aCalls: verdict{
			"NO_PROPOSAL_CHOSEN", "offer more: add default to esp_proposals",
			[2]string{"no common proposal for child esp: the peer offers aes256gcm16", "add aes256gcm16 to esp_proposals; or on the peer: set esp_proposals = aes128-sha256"},
			"failed to establish CHILD_SA, keeping IKE_SA",
		},
		bCalls: verdict{
			"NO_PROPOSAL_CHOSEN", "offer more: add default to esp_proposals",
			[2]string{"no common proposal for child esp: the peer offers aes128-sha256", "add aes128-sha256 to esp_proposals; or on the peer: set esp_proposals = aes256gcm16"},
			"failed to establish CHILD_SA, keeping IKE_SA",
		},
	},
	{
		name:     "selectors",
		spoil:    func(_, b *pact) { b.a.nets, b.b.nets = "10.103.200.0/24", "10.104.200.0/24" },
		keepsIKE: true,
		aCalls: verdict{
			"TS_UNACCEPTABLE", "local_ts of one side must overlap remote_ts of the other",
			[2]string{"no child fits the peer's traffic selectors [10.104.8.0/24] === [10.103.8.0/24]", "set local_ts = 10.104.8.0/24 and remote_ts = 10.103.8.0/24 in child selectors"},
			"failed to establish CHILD_SA, keeping IKE_SA",
		},
		bCalls: verdict{
			"TS_UNACCEPTABLE", "local_ts of one side must overlap remote_ts of the other",
			[2]string{"no child fits the peer's traffic selectors [10.103.200.0/24] === [10.104.200.0/24]", "set local_ts = 10.103.200.0/24 and remote_ts = 10.104.200.0/24 in child selectors"},
			"failed to establish CHILD_SA, keeping IKE_SA",
		},
	},
}

// TestInteropRefusal wants every refusal to be told to the peer in the words of the RFC, and to the operator with its
// remedy, whichever side finds the fault; and a connection of the same gateways that has no fault to work all the same.
//
// Cases: FCS_IPSEC_EXT.1.12; FCS_IPSEC_EXT.1.13.
func TestInteropRefusal(t *testing.T) {
	t.Parallel()
	var ofA, ofB []pact
	for i, r := range refusals {
		a := numbered(i+1, r.name)
		b := a
		r.spoil(&a, &b)
		ofA, ofB = append(ofA, a), append(ofB, b)
	}
	sound := numbered(len(refusals)+1, "sound")
	// Who is known as "other" is another one than these two.
	likeA, likeB := numbered(len(refusals)+2, "like-a"), numbered(len(refusals)+3, "like-b")
	likeA.ike, likeB.ike = "aes128-sha256-x25519", "aes256-sha512-x25519"
	confA, _ := confs(append(ofA, sound, likeB)...)
	_, confB := confs(append(ofB, sound, likeA)...)
	for _, cast := range casts {
		t.Run(cast.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			ref.subnets(len(refusals) + 1)
			p := cast.play(t, ref, confA, confB)
			for _, call := range p.calls() {
				for _, r := range refusals {
					call.refused(r)
				}
			}
			for _, call := range p.calls() {
				call.up("sound", "sound")
				call.use(sound, 3)
				call.down(call.initiator, "sound")
			}
		})
	}
}

// refused initiates in vain, and checks what both sides say.
func (c call) refused(r refusal) {
	c.Helper()
	want := r.bCalls
	if c.byA {
		want = r.aCalls
	}
	began, caller, called := time.Now(), len(c.initiator.Log()), len(c.responder.Log())
	if err := c.initiator.Initiate(r.name); err == nil {
		c.fail("%s came up", r.name)
	}
	c.explains(c.initiator, r.name, began, caller, [2]string{"the peer refuses: " + want.told, want.advice}, "received "+want.told+" notify")
	c.explains(c.responder, r.name, began, called, want.found, want.charon)
	for _, p := range []Peer{c.a, c.b} {
		await(c.T, p, func(sas []SA) bool {
			if !r.keepsIKE {
				return len(sas) == 0
			}
			return len(sas) == 1 && len(Established(sas, r.name)) == 1 && len(sas[0].Children) == 0
		})
	}
	if r.keepsIKE {
		c.down(c.initiator, r.name)
	}
}

// explains checks what a gateway has said since then: Culvert in its status and in its log, charon in its log.
func (c call) explains(p Peer, name string, since time.Time, from int, want [2]string, charon string) {
	c.Helper()
	log := p.Log()[from:]
	gateway, ok := p.(*Culvert)
	if !ok {
		if !strings.Contains(log, charon) {
			c.fail("%s: charon did not say %q", name, charon)
		}
		return
	}
	status, err := gateway.Status()
	Must(c.T, err)
	failures := status.Refused
	for _, connection := range status.Connections {
		if connection.Name == name && connection.LastFailure != nil {
			failures = append(failures, *connection.LastFailure)
		}
	}
	for _, f := range failures {
		if f.Time.After(since) && strings.Contains(f.Text, want[0]) && strings.Contains(f.Remedy, want[1]) {
			if !inLog(log, f) {
				c.fail("%s: %+v is in the status and not in the log", name, f)
			}
			return
		}
	}
	c.fail("%s: Culvert was to say %q and to advise %q; it said %+v", name, want[0], want[1], failures)
}

// inLog tells whether a failure is in a log of Culvert's.
func inLog(log string, f CulvertFailure) bool {
	for line := range strings.Lines(log) {
		var record struct{ Msg, Text, Remedy string }
		if json.Unmarshal([]byte(line), &record) == nil && record.Msg == f.Kind && record.Text == f.Text && record.Remedy == f.Remedy {
			return true
		}
	}
	return false
}
