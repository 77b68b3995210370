//go:build linux

package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
)

// suites have every algorithm that Culvert and strongSwan both know at least once, in IKE and in ESP. PRF and key exchange
// are always named, so that each proposal allows one choice only.
var suites = []struct{ ike, esp string }{
	{"aes128-sha1-prfsha1-modp2048", "aes128-sha1-modp2048"},
	{"aes192-sha256-prfsha256-modp3072", "aes192-sha256-modp3072"},
	{"aes256-sha384-prfsha384-modp4096", "aes256-sha384-modp4096"},
	{"aes256-sha512-prfsha512-modp6144", "aes256-sha512-modp6144"},
	{"aes128gcm16-prfsha256-ecp256", "aes128gcm16-ecp256"},
	{"aes192gcm16-prfsha384-ecp384", "aes192gcm16-ecp384"},
	{"aes256gcm16-prfsha512-ecp521", "aes256gcm16-ecp521"},
	{"chacha20poly1305-prfsha256-x25519", "chacha20poly1305-x25519"},
	{"aes256-sha1-prfsha512-x25519", "aes256-sha256"}, // a PRF that is not of the integrity algorithm; no PFS
	{"aes128-sha512-prfsha1-modp8192", "aes128-sha512-modp8192"},
	{"aes128ccm16-prfaesxcbc-ecp256bp", "aes256ccm16-ecp256bp"},
	{"aes256ccm12-prfaescmac-ecp384bp", "aes192ccm12-ecp384bp"},
	{"aes192ccm8-prfsha256-ecp512bp", "aes128ccm8-ecp512bp"},
	{"aes256ctr-aesxcbc-prfsha256-x448", "aes128ctr-aesxcbc-x448"},
	{"aes128ctr-sha256-prfsha256-modp1536", "aes192ctr-sha256-modp1536"},
	{"aes128-aescmac-prfaescmac-modp1024", "aes256-aescmac-modp1024"},
	{"aes256gcm12-prfsha256-modp2048s224", "aes256gcm12-modp2048s224"},
	{"aes256gcm8-prfsha256-modp2048s256", "aes128gcm8-modp2048s256"},
	{"aes128-sha256-prfsha256-modp1024s160", "aes128-sha256-modp1024s160"},
}

// TestInteropSuite sets up a tunnel with every suite, sends something through it, rekeys the Child SA with the key
// exchange of its own, and sends something again.
//
// Cases: SGW.I.1.1.6.1; SGW.I.1.2.3.7; Ipsec.Conf.3.1.3 B-D; Ipsec.Conf.3.1.3 E; Ipsec.Conf.3.1.3 F; Ipsec.Conf.3.1.3 H;
// Ipsec.Conf.3.1.3 L; FCS_IPSEC_EXT.1.4; FCS_IPSEC_EXT.1.6; FCS_IPSEC_EXT.1.11; FCS_IPSEC_EXT.1.12; TestResponderPsk.
func TestInteropSuite(t *testing.T) {
	t.Parallel()
	var pacts []pact
	for i, suite := range suites {
		p := numbered(i+1, fmt.Sprintf("suite%d", i))
		p.ike, p.esp = suite.ike, suite.esp
		pacts = append(pacts, p)
	}
	confA, confB := confs(pacts...)
	for _, cast := range casts {
		t.Run(cast.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			ref.subnets(len(pacts))
			p := cast.play(t, ref, confA, confB)
			for _, call := range p.calls() {
				for _, pact := range pacts {
					call.suite(pact)
				}
			}
		})
	}
}

// suite uses a connection with the algorithms of its configuration. The caller rekeys the Child SA.
func (c call) suite(p pact) {
	c.Helper()
	saA, saB := c.up(p.name, p.name)
	for _, sa := range []SA{saA, saB} {
		if !sameWords(sa.Proposal, p.ike) || !sameWords(sa.Children[0].Proposal, atFirst(p.esp)) {
			c.fail("%s and %s are in use, configured are %s and %s", sa.Proposal, sa.Children[0].Proposal, p.ike, p.esp)
		}
	}
	c.use(p, 3)

	Must(c.T, c.initiator.RekeyChild(p.name))
	old := []uint32{saA.Children[0].SPIIn, saB.Children[0].SPIIn}
	for _, peer := range []Peer{c.a, c.b} {
		await(c.T, peer, func(sas []SA) bool {
			children := Installed(sas, p.name)
			return len(children) == 1 && !slices.Contains(old, children[0].SPIIn)
		})
	}
	saA, saB = c.agree(p.name, p.name)
	for _, child := range []Child{saA.Children[0], saB.Children[0]} {
		if !sameWords(child.Proposal, p.esp) {
			c.fail("after the rekeying %s is in use, configured is %s", child.Proposal, p.esp)
		}
	}
	c.use(p, 3)
	c.down(c.initiator, p.name)
}

// atFirst is an ESP proposal without its key exchange. The Child SA that IKE_AUTH sets up has none (RFC 7296 1.2).
func atFirst(esp string) string {
	return regexp.MustCompile("-(modp|ecp|x25519|x448).*").ReplaceAllString(esp, "")
}
