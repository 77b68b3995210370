package wire

// First is what a responder wants to know of an IKE_SA_INIT request before it takes the trouble to parse it: all that a
// cookie depends on (RFC 7296 2.6). It borrows from the message.
type First struct {
	Header Header
	// Cookie is the data of the COOKIE notification, which is the first payload; nil if there is none.
	Cookie []byte
	// Nonce is the data of the first Nonce payload, MinNonce to MaxNonce bytes.
	Nonce []byte
}

// maxCookie is how long the data of a COOKIE notification may be (RFC 7296 2.6).
const maxCookie = 64

// ReadFirst walks over the payloads of the message b, reads the two that a cookie needs and looks into no other. ok is false
// if the chain of payloads is broken, has no nonce, or ends in an Encrypted payload: no IKE_SA_INIT request does.
func ReadFirst(b []byte) (f First, ok bool) {
	r := newReader(b, 0)
	f.Header = readHeader(&r)
	next := f.Header.Next
	for n := 0; next != TypeNone && !r.failed(); n++ {
		kind := next
		next = PayloadType(r.u8())
		r.skip(1)
		body := r.sub(max(int(r.u16()), payloadHeaderLen) - payloadHeaderLen)
		switch {
		case n == MaxPayloads || kind == TypeSK || kind == TypeSKF:
			return First{}, false
		case kind == TypeNOTIFY && n == 0:
			f.Cookie = readCookie(body)
		case kind == TypeNONCE && f.Nonce == nil:
			f.Nonce = body.rest()
		}
	}
	r.end("bytes after the last payload")
	if r.failed() || uint64(f.Header.Length) != uint64(len(b)) || len(f.Nonce) < MinNonce || len(f.Nonce) > MaxNonce {
		return First{}, false
	}
	return f, true
}

// readCookie is the data of a notification if it is a COOKIE.
func readCookie(r reader) []byte {
	r.skip(1)
	if size, kind := r.u8(), NotifyType(r.u16()); size != 0 || kind != COOKIE || r.left() > maxCookie {
		return nil
	}
	return r.rest()
}
