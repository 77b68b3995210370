package suite

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"math/big"
	"testing"

	"filippo.io/bigmod"
)

func methods() []uint16 {
	return []uint16{CURVE25519, CURVE448, ECP256, ECP384, ECP521, MODP2048, MODP3072, MODP4096, MODP6144, MODP8192,
		MODP1024, MODP1536, MODP1024S160, MODP2048S224, MODP2048S256,
		BRAINPOOLP224R1, BRAINPOOLP256R1, BRAINPOOLP384R1, BRAINPOOLP512R1}
}

// scalarLen is the length in bytes of a private value of a curve, and of its secret; 0 for what is no curve.
func scalarLen(id uint16) int {
	if id == CURVE448 {
		return 56
	}
	if c, ok := brainpoolOf(id); ok {
		return c.scalarLen()
	}
	c, _ := curveOf(id)
	return c.scalar
}

func newKE(t testing.TB, id uint16) KE {
	t.Helper()
	k, err := NewKE(id)
	if err != nil {
		t.Fatalf("NewKE(%d): %v", id, err)
	}
	return k
}

func TestKEAgree(t *testing.T) {
	lengths := map[uint16]int{CURVE25519: 32, CURVE448: 56, ECP256: 64, ECP384: 96, ECP521: 132,
		MODP2048: 256, MODP3072: 384, MODP4096: 512, MODP6144: 768, MODP8192: 1024,
		MODP1024: 128, MODP1536: 192, MODP1024S160: 128, MODP2048S224: 256, MODP2048S256: 256,
		BRAINPOOLP224R1: 56, BRAINPOOLP256R1: 64, BRAINPOOLP384R1: 96, BRAINPOOLP512R1: 128}
	for _, id := range methods() {
		k := newKE(t, id)
		name := Transform{Type: TypeKE, ID: id}.String()
		t.Run(name, func(t *testing.T) {
			priv, offer, err := k.Offer(seeded(1))
			if err != nil {
				t.Fatal(err)
			}
			answer, secret, err := k.Answer(seeded(2), offer)
			if err != nil {
				t.Fatal(err)
			}
			if k.ID() != id || KEPublicLen(id) != lengths[id] || len(offer) != lengths[id] || len(answer) != lengths[id] {
				t.Errorf("ID %d, lengths %d %d %d, want %d", k.ID(), KEPublicLen(id), len(offer), len(answer), lengths[id])
			}
			want := scalarLen(id)
			if want == 0 {
				want = lengths[id]
			}
			got, err := priv.Finish(answer)
			if err != nil || !bytes.Equal(got, secret) || len(got) != want {
				t.Errorf("secrets differ or are %d bytes, not %d: %v", len(got), want, err)
			}
			if bytes.Equal(offer, answer) {
				t.Error("two random sources, one public value")
			}
			_, again, _ := k.Offer(seeded(1))
			if !bytes.Equal(again, offer) {
				t.Error("the public value is not a function of the randomness")
			}
			priv.Zero()
			if _, err := priv.Finish(answer); err == nil {
				t.Error("Finish works after Zero")
			}
		})
	}
}

func TestKEUnsupported(t *testing.T) {
	for _, id := range []uint16{KE_NONE, 1, 3, 25, 26, 33, 40, 1024, 65535} {
		if _, err := NewKE(id); !errors.Is(err, ErrUnsupported) || KEPublicLen(id) != 0 {
			t.Errorf("%d: %v, length %d", id, err, KEPublicLen(id))
		}
	}
}

// Cases: FCS_IPSEC_EXT.1.9.
func TestKERandomness(t *testing.T) {
	for _, id := range methods() {
		k := newKE(t, id)
		if _, _, err := k.Offer(fails{}); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%d: Offer without randomness: %v", id, err)
		}
		_, offer, _ := k.Offer(seeded(1))
		if _, _, err := k.Answer(fails{}, offer); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%d: Answer without randomness: %v", id, err)
		}
	}
	// All ones is not below the order of a prime curve, zero is no private value; both end.
	for _, id := range append([]uint16{ECP256, ECP384, ECP521}, brainpools()...) {
		for _, b := range []repeats{0, 0xff} {
			if _, _, err := newKE(t, id).Offer(b); err == nil {
				t.Errorf("%d: a private value of bytes %#x was taken", id, byte(b))
			}
		}
	}
}

// Cases: BUG-01.
func TestKERefusesLengths(t *testing.T) {
	for _, id := range methods() {
		k := newKE(t, id)
		priv, public, _ := k.Offer(seeded(1))
		for _, bad := range [][]byte{nil, {}, public[1:], public[:len(public)-1], append([]byte{4}, public...), append(public[:len(public):len(public)], 0)} {
			if _, err := priv.Finish(bad); !errors.Is(err, ErrPublic) {
				t.Errorf("%d: Finish of %d bytes: %v", id, len(bad), err)
			}
			if _, _, err := k.Answer(seeded(2), bad); !errors.Is(err, ErrPublic) {
				t.Errorf("%d: Answer to %d bytes: %v", id, len(bad), err)
			}
		}
	}
}

// RFC 6989 2.1: 1 < r < p-1.
//
// Cases: BUG-01.
func TestMODPRange(t *testing.T) {
	for _, id := range []uint16{MODP1024, MODP1536, MODP2048, MODP3072, MODP4096, MODP6144, MODP8192} {
		g, _ := modpOf(id)
		priv, _, err := g.Offer(seeded(1))
		if err != nil {
			t.Fatal(err)
		}
		p, _ := new(big.Int).SetString(g.prime, 16)
		for _, c := range []struct {
			r  *big.Int
			ok bool
		}{
			{big.NewInt(0), false}, {big.NewInt(1), false}, {big.NewInt(2), true},
			{new(big.Int).Sub(p, big.NewInt(2)), true}, {new(big.Int).Sub(p, big.NewInt(1)), false}, {p, false},
			{new(big.Int).Add(p, big.NewInt(1)), false}, {new(big.Int).Add(p, big.NewInt(2)), false},
			{new(big.Int).SetBytes(bytes.Repeat([]byte{0xff}, g.size())), false},
		} {
			_, err := priv.Finish(c.r.FillBytes(make([]byte, g.size())))
			if c.ok && err != nil || !c.ok && !errors.Is(err, ErrPublic) {
				t.Errorf("%d: r = %.20x...: %v, want ok = %v", id, c.r, err, c.ok)
			}
		}
	}
}

// The exponentiation against math/big, and a secret whose first byte is zero keeps it.
func TestMODPAgainstBig(t *testing.T) {
	for _, id := range []uint16{MODP1024, MODP1536, MODP2048, MODP3072, MODP4096} {
		g, _ := modpOf(id)
		p, _ := new(big.Int).SetString(g.prime, 16)
		priv, public, err := g.Offer(seeded(3))
		if err != nil {
			t.Fatal(err)
		}
		x := new(big.Int).SetBytes(priv.(*modpPrivate).x)
		if want := new(big.Int).Exp(big.NewInt(2), x, p); want.Cmp(new(big.Int).SetBytes(public)) != 0 {
			t.Errorf("%d: public value %x, want %x", id, public, want)
		}
		r := new(big.Int).Mod(new(big.Int).SetBytes(randomBytes(seeded(4), g.size())), p)
		secret, err := priv.Finish(r.FillBytes(make([]byte, g.size())))
		if want := new(big.Int).Exp(r, x, p); err != nil || !bytes.Equal(secret, want.FillBytes(make([]byte, g.size()))) {
			t.Errorf("%d: secret %x, want %x (%v)", id, secret, want, err)
		}
		// With x = 1 the secret is r, small as it may be.
		m, _ := g.modulus()
		small := make([]byte, g.size())
		small[g.size()-1] = 7
		secret, err = (&modpPrivate{g, m, []byte{1}}).Finish(small)
		if err != nil || !bytes.Equal(secret, small) {
			t.Errorf("%d: 7^1 = %x, %v", id, secret, err)
		}
	}
}

// The moduli by their definition, p = 2^n - 2^(n-64) - 1 + 2^64 * (floor(2^(n-130) pi) + c), with c of RFC 2409 and RFC 3526.
func TestPrimes(t *testing.T) {
	pi := piBits(8192)
	for _, c := range []struct {
		id   uint16
		n    uint
		more int64
	}{
		{MODP1024, 1024, 129093}, {MODP1536, 1536, 741804}, {MODP2048, 2048, 124476}, {MODP3072, 3072, 1690314}, {MODP4096, 4096, 240904},
		{MODP6144, 6144, 929484}, {MODP8192, 8192, 4743158},
	} {
		one := big.NewInt(1)
		p := new(big.Int).Rsh(pi, 8192-(c.n-130))
		p.Add(p, big.NewInt(c.more)).Lsh(p, 64)
		p.Add(p, new(big.Int).Lsh(one, c.n)).Sub(p, new(big.Int).Lsh(one, c.n-64)).Sub(p, one)
		g, _ := modpOf(c.id)
		if got, _ := new(big.Int).SetString(g.prime, 16); got == nil || got.Cmp(p) != 0 {
			t.Errorf("the modulus of %d bits is not that of RFC 3526", c.n)
		}
		if g.size()*8 != int(c.n) {
			t.Errorf("the modulus of %d bits has %d bytes", c.n, g.size())
		}
	}
}

// piBits is floor(2^n pi) by Machin's formula, with guard bits.
func piBits(n uint) *big.Int {
	const guard = 64
	arctan := func(d int64) *big.Int { // 2^(n+guard) arctan(1/d)
		term := new(big.Int).Lsh(big.NewInt(1), n+guard)
		term.Div(term, big.NewInt(d))
		sum := new(big.Int)
		for k := int64(1); term.Sign() != 0; k += 2 {
			part := new(big.Int).Div(term, big.NewInt(k))
			if k%4 == 1 {
				sum.Add(sum, part)
			} else {
				sum.Sub(sum, part)
			}
			term.Div(term, big.NewInt(d*d))
		}
		return sum
	}
	pi := arctan(5)
	pi.Mul(pi, big.NewInt(4)).Sub(pi, arctan(239)).Mul(pi, big.NewInt(4))
	return pi.Rsh(pi, guard)
}

// RFC 7748 6.1 and 6.2, and RFC 5903 8.
func TestCurveKnown(t *testing.T) {
	for _, c := range []struct {
		id                       uint16
		i, public, r, ro, secret string
	}{
		{CURVE25519,
			"77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
			"8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
			"5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
			"de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
			"4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"},
		{CURVE448,
			"9a8f4925d1519f5775cf46b04b5800d4ee9ee8bae8bc5565d498c28dd9c9baf574a9419744897391006382a6f127ab1d9ac2d8c0a598726b",
			"9b08f7cc31b7e3e67d22d5aea121074a273bd2b83de09c63faa73d2c22c5d9bbc836647241d953d40c5b12da88120d53177f80e532c41fa0",
			"1c306a7ac2a0e2e0990b294470cba339e6453772b075811d8fad0d1d6927c120bb5ee8972b0d3e21374c9c921b09d1b0366f10b65173992d",
			"3eb7a829b0cd20f5bcfc0b599b6feccf6da4627107bdb0d4f345b43027d8b972fc3e34fb4232a13ca706dcb57aec3dae07bdc1c67bf33609",
			"07fff4181ac6cc95ec1c16a94a0f74d12da232ce40a77552281d282bb60c0b56fd2464c335543936521c24403085d59a449a5037514a879d"},
		{ECP256,
			"C88F01F5 10D9AC3F 70A292DA A2316DE5 44E9AAB8 AFE84049 C62A9C57 862D1433",
			`DAD0B653 94221CF9 B051E1FE CA5787D0 98DFE637 FC90B9EF 945D0C37 72581180
5271A046 1CDB8252 D61F1C45 6FA3E59A B1F45B33 ACCF5F58 389E0577 B8990BB3`,
			"C6EF9C5D 78AE012A 011164AC B397CE20 88685D8F 06BF9BE0 B283AB46 476BEE53",
			`D12DFB52 89C8D4F8 1208B702 70398C34 2296970A 0BCCB74C 736FC755 4494BF63
56FBF3CA 366CC23E 8157854C 13C58D6A AC23F046 ADA30F83 53E74F33 039872AB`,
			"D6840F6B 42F6EDAF D13116E0 E1256520 2FEF8E9E CE7DCE03 812464D0 4B9442DE"},
		{ECP384,
			`099F3C70 34D4A2C6 99884D73 A375A67F 7624EF7C 6B3C0F16 0647B674 14DCE655
E35B5380 41E649EE 3FAEF896 783AB194`,
			`667842D7 D180AC2C DE6F74F3 7551F557 55C7645C 20EF73E3 1634FE72 B4C55EE6
DE3AC808 ACB4BDB4 C88732AE E95F41AA 9482ED1F C0EEB9CA FC498462 5CCFC23F
65032149 E0E144AD A0241815 35A0F38E EB9FCFF3 C2C947DA E69B4C63 4573A81C`,
			`41CB0779 B4BDB85D 47846725 FBEC3C94 30FAB46C C8DC5060 855CC9BD A0AA2942
E0308312 916B8ED2 960E4BD5 5A7448FC`,
			`E558DBEF 53EECDE3 D3FCCFC1 AEA08A89 A987475D 12FD950D 83CFA417 32BC509D
0D1AC43A 0336DEF9 6FDA41D0 774A3571 DCFBEC7A ACF31964 72169E83 8430367F
66EEBE3C 6E70C416 DD5F0C68 759DD1FF F83FA401 42209DFF 5EAAD96D B9E6386C`,
			`11187331 C279962D 93D60424 3FD592CB 9D0A926F 422E4718 7521287E 7156C5C4
D6031355 69B9E9D0 9CF5D4A2 70F59746`},
		{ECP521,
			`0037ADE9 319A89F4 DABDB3EF 411AACCC A5123C61 ACAB57B5 393DCE47 608172A0
95AA85A3 0FE1C295 2C6771D9 37BA9777 F5957B26 39BAB072 462F68C2 7A57382D 4A52`,
			`0015417E 84DBF28C 0AD3C278 713349DC 7DF153C8 97A1891B D98BAB43 57C9ECBE
E1E3BF42 E00B8E38 0AEAE57C 2D107564 94188594 2AF5A7F4 601723C4 195D176C
ED3E017C AE20B664 1D2EEB69 5786D8C9 46146239 D099E18E 1D5A514C 739D7CB4
A10AD8A7 88015AC4 05D7799D C75E7B7D 5B6CF226 1A6A7F15 07438BF0 1BEB6CA3 926F9582`,
			`0145BA99 A847AF43 793FDD0E 872E7CDF A16BE30F DC780F97 BCCC3F07 8380201E
9C677D60 0B343757 A3BDBF2A 3163E4C2 F869CCA7 458AA4A4 EFFC311F 5CB15168 5EB9`,
			`00D0B397 5AC4B799 F5BEA16D 5E13E9AF 971D5E9B 984C9F39 728B5E57 39735A21
9B97C356 436ADC6E 95BB0352 F6BE64A6 C2912D4E F2D0433C ED2B6171 640012D9
460F015C 68226383 956E3BD0 66E797B6 23C27CE0 EAC2F551 A10C2C72 4D985207
7B87220B 6536C5C4 08A1D2AE BB8E86D6 78AE49CB 57091F47 32296579 AB44FCD1 7F0FC56A`,
			`01144C7D 79AE6956 BC8EDB8E 7C787C45 21CB086F A64407F9 7894E5E6 B2D79B04
D1427E73 CA4BAA24 0A347868 59810C06 B3C715A3 A8CC3151 F2BEE417 996D19F3 DDEA`},
	} {
		k := newKE(t, c.id)
		priv, offer, err := k.Offer(bytes.NewReader(unhex(t, c.i)))
		if err != nil || !bytes.Equal(offer, unhex(t, c.public)) {
			t.Fatalf("%d: offer %x, %v", c.id, offer, err)
		}
		answer, secret, err := k.Answer(bytes.NewReader(unhex(t, c.r)), offer)
		if err != nil || !bytes.Equal(answer, unhex(t, c.ro)) || !bytes.Equal(secret, unhex(t, c.secret)) {
			t.Errorf("%d: answer %x secret %x, %v", c.id, answer, secret, err)
		}
		if secret, err = priv.Finish(answer); err != nil || !bytes.Equal(secret, unhex(t, c.secret)) {
			t.Errorf("%d: finished secret %x, %v", c.id, secret, err)
		}
	}
}

// Cases: BUG-01.
func TestKEWycheproof(t *testing.T) {
	for name, id := range map[string]uint16{
		"x25519_test.json": CURVE25519, "x448_test.json": CURVE448, "ecdh_secp256r1_ecpoint_test.json": ECP256,
		"ecdh_secp384r1_ecpoint_test.json": ECP384, "ecdh_secp521r1_ecpoint_test.json": ECP521,
	} {
		t.Run(name, func(t *testing.T) {
			var file struct {
				TestGroups []struct {
					Tests []struct {
						TcID                    int
						Public, Private, Shared hexBytes
						Result                  string
					}
				}
			}
			readJSON(t, "wycheproof/testvectors_v1/"+name, &file)
			n := 0
			for _, g := range file.TestGroups {
				for _, v := range g.Tests {
					public := []byte(v.Public)
					if id != CURVE25519 && id != CURVE448 {
						if len(public) == 0 || public[0] != 4 {
							continue // compressed or empty: IKE has no such form (RFC 5903 7)
						}
						public = public[1:]
					}
					size := scalarLen(id)
					private := new(big.Int).SetBytes(v.Private).FillBytes(make([]byte, max(size, len(v.Private))))
					private = private[len(private)-size:]
					n++
					if v.Result == "valid" && v.TcID%5 != 0 && size > 32 {
						continue // the slow curves: what is refused is what matters
					}
					// X25519 and X448 must refuse a result of zero, though Wycheproof calls it acceptable. On the other
					// curves x = 0 is an honest point.
					zero := (id == CURVE25519 || id == CURVE448) && len(bytes.Trim(v.Shared, "\x00")) == 0
					_, secret, err := newKE(t, id).Answer(bytes.NewReader(private), public)
					switch {
					case zero || v.Result == "invalid":
						if !errors.Is(err, ErrPublic) {
							t.Errorf("case %d: %v, want ErrPublic", v.TcID, err)
						}
					case err != nil || !bytes.Equal(secret, v.Shared):
						t.Errorf("case %d: %x, %v", v.TcID, secret, err)
					}
				}
			}
			if n == 0 {
				t.Error("no vector was used")
			}
		})
	}
}

// The safe-prime groups of NIST have other moduli, but generator and arithmetic are these.
func TestMODPNIST(t *testing.T) {
	var file struct {
		TestGroups []struct {
			P, G                          string
			Scheme                        string
			DomainParameterGenerationMode string
			Tests                         []struct {
				TestPassed            *bool
				EphemeralPrivateIut   hexBytes
				EphemeralPublicIut    hexBytes
				EphemeralPublicServer hexBytes
				Z                     hexBytes
			}
		}
	}
	readJSON(t, "nist-acvp/KAS-FFC-SSC-Sp800-56Ar3/internalProjection.json.gz", &file)
	n := 0
	for _, group := range file.TestGroups {
		if group.Scheme != "dhEphem" || group.DomainParameterGenerationMode != "ffdhe2048" {
			continue
		}
		p, err := hex.DecodeString(group.P)
		if err != nil {
			t.Fatal(err)
		}
		m, err := bigmod.NewModulus(p)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range group.Tests {
			if v.TestPassed != nil && !*v.TestPassed {
				continue
			}
			n++
			priv := &modpPrivate{modp{prime: group.P}, m, v.EphemeralPrivateIut}
			server := new(big.Int).SetBytes(v.EphemeralPublicServer).FillBytes(make([]byte, len(p)))
			secret, err := priv.Finish(server)
			if err != nil || new(big.Int).SetBytes(secret).Cmp(new(big.Int).SetBytes(v.Z)) != 0 {
				t.Errorf("case %d: %x, %v", i, secret, err)
			}
		}
	}
	if n == 0 {
		t.Error("no vector was used")
	}
}

// Whatever a peer sends, Answer gives a secret of the right length or ErrPublic.
//
// Cases: BUG-01.
func FuzzKEAnswer(f *testing.F) {
	ids := []uint16{CURVE25519, ECP256, ECP384, ECP521, MODP2048, MODP1024S160, CURVE448, BRAINPOOLP256R1}
	for i, id := range ids {
		_, public, _ := newKE(f, id).Offer(seeded(1))
		f.Add(uint8(i), public)
		f.Add(uint8(i), make([]byte, len(public)))
		f.Add(uint8(i), bytes.Repeat([]byte{0xff}, len(public)))
		f.Add(uint8(i), public[:len(public)-1])
	}
	p, _ := hex.DecodeString(prime2048)
	f.Add(uint8(4), p)
	p[len(p)-1]--
	f.Add(uint8(4), p)
	f.Fuzz(func(t *testing.T, which uint8, offer []byte) {
		id := ids[int(which)%len(ids)]
		public, secret, err := newKE(t, id).Answer(seeded(2), offer)
		if err != nil {
			if !errors.Is(err, ErrPublic) || public != nil || secret != nil {
				t.Fatalf("%d: %x, %v", id, public, err)
			}
			return
		}
		if len(offer) != KEPublicLen(id) || len(public) != KEPublicLen(id) {
			t.Fatalf("%d: an offer of %d bytes was answered with %d", id, len(offer), len(public))
		}
		if _, prime := modpOf(id); (id == CURVE25519 || id == CURVE448 || prime) && len(bytes.Trim(secret, "\x00")) == 0 {
			t.Fatalf("%d: the secret is zero", id)
		}
		want := len(public)
		if n := scalarLen(id); n != 0 {
			want = n
		}
		if len(secret) != want {
			t.Fatalf("%d: a secret of %d bytes", id, len(secret))
		}
	})
}

func BenchmarkKE(b *testing.B) {
	for _, id := range methods() {
		b.Run(Transform{Type: TypeKE, ID: id}.String(), func(b *testing.B) {
			k := newKE(b, id)
			_, offer, _ := k.Offer(seeded(1))
			r := seeded(2)
			for b.Loop() {
				if _, _, err := k.Answer(r, offer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
