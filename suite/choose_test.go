package suite

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func tr(t Type, id uint16, bits ...uint16) Transform {
	out := Transform{Type: t, ID: id}
	if len(bits) > 0 {
		out.KeyBits = bits[0]
	}
	return out
}

func TestChoose(t *testing.T) {
	ike := func(text string) Proposal { return parse(t, IKE, text) }
	esp := func(text string) Proposal { return parse(t, ESP, text) }
	with := func(p Proposal, more ...Transform) Proposal {
		return Proposal{p.Protocol, append(slices.Clone(p.Transforms), more...)}
	}
	without := func(p Proposal, typ Type) Proposal {
		return Proposal{p.Protocol, slices.DeleteFunc(slices.Clone(p.Transforms), func(t Transform) bool { return t.Type == typ })}
	}
	gcm := tr(TypeENCR, ENCR_AES_GCM_16, 256)
	none := tr(TypeINTEG, AUTH_NONE)
	noKE := tr(TypeKE, KE_NONE)
	for _, c := range []struct {
		name          string
		offered, ours []Proposal
		prefer        uint16
		index         int
		want          string // "" for no choice
		extra         []Transform
	}{
		{name: "the same", offered: []Proposal{ike("aes256gcm16-prfsha256-x25519")}, ours: []Proposal{ike("aes256gcm16-prfsha256-x25519")},
			want: "aes256gcm16-prfsha256-x25519"},
		{name: "our order of transforms", offered: []Proposal{ike("aes128-aes256-sha256-sha512-modp2048-x25519")},
			ours: []Proposal{ike("aes256-aes128-sha512-sha256-x25519-modp2048")}, want: "aes256-sha512-prfsha512-x25519"},
		{name: "our order of proposals", offered: []Proposal{esp("aes128-sha256"), esp("aes128gcm16")},
			ours: []Proposal{esp("aes128gcm16"), esp("aes128-sha256")}, index: 1, want: "aes128gcm16"},
		{name: "the second offer", offered: []Proposal{esp("aes128-sha1"), esp("aes256-sha256")}, ours: []Proposal{esp("aes256-sha256")},
			index: 1, want: "aes256-sha256"},
		{name: "the peer's KE payload", offered: []Proposal{ike("aes256gcm16-prfsha256-x25519-modp2048")},
			ours: []Proposal{ike("aes256gcm16-prfsha256-x25519-modp2048")}, prefer: MODP2048, want: "aes256gcm16-prfsha256-modp2048"},
		{name: "a KE payload we do not take", offered: []Proposal{ike("aes256gcm16-prfsha256-ecp256-modp2048")},
			ours: []Proposal{ike("aes256gcm16-prfsha256-x25519-modp2048")}, prefer: ECP256, want: "aes256gcm16-prfsha256-modp2048"},
		{name: "a KE payload that was not offered", offered: []Proposal{ike("aes256gcm16-prfsha256-x25519")},
			ours: []Proposal{ike("aes256gcm16-prfsha256-x25519-modp2048")}, prefer: MODP2048, want: "aes256gcm16-prfsha256-x25519"},
		{name: "nothing in common", offered: []Proposal{ike("aes256gcm16-prfsha256-x25519")}, ours: []Proposal{ike("aes256gcm16-prfsha512-x25519")}},
		{name: "other key length", offered: []Proposal{esp("aes128gcm16")}, ours: []Proposal{esp("aes256gcm16")}},
		{name: "other protocol", offered: []Proposal{{AH, []Transform{tr(TypeINTEG, 12), tr(TypeESN, 0)}}}, ours: []Proposal{esp("aes128-sha256")}},
		{name: "AH on both sides", offered: []Proposal{{AH, []Transform{tr(TypeINTEG, 12), tr(TypeESN, 0)}}},
			ours: []Proposal{{AH, []Transform{tr(TypeINTEG, 12), tr(TypeESN, 0)}}}},
		{name: "no offers", ours: []Proposal{esp("aes128-sha256")}},
		{name: "nothing configured", offered: []Proposal{esp("aes128-sha256")}},

		// RFC 7296 3.3.5
		{name: "AES without key length", offered: []Proposal{{ESP, []Transform{tr(TypeENCR, ENCR_AES_GCM_16), tr(TypeESN, 0)}}},
			ours: []Proposal{{ESP, []Transform{tr(TypeENCR, ENCR_AES_GCM_16), tr(TypeESN, 0)}}}},
		{name: "ChaCha20 with key length", offered: []Proposal{{ESP, []Transform{tr(TypeENCR, ENCR_CHACHA20_POLY1305, 256), tr(TypeESN, 0)}}},
			ours: []Proposal{esp("chacha20poly1305")}},
		{name: "PRF with key length", offered: []Proposal{{IKE, []Transform{gcm, tr(TypePRF, PRF_HMAC_SHA2_256, 256), tr(TypeKE, CURVE25519)}}},
			ours: []Proposal{ike("aes256gcm16-prfsha256-x25519")}},
		{name: "group with key length", offered: []Proposal{{IKE, []Transform{gcm, tr(TypePRF, PRF_HMAC_SHA2_256), tr(TypeKE, CURVE25519, 256)}}},
			ours: []Proposal{ike("aes256gcm16-prfsha256-x25519")}},

		// RFC 7296 3.3.6
		{name: "unknown transforms are passed over", offered: []Proposal{with(Proposal{IKE, []Transform{tr(TypeENCR, 1234), tr(TypePRF, 999), tr(TypeKE, 65000)}},
			ike("aes256gcm16-prfsha256-x25519").Transforms...)}, ours: []Proposal{ike("aes256gcm16-prfsha256-x25519")}, want: "aes256gcm16-prfsha256-x25519"},
		{name: "unknown transforms on both sides", offered: []Proposal{{ESP, []Transform{tr(TypeENCR, 25, 128), tr(TypeESN, 0)}}},
			ours: []Proposal{{ESP, []Transform{tr(TypeENCR, 25, 128), tr(TypeESN, 0)}}}},
		{name: "unknown type", offered: []Proposal{with(ike("aes256gcm16-prfsha256-x25519"), tr(6, 36))}, ours: []Proposal{ike("aes256gcm16-prfsha256-x25519")}},
		{name: "unknown type, next proposal", offered: []Proposal{with(ike("aes256gcm16-prfsha256-x25519"), tr(6, 36)), ike("aes256gcm16-prfsha256-x25519")},
			ours: []Proposal{ike("aes256gcm16-prfsha256-x25519")}, index: 1, want: "aes256gcm16-prfsha256-x25519"},
		{name: "type 0", offered: []Proposal{with(esp("aes256gcm16"), tr(0, 0))}, ours: []Proposal{esp("aes256gcm16")}},
		{name: "PRF in ESP", offered: []Proposal{with(esp("aes256gcm16"), tr(TypePRF, 5))}, ours: []Proposal{esp("aes256gcm16")}},
		{name: "ESN in IKE", offered: []Proposal{with(ike("aes256gcm16-prfsha256-x25519"), tr(TypeESN, 0))}, ours: []Proposal{ike("aes256gcm16-prfsha256-x25519")}},
		{name: "no ENCR", offered: []Proposal{without(esp("aes256gcm16"), TypeENCR)}, ours: []Proposal{esp("aes256gcm16")}},
		{name: "no ESN", offered: []Proposal{without(esp("aes256gcm16"), TypeESN)}, ours: []Proposal{esp("aes256gcm16")}},
		{name: "no PRF", offered: []Proposal{without(ike("aes256gcm16-prfsha256-x25519"), TypePRF)}, ours: []Proposal{ike("aes256gcm16-prfsha256-x25519")}},
		{name: "no KE in IKE", offered: []Proposal{without(ike("aes256gcm16-prfsha256-x25519"), TypeKE)},
			ours: []Proposal{without(ike("aes256gcm16-prfsha256-x25519"), TypeKE)}},
		{name: "KE NONE in IKE", offered: []Proposal{with(without(ike("aes256gcm16-prfsha256-x25519"), TypeKE), noKE)},
			ours: []Proposal{with(without(ike("aes256gcm16-prfsha256-x25519"), TypeKE), noKE)}},

		// integrity
		{name: "AEAD with AUTH_NONE", offered: []Proposal{with(esp("aes256gcm16"), none)}, ours: []Proposal{esp("aes256gcm16")},
			want: "aes256gcm16", extra: []Transform{none}},
		{name: "AEAD with integrity", offered: []Proposal{with(esp("aes256gcm16"), tr(TypeINTEG, AUTH_HMAC_SHA2_256_128))}, ours: []Proposal{esp("aes256gcm16")}},
		{name: "CBC without integrity", offered: []Proposal{without(esp("aes256-sha256"), TypeINTEG)}, ours: []Proposal{without(esp("aes256-sha256"), TypeINTEG)}},
		{name: "CBC with AUTH_NONE", offered: []Proposal{with(without(esp("aes256-sha256"), TypeINTEG), none)},
			ours: []Proposal{with(without(esp("aes256-sha256"), TypeINTEG), none)}},
		{name: "authentication only in ESP", offered: []Proposal{esp("aes128gmac")}, ours: []Proposal{esp("aes256gcm16"), esp("aes128gmac")}, want: "aes128gmac"},
		{name: "authentication only in IKE",
			offered: []Proposal{{IKE, []Transform{tr(TypeENCR, ENCR_NULL_AUTH_AES_GMAC, 128), tr(TypePRF, 5), tr(TypeKE, CURVE25519)}}},
			ours:    []Proposal{{IKE, []Transform{tr(TypeENCR, ENCR_NULL_AUTH_AES_GMAC, 128), tr(TypePRF, 5), tr(TypeKE, CURVE25519)}}}},
		// RFC 7296 5
		{name: "ENCR_NULL in IKE",
			offered: []Proposal{{IKE, []Transform{tr(TypeENCR, 11), tr(TypeINTEG, AUTH_HMAC_SHA2_256_128), tr(TypePRF, 5), tr(TypeKE, CURVE25519)}}},
			ours:    []Proposal{{IKE, []Transform{tr(TypeENCR, 11), tr(TypeINTEG, AUTH_HMAC_SHA2_256_128), tr(TypePRF, 5), tr(TypeKE, CURVE25519)}}}},
		{name: "AEAD and CBC in one offer", offered: []Proposal{with(esp("aes256-sha256"), gcm)},
			ours: []Proposal{esp("aes256gcm16"), esp("aes256-sha256")}, want: "aes256-sha256"},

		// key exchange in ESP
		{name: "PFS", offered: []Proposal{esp("aes256gcm16-x25519")}, ours: []Proposal{esp("aes256gcm16-x25519")}, want: "aes256gcm16-x25519"},
		{name: "PFS offered, not ours", offered: []Proposal{esp("aes256gcm16-x25519")}, ours: []Proposal{esp("aes256gcm16")}},
		{name: "PFS ours, not offered", offered: []Proposal{esp("aes256gcm16")}, ours: []Proposal{esp("aes256gcm16-x25519")}},
		{name: "PFS optional for them", offered: []Proposal{esp("aes256gcm16-x25519-none")}, ours: []Proposal{esp("aes256gcm16")},
			want: "aes256gcm16", extra: []Transform{noKE}},
		{name: "PFS optional for us", offered: []Proposal{esp("aes256gcm16")}, ours: []Proposal{esp("aes256gcm16-x25519-none")}, want: "aes256gcm16"},
		{name: "PFS optional for both", offered: []Proposal{esp("aes256gcm16-none-x25519")}, ours: []Proposal{esp("aes256gcm16-x25519-none")}, want: "aes256gcm16-x25519"},
		{name: "no PFS preferred", offered: []Proposal{esp("aes256gcm16-x25519-none")}, ours: []Proposal{esp("aes256gcm16-none-x25519")},
			want: "aes256gcm16", extra: []Transform{noKE}},
		{name: "no PFS preferred, but here is a KE payload", offered: []Proposal{esp("aes256gcm16-x25519-none")}, ours: []Proposal{esp("aes256gcm16-none-x25519")},
			prefer: CURVE25519, want: "aes256gcm16-x25519"},
		{name: "NONE offered alone", offered: []Proposal{esp("aes256gcm16-none")}, ours: []Proposal{esp("aes256gcm16")},
			want: "aes256gcm16", extra: []Transform{noKE}},

		// ESN
		{name: "ESN by our order", offered: []Proposal{esp("aes256gcm16-noesn-esn")}, ours: []Proposal{esp("aes256gcm16-esn-noesn")}, want: "aes256gcm16-esn"},
		{name: "ESN only theirs", offered: []Proposal{esp("aes256gcm16-esn")}, ours: []Proposal{esp("aes256gcm16")}},
		{name: "ESN not said by us", offered: []Proposal{esp("aes256gcm16-esn-noesn")}, ours: []Proposal{without(esp("aes256gcm16"), TypeESN)}, want: "aes256gcm16"},
		{name: "an ESN value of the future", offered: []Proposal{with(without(esp("aes256gcm16"), TypeESN), tr(TypeESN, 2))},
			ours: []Proposal{with(without(esp("aes256gcm16"), TypeESN), tr(TypeESN, 2))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			i, chosen, ok := Choose(c.offered, c.ours, c.prefer)
			if !ok {
				if c.want != "" || chosen.Transforms != nil {
					t.Fatalf("no choice, want %q", c.want)
				}
				return
			}
			if c.want == "" {
				t.Fatalf("chose %q, want none", chosen)
			}
			want := append(parse(t, c.offered[c.index].Protocol, c.want).Transforms, c.extra...)
			if i != c.index || chosen.Protocol != c.offered[i].Protocol || !sameSet(chosen.Transforms, want) {
				t.Errorf("chose %v of offer %d, want %v of %d", chosen.Transforms, i, want, c.index)
			}
			if !Accepts(c.offered[i:i+1], chosen) {
				t.Errorf("the initiator would not accept %q", chosen)
			}
		})
	}
}

func sameSet(a, b []Transform) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(t Transform) bool { return !slices.Contains(b, t) })
}

// The defaults meet themselves and the default proposals of strongSwan 5.9, in both roles.
func TestDefaultsMeet(t *testing.T) {
	strongIKE := []Proposal{
		parse(t, IKE, "aes128-aes192-aes256-sha256-sha384-sha512-sha1-prfsha256-prfsha384-prfsha512-prfsha1-"+
			"ecp256-ecp384-ecp521-x25519-modp3072-modp4096-modp6144-modp8192-modp2048"),
		parse(t, IKE, "aes128gcm16-aes192gcm16-aes256gcm16-chacha20poly1305-prfsha256-prfsha384-prfsha512-prfsha1-"+
			"ecp256-ecp384-ecp521-x25519-modp3072-modp4096-modp6144-modp8192-modp2048"),
	}
	// What strongSwan offers besides: algorithms Culvert does not have.
	strongIKE[0].Transforms = append(strongIKE[0].Transforms, tr(TypeENCR, 13, 256), tr(TypeENCR, 3), tr(TypeINTEG, 5), tr(TypePRF, 4), tr(TypeKE, 28), tr(TypeKE, 32))
	strongESP := []Proposal{parse(t, ESP, "aes128-aes192-aes256-sha256-sha384-sha512-sha1")}
	strongESP[0].Transforms = append(strongESP[0].Transforms, tr(TypeINTEG, 5))
	strongESP128 := []Proposal{parse(t, ESP, "aes128gcm16-aes192gcm16-aes256gcm16"), strongESP[0]}
	apple := []Proposal{parse(t, IKE, "aes256-sha256-modp2048")} // the default of an iOS configuration profile
	withoutKE := func(all []Proposal) []Proposal {
		var out []Proposal
		for _, p := range all {
			out = append(out, p.WithoutKE())
		}
		return out
	}
	for _, c := range []struct {
		name   string
		a, b   []Proposal
		expect string // of a responder with b to an initiator with a
	}{
		{"IKE, itself", Default(IKE), Default(IKE), "aes256gcm16-prfsha512-x25519"},
		{"IKE, from strongSwan", strongIKE, Default(IKE), "aes256gcm16-prfsha512-x25519"},
		{"IKE, to strongSwan", Default(IKE), strongIKE, "aes128-sha256-prfsha256-ecp256"},
		{"IKE, from Apple", apple, Default(IKE), "aes256-sha256-prfsha256-modp2048"},
		{"ESP, itself, with IKE_AUTH", withoutKE(Default(ESP)), withoutKE(Default(ESP)), "aes256gcm16"},
		{"ESP, itself", Default(ESP), Default(ESP), "aes256gcm16-x25519"},
		{"ESP, from strongSwan", strongESP, Default(ESP), "aes256-sha512"},
		{"ESP, to strongSwan", Default(ESP), strongESP, "aes128-sha256-none"},
		{"ESP, from strongSwan with IKE_AUTH", strongESP, withoutKE(Default(ESP)), "aes256-sha512"},
		{"ESP, to strongSwan with IKE_AUTH", withoutKE(Default(ESP)), strongESP128, "aes128gcm16"},
		{"ESP, from a peer that wants PFS", []Proposal{parse(t, ESP, "aes256-sha256-modp2048")}, Default(ESP), "aes256-sha256-modp2048"},
		{"ESP, to a peer that wants PFS", Default(ESP), []Proposal{parse(t, ESP, "aes256-sha256-modp2048")}, "aes256-sha256-modp2048"},
	} {
		i, chosen, ok := Choose(c.a, c.b, 0)
		if !ok || chosen.String() != c.expect || !Accepts(c.a[i:i+1], chosen) {
			t.Errorf("%s: %v %q, want %q", c.name, ok, chosen, c.expect)
		}
	}
}

// Cases: BUG-09.
func TestAccepts(t *testing.T) {
	esp := func(text string) Proposal { return parse(t, ESP, text) }
	offered := []Proposal{esp("aes256gcm16-aes128gcm16-x25519-none-esn-noesn"), esp("aes256-sha256-sha512-modp2048")}
	gcm, noesn := tr(TypeENCR, ENCR_AES_GCM_16, 256), tr(TypeESN, NO_ESN)
	for _, c := range []struct {
		name   string
		chosen []Transform
		want   bool
	}{
		{"one of each", []Transform{gcm, tr(TypeKE, CURVE25519), noesn}, true},
		{"any order", []Transform{noesn, tr(TypeKE, CURVE25519), gcm}, true},
		{"optional group left out", []Transform{gcm, noesn}, true},
		{"optional group said NONE", []Transform{gcm, noesn, tr(TypeKE, KE_NONE)}, true},
		{"AUTH_NONE said", []Transform{gcm, noesn, tr(TypeINTEG, AUTH_NONE)}, true},
		{"second proposal", esp("aes256-sha512-modp2048").Transforms, true},
		{"mandatory group left out", esp("aes256-sha512").Transforms, false},
		{"mandatory group said NONE", esp("aes256-sha512-none").Transforms, false},
		{"mixed from two proposals", []Transform{gcm, tr(TypeKE, MODP2048), noesn}, false},
		{"integrity from the other proposal", []Transform{gcm, tr(TypeINTEG, AUTH_HMAC_SHA2_256_128), tr(TypeKE, CURVE25519), noesn}, false},
		{"two ciphers", []Transform{gcm, tr(TypeENCR, ENCR_AES_GCM_16, 128), noesn}, false},
		{"the same twice", []Transform{gcm, gcm, noesn}, false},
		{"both ESN", []Transform{gcm, noesn, tr(TypeESN, ESN)}, false},
		{"no ESN", []Transform{gcm}, false},
		{"no cipher", []Transform{noesn}, false},
		{"not offered", []Transform{tr(TypeENCR, ENCR_AES_GCM_16, 192), noesn}, false},
		{"key length removed", []Transform{tr(TypeENCR, ENCR_AES_GCM_16), noesn}, false},
		{"unknown type", []Transform{gcm, noesn, tr(6, 36)}, false},
		{"PRF in ESP", []Transform{gcm, noesn, tr(TypePRF, 5)}, false},
		{"integrity dropped", []Transform{tr(TypeENCR, ENCR_AES_CBC, 256), tr(TypeKE, MODP2048), noesn}, false},
		{"nothing", nil, false},
	} {
		if got := Accepts(offered, Proposal{ESP, c.chosen}); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if Accepts(offered, Proposal{IKE, []Transform{gcm, noesn}}) || Accepts(nil, esp("aes256gcm16")) {
		t.Error("another protocol, or nothing offered")
	}
}

// Choose against a model that walks all suites of the offers in our order of preference and asks one question of each.
//
// Cases: BUG-09.
func TestChooseModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		proto := []Protocol{IKE, ESP}[rng.IntN(2)]
		offered, ours := randomProposals(rng, proto), randomProposals(rng, proto)
		i, chosen, ok := Choose(offered, ours, 0)
		possible := false
		for _, our := range ours {
			for _, offer := range offered {
				possible = possible || modelMatch(offer, our)
			}
		}
		if ok != possible {
			t.Fatalf("chosen %v (%v), possible %v\noffered %v\nours    %v", ok, chosen.Transforms, possible, offered, ours)
		}
		if !ok {
			continue
		}
		if !Accepts(offered[i:i+1], chosen) {
			t.Fatalf("not accepted: %v of %v", chosen.Transforms, offered[i])
		}
		for _, typ := range []Type{TypeENCR, TypePRF, TypeINTEG, TypeKE, TypeESN} {
			offers, chose := offered[i].All(typ), chosen.All(typ)
			if len(chose) != min(1, len(offers)) || len(chose) == 1 && !slices.Contains(offers, chose[0]) {
				t.Fatalf("%s: %v chosen of %v", typ, chose, offers)
			}
		}
	}
}

// modelMatch reports whether any single suite satisfies both proposals: it tries every cipher and asks of the other types
// whether the sets of values meet, where a type that is not listed has the one value "none", or NO_ESN if it is ours.
func modelMatch(offer, our Proposal) bool {
	if our.Protocol == ESP && len(our.All(TypeESN)) == 0 {
		our.Transforms = append(slices.Clone(our.Transforms), Transform{Type: TypeESN, ID: NO_ESN})
	}
	values := func(p Proposal, typ Type) []Transform {
		all := p.All(typ)
		if len(all) == 0 && (typ == TypeINTEG || typ == TypeKE) {
			return []Transform{{Type: typ}}
		}
		return all
	}
	meet := func(typ Type, allowed func(Transform) bool) bool {
		return slices.ContainsFunc(values(offer, typ), func(t Transform) bool {
			return slices.Contains(values(our, typ), t) && Supported(t) && allowed(t)
		})
	}
	is := func(zero bool) func(Transform) bool { return func(t Transform) bool { return (t.ID == 0) == zero } }
	whatever := func(Transform) bool { return true }
	encr, found := Transform{}, false
	for _, t := range our.All(TypeENCR) { // ours is never a mixture, so the first common cipher speaks for all
		if slices.Contains(offer.All(TypeENCR), t) && Supported(t) {
			encr, found = t, true
			break
		}
	}
	if !found || !meet(TypeINTEG, is(encr.aead())) {
		return false
	}
	if offer.Protocol == IKE {
		return meet(TypePRF, whatever) && meet(TypeKE, is(false))
	}
	return meet(TypeKE, whatever) && meet(TypeESN, whatever)
}

func randomProposals(rng *rand.Rand, proto Protocol) []Proposal {
	some := func(from ...Transform) []Transform {
		rng.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
		return from[:rng.IntN(len(from)+1)]
	}
	all := make([]Proposal, rng.IntN(3))
	for i := range all {
		encr := some(tr(TypeENCR, ENCR_AES_GCM_16, 128), tr(TypeENCR, ENCR_AES_GCM_16, 256), tr(TypeENCR, ENCR_CHACHA20_POLY1305), tr(TypeENCR, 25, 128))
		if rng.IntN(2) == 0 {
			encr = some(tr(TypeENCR, ENCR_AES_CBC, 128), tr(TypeENCR, ENCR_AES_CBC, 256), tr(TypeENCR, ENCR_AES_CBC), tr(TypeENCR, 3))
		}
		list := slices.Concat(encr,
			some(tr(TypeINTEG, AUTH_NONE), tr(TypeINTEG, AUTH_HMAC_SHA2_256_128), tr(TypeINTEG, 1)),
			some(tr(TypeKE, KE_NONE), tr(TypeKE, CURVE25519), tr(TypeKE, MODP2048), tr(TypeKE, 2)))
		if proto == IKE {
			list = append(list, some(tr(TypePRF, PRF_HMAC_SHA2_256), tr(TypePRF, PRF_HMAC_SHA1), tr(TypePRF, 4))...)
		} else {
			list = append(list, some(tr(TypeESN, NO_ESN), tr(TypeESN, ESN), tr(TypeESN, 2))...)
		}
		all[i] = Proposal{proto, list}
	}
	return all
}
