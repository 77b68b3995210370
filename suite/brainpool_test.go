package suite

import (
	"bytes"
	"errors"
	"math/big"
	"testing"

	"filippo.io/bigmod"
)

func brainpools() []uint16 {
	return []uint16{BRAINPOOLP224R1, BRAINPOOLP256R1, BRAINPOOLP384R1, BRAINPOOLP512R1}
}

// RFC 6954 appendix A.
func TestBrainpoolKnown(t *testing.T) {
	for _, c := range []struct {
		id                             uint16
		dA, xA, yA, dB, xB, yB, xZ, yZ string
	}{
		{BRAINPOOLP224R1,
			"39F155483CEE191FBECFE9C81D8AB1A03CDA6790E7184ACE44BCA161",
			"A9C21A569759DA95E0387041184261440327AFE33141CA04B82DC92E",
			"98A0F75FBBF61D8E58AE5511B2BCDBE8E549B31E37069A2825F590C1",
			"6060552303899E2140715816C45B57D9B42204FB6A5BF5BEAC10DB00",
			"034A56C550FF88056144E6DD56070F54B0135976B5BF77827313F36B",
			"75165AD99347DC86CAAB1CBB579E198EAF88DC35F927B358AA683681",
			"1A4BFE705445120C8E3E026699054104510D119757B74D5FE2462C66",
			"BB6802AC01F8B7E91B1A1ACFB9830A95C079CEC48E52805DFD7D2AFE"},
		{BRAINPOOLP256R1,
			"81DB1EE100150FF2EA338D708271BE38300CB54241D79950F77B063039804F1D",
			"44106E913F92BC02A1705D9953A8414DB95E1AAA49E81D9E85F929A8E3100BE5",
			"8AB4846F11CACCB73CE49CBDD120F5A900A69FD32C272223F789EF10EB089BDC",
			"55E40BC41E37E3E2AD25C3C6654511FFA8474A91A0032087593852D3E7D76BD3",
			"8D2D688C6CF93E1160AD04CC4429117DC2C41825E1E9FCA0ADDD34E6F1B39F7B",
			"990C57520812BE512641E47034832106BC7D3E8DD0E4C7F1136D7006547CEC6A",
			"89AFC39D41D3B327814B80940B042590F96556EC91E6AE7939BCE31F3A18BF2B",
			"49C27868F4ECA2179BFD7D59B1E3BF34C1DBDE61AE12931648F43E59632504DE"},
		{BRAINPOOLP384R1,
			"1E20F5E048A5886F1F157C74E91BDE2B98C8B52D58E5003D57053FC4B0BD65D6F15EB5D1EE1610DF870795143627D042",
			"68B665DD91C195800650CDD363C625F4E742E8134667B767B1B476793588F885AB698C852D4A6E77A252D6380FCAF068",
			"55BC91A39C9EC01DEE36017B7D673A931236D2F1F5C83942D049E3FA20607493E0D038FF2FD30C2AB67D15C85F7FAA59",
			"032640BC6003C59260F7250C3DB58CE647F98E1260ACCE4ACDA3DD869F74E01F8BA5E0324309DB6A9831497ABAC96670",
			"4D44326F269A597A5B58BBA565DA5556ED7FD9A8A9EB76C25F46DB69D19DC8CE6AD18E404B15738B2086DF37E71D1EB4",
			"62D692136DE56CBE93BF5FA3188EF58BC8A3A0EC6C1E151A21038A42E9185329B5B275903D192F8D4E1F32FE9CC78C48",
			"0BD9D3A7EA0B3D519D09D8E48D0785FB744A6B355E6304BC51C229FBBCE239BBADF6403715C35D4FB2A5444F575D4F42",
			"0DF213417EBE4D8E40A5F76F66C56470C489A3478D146DECF6DF0D94BAE9E598157290F8756066975F1DB34B2324B7BD"},
		{BRAINPOOLP512R1,
			"16302FF0DBBB5A8D733DAB7141C1B45ACBC8715939677F6A56850A38BD87BD59B09E80279609FF333EB9D4C061231FB26F92EEB04982A5F1D1764CAD57665422",
			"0A420517E406AAC0ACDCE90FCD71487718D3B953EFD7FBEC5F7F27E28C6149999397E91E029E06457DB2D3E640668B392C2A7E737A7F0BF04436D11640FD09FD",
			"72E6882E8DB28AAD36237CD25D580DB23783961C8DC52DFA2EC138AD472A0FCEF3887CF62B623B2A87DE5C588301EA3E5FC269B373B60724F5E82A6AD147FDE7",
			"230E18E1BCC88A362FA54E4EA3902009292F7F8033624FD471B5D8ACE49D12CFABBC19963DAB8E2F1EBA00BFFB29E4D72D13F2224562F405CB80503666B25429",
			"9D45F66DE5D67E2E6DB6E93A59CE0BB48106097FF78A081DE781CDB31FCE8CCBAAEA8DD4320C4119F1E9CD437A2EAB3731FA9668AB268D871DEDA55A5473199F",
			"2FDC313095BCDD5FB3A91636F07A959C8E86B5636A1E930E8396049CB481961D365CC11453A06C719835475B12CB52FC3C383BCE35E27EF194512B71876285FA",
			"A7927098655F1F9976FA50A9D566865DC530331846381C87256BAF3226244B76D36403C024D7BBF0AA0803EAFF405D3D24F11A9B5C0BEF679FE1454B21C4CD1F",
			"7DB71C3DEF63212841C463E881BDCF055523BD368240E6C3143BD8DEF8B3B3223B95E0F53082FF5E412F4222537A43DF1C6D25729DDB51620A832BE6A26680A2"},
	} {
		k := newKE(t, c.id)
		priv, offer, err := k.Offer(bytes.NewReader(unhex(t, c.dA)))
		if err != nil || !bytes.Equal(offer, unhex(t, c.xA+c.yA)) {
			t.Fatalf("%d: offer %x, %v", c.id, offer, err)
		}
		answer, secret, err := k.Answer(bytes.NewReader(unhex(t, c.dB)), offer)
		if err != nil || !bytes.Equal(answer, unhex(t, c.xB+c.yB)) || !bytes.Equal(secret, unhex(t, c.xZ)) {
			t.Errorf("%d: answer %x secret %x, %v", c.id, answer, secret, err)
		}
		if secret, err = priv.Finish(answer); err != nil || !bytes.Equal(secret, unhex(t, c.xZ)) {
			t.Errorf("%d: finished secret %x, %v", c.id, secret, err)
		}
		if _, err := priv.(*brainpoolPrivate).curve.parse(unhex(t, c.xZ), unhex(t, c.yZ)); err != nil {
			t.Errorf("%d: the common point is not on the curve", c.id)
		}
	}
}

// The parameters: p and n are primes of one length, and n times the generator is nothing.
func TestBrainpoolParameters(t *testing.T) {
	for _, id := range brainpools() {
		c, _ := brainpoolOf(id)
		w, err := newWeierstrass(c.params)
		if err != nil {
			t.Fatalf("%d: %v", id, err)
		}
		p, _ := new(big.Int).SetString(c.params.p, 16)
		n, _ := new(big.Int).SetString(c.params.n, 16)
		if !p.ProbablyPrime(8) || !n.ProbablyPrime(8) || p.BitLen() != 8*c.scalarLen() || n.BitLen() != p.BitLen() {
			t.Errorf("%d: not primes of one length", id)
		}
		for _, text := range []string{c.params.n, c.params.a, c.params.b, c.params.gx, c.params.gy} {
			if len(text) != len(c.params.p) {
				t.Errorf("%d: %s has another length than p", id, text)
			}
		}
		if two := new(big.Int).Add(new(big.Int).SetBytes(w.minus), big.NewInt(2)); two.Cmp(p) != 0 {
			t.Errorf("%d: the exponent of the inverse is %x", id, w.minus)
		}
		if _, _, err := w.affine(w.times(n.Bytes(), w.g)); !errors.Is(err, ErrPublic) {
			t.Errorf("%d: the generator has another order: %v", id, err)
		}
	}
}

// model is the textbook: affine points with math/big, cases told apart. The point at infinity is nil.
type model struct{ p, a *big.Int }

func (m model) sum(x1, y1, x2, y2 *big.Int) (x, y *big.Int) {
	if x1 == nil {
		return x2, y2
	}
	if x2 == nil {
		return x1, y1
	}
	var slope *big.Int
	switch dx := new(big.Int).Sub(x2, x1); {
	case dx.Sign() != 0:
		slope = new(big.Int).Mul(new(big.Int).Sub(y2, y1), new(big.Int).ModInverse(dx.Mod(dx, m.p), m.p))
	case y1.Cmp(y2) != 0 || y1.Sign() == 0:
		return nil, nil
	default:
		slope = new(big.Int).Mul(x1, x1)
		slope.Mul(slope, big.NewInt(3)).Add(slope, m.a)
		slope.Mul(slope, new(big.Int).ModInverse(new(big.Int).Lsh(y1, 1), m.p))
	}
	x = new(big.Int).Mul(slope, slope)
	x.Sub(x, x1).Sub(x, x2).Mod(x, m.p)
	y = new(big.Int).Sub(x1, x)
	y.Mul(y, slope).Sub(y, y1).Mod(y, m.p)
	return x, y
}

func (m model) times(k, x, y *big.Int) (rx, ry *big.Int) {
	for i := k.BitLen() - 1; i >= 0; i-- {
		rx, ry = m.sum(rx, ry, rx, ry)
		if k.Bit(i) == 1 {
			rx, ry = m.sum(rx, ry, x, y)
		}
	}
	return rx, ry
}

// Multiples, and sums with every special case, against the model.
func TestBrainpoolAgainstModel(t *testing.T) {
	for _, id := range brainpools() {
		c, _ := brainpoolOf(id)
		w, err := newWeierstrass(c.params)
		if err != nil {
			t.Fatal(err)
		}
		number := func(text string) *big.Int {
			n, _ := new(big.Int).SetString(text, 16)
			return n
		}
		m := model{number(c.params.p), number(c.params.a)}
		n, gx, gy := number(c.params.n), number(c.params.gx), number(c.params.gy)
		same := func(what string, got point, x, y *big.Int) {
			t.Helper()
			gotX, gotY, err := w.affine(got)
			if x == nil {
				if err == nil {
					t.Errorf("%d: %s is %x, want infinity", id, what, gotX)
				}
			} else if err != nil || new(big.Int).SetBytes(gotX).Cmp(x) != 0 || new(big.Int).SetBytes(gotY).Cmp(y) != 0 {
				t.Errorf("%d: %s is %x %x, %v; want %x %x", id, what, gotX, gotY, err, x, y)
			}
		}
		for _, k := range []*big.Int{big.NewInt(1), big.NewInt(2), big.NewInt(3), new(big.Int).Sub(n, big.NewInt(1)), new(big.Int).Rsh(n, 1),
			new(big.Int).Mod(new(big.Int).SetBytes(randomBytes(seeded(7), c.scalarLen())), n)} {
			x, y := m.times(k, gx, gy)
			same("a multiple", w.times(k.FillBytes(make([]byte, c.scalarLen())), w.g), x, y)
		}
		infinity := w.times([]byte{0}, w.g)
		minus := point{w.g.x, w.sub(bigmod.NewNat().ExpandFor(w.p), w.g.y), w.g.z}
		double := w.sum(w.g, w.g)
		x2, y2 := m.sum(gx, gy, gx, gy)
		same("G+G", double, x2, y2)
		same("0+0", w.sum(infinity, infinity), nil, nil)
		same("G+0", w.sum(w.g, infinity), gx, gy)
		same("0+G", w.sum(infinity, w.g), gx, gy)
		same("G-G", w.sum(w.g, minus), nil, nil)
		same("2G-G", w.sum(double, minus), gx, gy)
	}
}

// Points that are not on the curve, or not written as they must be, are refused.
//
// Cases: BUG-01.
func TestBrainpoolRefuses(t *testing.T) {
	for _, id := range brainpools() {
		c, _ := brainpoolOf(id)
		priv, public, err := c.Offer(seeded(1))
		if err != nil {
			t.Fatal(err)
		}
		n := c.scalarLen()
		p, _ := new(big.Int).SetString(c.params.p, 16)
		off := bytes.Clone(public)
		off[2*n-1] ^= 1
		tooLarge := append(p.Bytes(), public[n:]...)
		for _, bad := range [][]byte{off, make([]byte, 2*n), tooLarge, bytes.Repeat([]byte{0xff}, 2*n), append(public[n:2*n:2*n], public[:n]...)} {
			if _, err := priv.Finish(bad); !errors.Is(err, ErrPublic) {
				t.Errorf("%d: %x was taken: %v", id, bad, err)
			}
		}
	}
}
