package ike

import (
	"encoding/binary"

	"github.com/culvert-vpn/culvert/suite"
)

// keys are the keys of one IKE SA (RFC 7296 2.14).
type keys struct {
	prf suite.PRF
	// d derives the keys of children and successors; pi and pr make AUTH and are zeroed when the IKE SA is established.
	d, pi, pr []byte
	// in opens the peer's messages, out seals ours; iv counts the messages sealed.
	in, out suite.Cipher
	iv      uint64
}

// keyInput is what the two ends bring to the keys of an IKE SA.
type keyInput struct {
	nonceI, nonceR []byte
	spiI, spiR     uint64
	shared         []byte // g^ir
}

func (k keyInput) nonces() []byte {
	return append(append([]byte(nil), k.nonceI...), k.nonceR...)
}

// skeyseed of a new IKE SA: prf(Ni | Nr, g^ir), where some functions take less than the whole nonces (RFC 7296 2.14).
func (k keyInput) skeyseed(prf suite.PRF) []byte {
	return prf.Sum(prf.NonceKey(k.nonceI, k.nonceR), k.shared)
}

// rekeySeed of a rekeyed IKE SA: prf(SK_d of the old, g^ir | Ni | Nr), with the PRF of the old IKE SA (RFC 7296 2.18).
func (k keyInput) rekeySeed(old *keys) []byte {
	return old.prf.Sum(old.d, k.shared, k.nonces())
}

// deriveKeys splits {SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr) (RFC 7296
// 2.14). It zeroes seed. When logged is not nil it is filled with copies for an analyser.
func deriveKeys(chosen suite.Proposal, seed []byte, in keyInput, initiator bool, logged *Keys) (*keys, error) {
	defer clear(seed)
	prfT, _ := chosen.Get(suite.TypePRF)
	prf, err := suite.NewPRF(prfT)
	if err != nil {
		return nil, err
	}
	encr, _ := chosen.Get(suite.TypeENCR)
	integ, _ := chosen.Get(suite.TypeINTEG)
	encLen, integLen, err := suite.KeyLens(encr, integ)
	if err != nil {
		return nil, err
	}
	salt := in.nonces()
	salt = binary.BigEndian.AppendUint64(salt, in.spiI)
	salt = binary.BigEndian.AppendUint64(salt, in.spiR)
	mat := prf.Plus(seed, salt, 3*prf.Size()+2*integLen+2*encLen)
	defer clear(mat)
	rest := mat
	take := func(n int) []byte {
		part := rest[:n]
		rest = rest[n:]
		return part
	}
	d, ai, ar := take(prf.Size()), take(integLen), take(integLen)
	ei, er := take(encLen), take(encLen)
	pi, pr := take(prf.Size()), take(prf.Size())

	k := &keys{prf: prf, d: clone(d), pi: clone(pi), pr: clone(pr)}
	fromI, err := suite.NewCipher(encr, integ, ei, ai)
	if err != nil {
		return nil, err
	}
	fromR, err := suite.NewCipher(encr, integ, er, ar)
	if err != nil {
		return nil, err
	}
	k.in, k.out = fromR, fromI
	if !initiator {
		k.in, k.out = fromI, fromR
	}
	if logged != nil {
		*logged = Keys{SPIi: in.spiI, SPIr: in.spiR, SKei: clone(ei), SKer: clone(er), SKai: clone(ai), SKar: clone(ar), Encr: encr, Integ: integ}
	}
	return k, nil
}

// childKeys are the keys of one Child SA, by the direction of its traffic.
type childKeys struct {
	encI, integI []byte // from the initiator of the exchange to the responder
	encR, integR []byte
}

// wipe zeroes keys that nobody will use.
func (k childKeys) wipe() {
	for _, b := range [][]byte{k.encI, k.integI, k.encR, k.integR} {
		clear(b)
	}
}

// childKeys splits KEYMAT = prf+(SK_d, [g^ir |] Ni | Nr) (RFC 7296 2.17). shared is nil without a key exchange.
func (k *keys) childKeys(chosen suite.Proposal, in keyInput) (childKeys, error) {
	encr, _ := chosen.Get(suite.TypeENCR)
	integ, _ := chosen.Get(suite.TypeINTEG)
	encLen, integLen, err := suite.KeyLens(encr, integ)
	if err != nil {
		return childKeys{}, err
	}
	seed := append(clone(in.shared), in.nonces()...)
	defer clear(seed)
	mat := k.prf.Plus(k.d, seed, 2*(encLen+integLen))
	defer clear(mat)
	n := encLen + integLen
	return childKeys{
		encI: clone(mat[:encLen]), integI: clone(mat[encLen:n]),
		encR: clone(mat[n : n+encLen]), integR: clone(mat[n+encLen:]),
	}, nil
}

// wipeAuth forgets what only AUTH needs.
func (k *keys) wipeAuth() {
	clear(k.pi)
	clear(k.pr)
	k.pi, k.pr = nil, nil
}

// wipeSecrets forgets what no message needs: an IKE SA that is closed derives nothing any more.
func (k *keys) wipeSecrets() {
	k.wipeAuth()
	clear(k.d)
	k.d = nil
}

// wipe forgets all that can be forgotten; the key schedules inside the ciphers go with the garbage.
func (k *keys) wipe() {
	if k == nil {
		return
	}
	k.wipeSecrets()
	k.in, k.out = nil, nil
}

func clone(b []byte) []byte { return append([]byte(nil), b...) }
