package suite

// Cipher protects the packets of one direction: the SK payload of an IKE SA and the packets of an ESP SA alike. It is
// encryption and integrity together, be it an AEAD or a block cipher with a MAC. Ciphers are safe for concurrent use and
// Seal and Open do not allocate.
type Cipher interface {
	// IVLen is the length in bytes of the explicit IV on the wire: 8 for the AEADs, 16 for CBC.
	IVLen() int
	// TagLen is the length in bytes of the integrity check value (ICV).
	TagLen() int
	// BlockLen is what the plaintext's length must be a multiple of: 16 for CBC, 1 otherwise.
	BlockLen() int
	// Seal protects pkt in place. pkt holds clear bytes of header, which are authenticated but not encrypted, IVLen bytes
	// of room, the plaintext, and TagLen bytes of room; Seal fills both rooms. seq must never repeat under one key: the IV
	// is made of it. With esn the upper 32 bits of seq are authenticated although they are not sent, and the header must
	// be the 8 bytes of ESP. A pkt without the needed room, or a plaintext that is no multiple of BlockLen, is a mistake of
	// the caller and panics.
	Seal(pkt []byte, clear int, seq uint64, esn bool)
	// Open checks pkt, decrypts it in place and returns the plaintext, which is a part of pkt. With esn, seqHi is the
	// implied upper half of the sequence number. The error is ErrShort or ErrIntegrity; after ErrIntegrity the
	// ciphertext in pkt may have been overwritten.
	Open(pkt []byte, clear int, seqHi uint32, esn bool) ([]byte, error)
}
