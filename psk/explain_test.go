package psk

import (
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	for _, tt := range []struct {
		entries       []string
		local, remote string
		want          []string // one part of each sentence, in order
	}{
		{nil, "@us", "@foo", []string{"no pre-shared secret is configured"}},
		{[]string{"ike-1 qwerty @foo"}, "@us", "keyid:foo", []string{`secret "ike-1" nearly matches: keyid:foo was presented where @foo`}},
		{[]string{"ike-1 qwerty 192.0.2.10"}, "@us", "172.16.0.1", []string{"private address of a gateway behind a NAT"}},
		{[]string{"ike-1 qwerty @ours"}, "@our", "@foo", []string{"@our was presented where @ours is configured"}},
		{[]string{"ike-1 qwerty @a1", "ike-2 qwerty @bb", "ike-3 qwerty @cc @dd @ee"}, "@us", "@foo",
			[]string{"belong to @a1, @bb, @cc, @dd, 1 more; none of them is @foo or @us"}},
		{[]string{"1 s @gate1", "2 s @gate2", "3 s @gate3", "4 s @gate4", "5 s @gate5", "6 s @gate6", "7 s @gate7", "8 s @gate8", "9 s @gate9"}, "@us", "@gate",
			[]string{`"1"`, `"2"`, `"3"`, `"4"`, `"5"`, `"6"`, `"7"`, `"8"`}},
	} {
		got := store(t, tt.entries...).Explain(id(t, tt.local), id(t, tt.remote))
		if len(got) != len(tt.want) {
			t.Errorf("%q: %d sentences, want %d: %q", tt.entries, len(got), len(tt.want), got)
			continue
		}
		for i := range got {
			if !strings.Contains(got[i], tt.want[i]) || strings.Contains(got[i], "qwerty") {
				t.Errorf("%q: sentence %q, want %q in it", tt.entries, got[i], tt.want[i])
			}
		}
	}
}

func TestMismatch(t *testing.T) {
	long := strings.Repeat("q", 64)
	prf, signed := sha256PRF(t), []byte("signed octets")
	for _, tt := range []struct{ ours, theirs, want string }{
		{"qwerty", "qwerty\n", "theirs ends in a newline"},
		{"qwerty", "qwerty\r\n", "carriage return and a newline"},
		{"qwerty", "qwerty\r", "ends in a carriage return"},
		{"qwerty", "qwerty ", "ends in a space"},
		{"qwerty", " qwerty", "begins with a space"},
		// HMAC pads short keys with NUL bytes: one more matters only where it exceeds the block of the hash.
		{long, long + "\x00", "NUL byte"},
		{"qwerty", "qwerty\x00", ""},
		{"qwerty", `"qwerty"`, "theirs includes double quotes"},
		{"qwerty", `'qwerty'`, "theirs includes single quotes"},
		{"qwerty\n", "qwerty", "ours begins or ends with white space"},
		{" qwerty ", "qwerty", "ours begins or ends with white space"},
		{"qw erty", "qwerty", "ours contains white space"},
		{`"qwerty"`, "qwerty", "ours includes quotes"},
		{"'qwerty'", "qwerty", "ours includes quotes"},
		{"qwe\xff", "716765", ""},
		{"qwe\xff", "717765ff", "took the hex text"},
		{"qwe\xff", "717765FF", "took the hex text"},
		{"qwe\xff", "0x717765ff", "took the hex text"},
		{"qwe\xff", "0x717765FF", "took the hex text"},
		{"secret!", "c2VjcmV0IQ==", "took the base64 text"},
		{"secret!", "c2VjcmV0IQ", "took the base64 text"},
		{"secret!", "0sc2VjcmV0IQ==", "took the base64 text"},
		{"717765ff", "qwe\xff", "decoded it as hex"},
		{"0x717765ff", "qwe\xff", "decoded it as hex"},
		{"c2VjcmV0IQ==", "secret!", "decoded it as base64"},
		{"0sc2VjcmV0IQ==", "secret!", "decoded it as base64"},
		{"qwerty", "Qwerty", ""},
		{"qwerty", "qwerty", ""}, // it verifies: nothing is wrong
		{"\"\"", "", ""},
		{"qwerty", "QWERTY", "upper and lower case exchanged"},
		{"Gr\u00fc\u00dfe", "Gr\xfc\xdfe", "theirs is in ISO 8859-1, ours in UTF-8"},
		{"Gr\xfc\xdfe", "Gr\u00fc\u00dfe", "theirs is in UTF-8, ours in ISO 8859-1"},
		{"a\u2013b\u00a0\u201cc\u201d", `a-b "c"`, "of a word processor"},
		{long, long[:32], "only the first 32 bytes of ours"},
	} {
		s := NewStore()
		if err := s.Add("ike-1", []byte(tt.ours), nil); err != nil {
			t.Fatal(err)
		}
		f, ok := s.Mismatch(prf, signed, mac(prf, []byte(tt.theirs), signed), id(t, "@us"), id(t, "@foo"))
		got := f.Text
		if ok && (f.Secret != "ike-1" || f.How == "" || !strings.HasSuffix(got, f.How)) {
			t.Errorf("ours %q, theirs %q: %+v", tt.ours, tt.theirs, f)
		}
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("ours %q, theirs %q: %q, want %q", tt.ours, tt.theirs, got, tt.want)
		}
		if strings.Contains(got, strings.TrimSpace(tt.ours)) || tt.theirs != "" && strings.Contains(got, tt.theirs) {
			t.Errorf("the secret is in %q", got)
		}
		if string(s.entries[0].secret()) != tt.ours {
			t.Errorf("the stored secret became %q", s.entries[0].secret())
		}
	}
}

func TestMismatchNamesTheOtherSecret(t *testing.T) {
	prf, signed := sha256PRF(t), []byte("signed octets")
	s := store(t, "ike-a sa @alice", "ike-b sb @bob")
	auth := mac(prf, []byte("sb"), signed)
	for _, remote := range []string{"@alice", "@eve"} { // a secret of one's own, and none at all
		f, _ := s.Mismatch(prf, signed, auth, id(t, "@us"), id(t, remote))
		got := f.Text
		if f.Other != "ike-b" || f.Owners != "@bob" {
			t.Errorf("%s: %+v", remote, f)
		}
		if want := `the peer used secret "ike-b", which belongs to @bob and neither to ` + remote + " nor to @us"; got != want {
			t.Errorf("%s: %q, want %q", remote, got, want)
		}
	}
}

// TestSpellingsAreFresh keeps respelt from zeroing the stored secret.
func TestSpellingsAreFresh(t *testing.T) {
	for _, text := range []string{"qwerty", `"qwerty"`, "717765", "0x717765", "c2VjcmV0", " a b "} {
		secret := []byte(text)
		for _, v := range spellings(secret) {
			clear(v.secret)
		}
		if string(secret) != text {
			t.Errorf("%q became %q", text, secret)
		}
	}
}
