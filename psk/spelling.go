package psk

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"unicode/utf8"
)

// spelling is a secret as the peer may have read it.
type spelling struct {
	how    string
	secret []byte
	// here and peer are what to write in the file of one side, as in a Finding.
	here, peer string
}

// What to write in a file, beside the secret as it is.
const (
	asIs          = `"<what stands there now>"`
	trimmed       = `"<what stands there now, without the white space around it>"`
	withoutSpace  = `"<what stands there now, without white space>"`
	withoutQuotes = `"<what stands there now, without the quotes around it>"`
	withoutPrefix = `"<what stands there now, without its first two characters>"`
	withPrefix0x  = `0x<what stands there now>`
	withPrefix0s  = `0s<what stands there now>`
	inUTF8        = `"<what stands there now, in UTF-8>"`
	keyboardASCII = `"<what stands there now, with the plain characters of a keyboard>"`
)

// cuts are lengths in bytes at which implementations are known to cut a secret off.
var cuts = [...]int{8, 15, 16, 20, 24, 31, 32, 48, 49, 63, 64, 127, 128}

// spellings are the accidents that happen to secrets between two configuration files. Secrets are copied into fresh
// slices, never strings, so that all of it can be zeroed.
func spellings(secret []byte) []spelling {
	return slices.Concat(added(secret), dropped(secret), encoded(secret), decodings(secret), characters(secret))
}

// added are those in which the peer's has more.
func added(secret []byte) []spelling {
	around := func(how, before, after, here, peer string) spelling {
		return spelling{how, bytes.Join([][]byte{[]byte(before), secret, []byte(after)}, nil), here, peer}
	}
	return []spelling{
		around("theirs ends in a newline", "", "\n", `"<what stands there now>\n"`, trimmed),
		around("theirs ends in a carriage return and a newline", "", "\r\n", `"<what stands there now>\r\n"`, trimmed),
		around("theirs ends in a carriage return", "", "\r", `"<what stands there now>\r"`, trimmed),
		around("theirs ends in a space", "", " ", `"<what stands there now> "`, trimmed),
		around("theirs begins with a space", " ", "", `" <what stands there now>"`, trimmed),
		around("theirs ends in a NUL byte, which RFC 7296 2.15 forbids to add", "", "\x00", "", asIs),
		around("theirs includes double quotes around it", `"`, `"`, `"\"<what stands there now>\""`, withoutQuotes),
		around("theirs includes single quotes around it", "'", "'", `"'<what stands there now>'"`, withoutQuotes),
	}
}

// dropped are those in which the peer's has less.
func dropped(secret []byte) (all []spelling) {
	all = append(all,
		spelling{"ours begins or ends with white space", bytes.Clone(bytes.TrimSpace(secret)), trimmed, ""},
		spelling{"ours contains white space", bytes.Join(bytes.Fields(secret), nil), withoutSpace, ""})
	if n := len(secret); n > 2 && secret[0] == secret[n-1] && (secret[0] == '"' || secret[0] == '\'') {
		all = append(all, spelling{"ours includes quotes around it", bytes.Clone(secret[1 : n-1]), withoutQuotes, ""})
	}
	for _, n := range cuts {
		if n < len(secret) {
			all = append(all, spelling{how: fmt.Sprintf("theirs is only the first %d bytes of ours, where the peer cuts it off", n), secret: bytes.Clone(secret[:n])})
		}
	}
	return all
}

// encoded are those in which the peer has the text of a secret that is written in hex or base64.
func encoded(secret []byte) []spelling {
	digits := make([]byte, hex.EncodedLen(len(secret)))
	hex.Encode(digits, secret)
	upper := bytes.ToUpper(digits)
	base64ed := make([]byte, base64.StdEncoding.EncodedLen(len(secret)))
	base64.StdEncoding.Encode(base64ed, secret)
	defer func() {
		clear(digits)
		clear(upper)
		clear(base64ed)
	}()
	const asHex, asBase64 = "they took the hex text itself for the secret", "they took the base64 text itself for the secret"
	return []spelling{
		{asHex, bytes.Clone(digits), withoutPrefix, withPrefix0x},
		{asHex, bytes.Clone(upper), withoutPrefix, withPrefix0x},
		{asHex, slices.Concat([]byte("0x"), digits), "", ""},
		{asHex, slices.Concat([]byte("0x"), upper), "", ""},
		{asBase64, bytes.Clone(base64ed), withoutPrefix, withPrefix0s},
		{asBase64, bytes.Clone(bytes.TrimRight(base64ed, "=")), withoutPrefix, withPrefix0s},
		{asBase64, slices.Concat([]byte("0s"), base64ed), "", ""},
	}
}

// decodings are those in which the peer takes for hex or base64 what we take for text.
func decodings(secret []byte) (all []spelling) {
	if decoded, ok := decodeHex(bytes.TrimPrefix(secret, []byte("0x"))); ok {
		all = append(all, spelling{"they decoded it as hex, ours is the text itself (write 0x in front)", decoded, withPrefix0x, withoutPrefix})
	}
	if decoded, ok := decodeBase64(bytes.TrimPrefix(secret, []byte("0s"))); ok {
		all = append(all, spelling{"they decoded it as base64, ours is the text itself (write 0s in front)", decoded, withPrefix0s, withoutPrefix})
	}
	return all
}

// characters are those in which characters became others on their way: by the encoding of a file, by a word processor, by Caps Lock.
func characters(secret []byte) (all []spelling) {
	if swapped := swapCase(secret); !bytes.Equal(swapped, secret) {
		all = append(all, spelling{how: "theirs has upper and lower case exchanged", secret: swapped})
	}
	if isASCII(secret) {
		return all
	}
	if narrow, ok := latin1(secret); ok {
		all = append(all, spelling{"theirs is in ISO 8859-1, ours in UTF-8", narrow, "", inUTF8})
	}
	if !utf8.Valid(secret) {
		var wide []byte
		for _, c := range secret {
			wide = utf8.AppendRune(wide, rune(c))
		}
		return append(all, spelling{"theirs is in UTF-8, ours in ISO 8859-1", wide, inUTF8, ""})
	}
	if plain := typewritten(secret); !bytes.Equal(plain, secret) {
		all = append(all, spelling{"ours has quotes, dashes or spaces of a word processor", plain, keyboardASCII, ""})
	}
	return all
}

func isASCII(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c >= utf8.RuneSelf })
}

// swapCase exchanges upper and lower case of ASCII letters.
func swapCase(b []byte) []byte {
	b = bytes.Clone(b)
	for i, c := range b {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			b[i] = c ^ 0x20
		}
	}
	return b
}

// latin1 is the text of UTF-8 in ISO 8859-1; ok is false if it does not fit.
func latin1(text []byte) (narrow []byte, ok bool) {
	narrow = make([]byte, 0, len(text))
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if r == utf8.RuneError || r > 0xff {
			clear(narrow)
			return nil, false
		}
		narrow, text = append(narrow, byte(r)), text[n:]
	}
	return narrow, true
}

// typewritten undoes what word processors make of quotes, dashes and spaces.
func typewritten(text []byte) []byte {
	plain := make([]byte, 0, len(text)) // never grows: each of them is longer than what it stands for
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch r {
		case '\u2018', '\u2019', '\u201a':
			plain = append(plain, '\'')
		case '\u201c', '\u201d', '\u201e':
			plain = append(plain, '"')
		case '\u2010', '\u2011', '\u2012', '\u2013', '\u2014':
			plain = append(plain, '-')
		case '\u00a0', '\u202f', '\u2009':
			plain = append(plain, ' ')
		default:
			plain = append(plain, text[:n]...)
		}
		text = text[n:]
	}
	return plain
}
