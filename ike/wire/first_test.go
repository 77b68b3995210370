package wire

import (
	"bytes"
	"slices"
	"testing"
)

var firstHeader = Header{SPIi: 1, Major: 2, Exchange: IKE_SA_INIT, Initiator: true}

// TestReadFirst: where a cookie stands, and what is no first message.
func TestReadFirst(t *testing.T) {
	nonce, cookie := &Nonce{Data: bytes.Repeat([]byte{7}, 32)}, &Notify{Kind: COOKIE, Data: []byte("biscuit")}
	ke := &KE{Group: 31, Data: make([]byte, 32)}
	for _, c := range []struct {
		name     string
		payloads []Payload
		ok       bool
		cookie   string
	}{
		{"no cookie", []Payload{ke, nonce}, true, ""},
		{"a cookie", []Payload{cookie, ke, nonce}, true, "biscuit"},
		{"a cookie in another place", []Payload{ke, cookie, nonce}, true, ""},
		{"another notification", []Payload{&Notify{Kind: INITIAL_CONTACT, Data: []byte("biscuit")}, nonce}, true, ""},
		{"a cookie of 64 bytes", []Payload{&Notify{Kind: COOKIE, Data: bytes.Repeat([]byte("x"), 64)}, nonce}, true, string(bytes.Repeat([]byte("x"), 64))},
		{"a cookie of 65 bytes", []Payload{&Notify{Kind: COOKIE, Data: make([]byte, 65)}, nonce}, true, ""},
		{"a cookie with an SPI", []Payload{&Notify{Protocol: 3, SPI: make([]byte, 4), Kind: COOKIE, Data: []byte("x")}, nonce}, true, ""},
		{"no nonce", []Payload{cookie, ke}, false, ""},
		{"a nonce of 15 bytes", []Payload{&Nonce{Data: make([]byte, 15)}}, false, ""},
		{"a nonce of 257 bytes", []Payload{&Nonce{Data: make([]byte, 257)}}, false, ""},
		{"nothing", nil, false, ""},
		{"too many payloads", append(slices.Repeat([]Payload{&Vendor{}}, MaxPayloads), nonce), false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := AppendMessage(nil, firstHeader, c.payloads)
			f, ok := ReadFirst(b)
			if ok != c.ok || string(f.Cookie) != c.cookie || ok && len(f.Nonce) < MinNonce {
				t.Errorf("%v, cookie %q, nonce %x", ok, f.Cookie, f.Nonce)
			}
			for n := range b {
				if _, ok := ReadFirst(b[:n]); ok {
					t.Errorf("takes the first %d of %d bytes", n, len(b))
				}
			}
			if _, ok := ReadFirst(append(slices.Clone(b), 0)); ok {
				t.Error("takes a byte too many")
			}
		})
	}
}

// FuzzReadFirst: what Parse takes, it takes too, and finds the same in it.
func FuzzReadFirst(f *testing.F) {
	seedMessages(f)
	nonce := &Nonce{Data: make([]byte, 32)}
	f.Add(AppendMessage(nil, firstHeader, []Payload{&Notify{Kind: COOKIE, Data: []byte("biscuit")}, nonce}))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := ReadFirst(b)
		m, err := Parse(b)
		if err != nil {
			return
		}
		var want First
		sealed := m.Encrypted != nil
		for i, p := range m.Payloads {
			switch p := p.(type) {
			case *Nonce:
				if want.Nonce == nil {
					want.Nonce = p.Data
				}
			case *Notify:
				if i == 0 && p.Kind == COOKIE && len(p.SPI) == 0 && len(p.Data) <= maxCookie {
					want.Cookie = p.Data
				}
			case *Unknown:
				sealed = sealed || p.Kind == TypeSKF
			}
		}
		if ok != (want.Nonce != nil && !sealed) || ok && (!bytes.Equal(got.Cookie, want.Cookie) || !bytes.Equal(got.Nonce, want.Nonce)) {
			t.Errorf("%v %+v, want %+v in %v", ok, got, want, m)
		}
	})
}
