package psk

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/culvert-vpn/culvert/ident"
)

func id(t testing.TB, text string) ident.ID {
	t.Helper()
	if text == "" {
		return ident.ID{}
	}
	id, err := ident.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// store builds a Store from lines "name secret owner owner ...".
func store(t testing.TB, lines ...string) *Store {
	t.Helper()
	s := NewStore()
	for _, line := range lines {
		fields := strings.Fields(line)
		var owners []ident.Pattern
		for _, text := range fields[2:] {
			p, err := ident.ParsePattern(text)
			if err != nil {
				t.Fatal(err)
			}
			owners = append(owners, p)
		}
		if err := s.Add(fields[0], []byte(fields[1]), owners); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func names(secrets []Secret) string {
	var all []string
	for _, s := range secrets {
		all = append(all, s.Name())
	}
	return strings.Join(all, " ")
}

func TestLookup(t *testing.T) {
	// A set in the manner of VyOS: both identities, and both addresses, on every secret.
	vyos := []string{"a sa @us @alice", "b sb @us @bob", "c sc @us 10.0.0.0/8"}
	for _, tt := range []struct {
		entries       []string
		local, remote string
		want          string // names, best first
	}{
		{nil, "@us", "@foo", ""},
		{[]string{"a s @foo"}, "@us", "@foo", "a"},
		{[]string{"a s @foo"}, "@us", "@FOO", "a"},
		{[]string{"a s @foo"}, "@us", "keyid:foo", ""},
		{[]string{"a s @foo"}, "@us", "@bar", ""},
		{[]string{"a s @foo"}, "@foo", "@bar", "a"}, // either side
		{[]string{"a s"}, "@us", "@foo", "a"},       // no owners: anyone
		{[]string{"a s %any"}, "@us", "@foo", "a"},
		{[]string{"any s", "wild s *.example.com", "name s @gw.example.com"}, "@us", "@gw.example.com", "name wild any"},
		{[]string{"any s", "range s 10.0.0.0/8", "near s 10.1.0.0/16"}, "@us", "10.1.2.3", "near range any"},
		{vyos, "@us", "@alice", "a b c"},
		{vyos, "@us", "@bob", "b a c"},
		{vyos, "@us", "10.9.9.9", "c a b"},
		{vyos, "@us", "@eve", "a b c"}, // by our own identity
		{vyos, "@other", "@bob", "b"},
		{[]string{"local s @us", "any s"}, "@us", "@foo", "any local"},         // any description of the peer comes before ours
		{[]string{"x s @foo", "both s @foo @us"}, "@us", "@foo", "both x"},     // then ours
		{[]string{"1 s @foo", "2 s @foo", "3 s @foo"}, "@us", "@foo", "1 2 3"}, // then the order of addition
		{[]string{"a s @foo", "b s", "c s %any"}, "@us", "", "b c"},            // peer not known yet
		{[]string{"a s @us", "b s @foo"}, "@us", "", "a"},
	} {
		if got := names(store(t, tt.entries...).Lookup(id(t, tt.local), id(t, tt.remote))); got != tt.want {
			t.Errorf("%q: Lookup(%s, %s) = %q, want %q", tt.entries, tt.local, tt.remote, got, tt.want)
		}
	}
}

func TestReason(t *testing.T) {
	for _, tt := range []struct{ entry, local, remote, want string }{
		{"a s @foo", "@us", "@foo", "owner @foo matches the peer exactly"},
		{"a s @us", "@us", "@foo", "owner @us matches our own identity exactly"},
		{"a s @us *.example.com", "@us", "@gw.example.com", "owner *.example.com covers the peer"},
		{"a s 10.0.0.0/8", "10.0.0.1", "@foo", "owner 10.0.0.0/8 covers our own identity"},
		{"a s %any", "@us", "@foo", "owner %any matches anyone"},
		{"a s", "@us", "@foo", "no owners: matches any peer"},
	} {
		if got := store(t, tt.entry).Lookup(id(t, tt.local), id(t, tt.remote))[0].Reason(); got != tt.want {
			t.Errorf("%q for %s, %s: %q, want %q", tt.entry, tt.local, tt.remote, got, tt.want)
		}
	}
	if got := NewStore().Decoy().Reason(); got != "no secret was found" {
		t.Errorf("a decoy was found because %q", got)
	}
}

func TestAddTakesTheSecret(t *testing.T) {
	s := NewStore()
	secret, owners := []byte("qwerty"), []ident.Pattern{ident.Literal(id(t, "@foo"))}
	if err := s.Add("a", secret, owners); err != nil {
		t.Fatal(err)
	}
	owners[0] = ident.Literal(id(t, "@bar"))
	if !bytes.Equal(secret, make([]byte, 6)) {
		t.Errorf("the caller's copy is %q", secret)
	}
	if got := names(s.Lookup(id(t, "@us"), id(t, "@foo"))); got != "a" || string(s.entries[0].secret()) != "qwerty" {
		t.Error("the store lost its own copy")
	}
	for _, empty := range [][]byte{nil, {}} {
		if err := s.Add("nothing", empty, nil); err == nil || !strings.Contains(err.Error(), `"nothing" is empty`) {
			t.Errorf("an empty secret: %v", err)
		}
	}
	if len(s.entries) != 1 {
		t.Errorf("%d entries", len(s.entries))
	}
}

func TestWipe(t *testing.T) {
	s := store(t, "a qwerty @foo")
	found := s.Lookup(id(t, "@us"), id(t, "@foo"))[0]
	memory := s.entries[0].secret()
	auth := found.Auth(sha256PRF(t), []byte("signed"))
	s.Wipe()
	if !bytes.Equal(memory, make([]byte, 6)) {
		t.Errorf("the secret is still %q", memory)
	}
	if len(s.Lookup(id(t, "@us"), id(t, "@foo"))) != 0 || found.Verify(sha256PRF(t), []byte("signed"), auth) {
		t.Error("a wiped store still serves")
	}
	if found.Auth(sha256PRF(t), []byte("signed")) != nil {
		t.Error("a wiped secret authenticates")
	}
	s.Wipe()
}

// Cases: SGW.I.1.1.10.4; VPNGW FIA_PSK_EXT.2; VPNGW FIA_PSK_EXT.3.
func TestParseSecret(t *testing.T) {
	for _, tt := range []struct {
		text, want string
		err        error
	}{
		{"qwerty", "qwerty", nil},
		{" spaces stay ", " spaces stay ", nil},
		{strings.Repeat("a", 64), strings.Repeat("a", 64), nil}, // RFC 7296 2.15: at least 64 octets
		{"0x717765727479", "qwerty", nil},
		{"0X71:77:65:72:74:79", "qwerty", nil},
		{"0x00", "\x00", nil},
		{"0sc2VjcmV0IQ==", "secret!", nil},
		{"0Sc2VjcmV0IQ", "secret!", nil},
		{"0", "0", nil},
		{strings.Repeat("secret 8", 8), strings.Repeat("secret 8", 8), nil}, // 64 octets and more (RFC 7296 2.15)
		{strings.Repeat("x", 1000), strings.Repeat("x", 1000), nil},
		{"0y12", "0y12", nil},
		{"", "", errEmpty}, {"0x", "", errEmpty}, {"0s", "", errEmpty}, {"0s=", "", errEmpty},
		{"0x123", "", errHex}, {"0xqwerty", "", errHex}, {"0x71 77", "", errHex},
		{"0s!!!", "", errBase64}, {"0sA", "", errBase64},
	} {
		if got, err := ParseSecret(tt.text); string(got) != tt.want || err != tt.err {
			t.Errorf("ParseSecret(%q) = %q, %v; want %q, %v", tt.text, got, err, tt.want, tt.err)
		}
	}
}

func FuzzParseSecret(f *testing.F) {
	for _, text := range []string{"qwerty", "0x717765", "0x71:77", "0xq", "0sc2VjcmV0IQ==", "0s", "\x00", "0x"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		secret, err := ParseSecret(text)
		if err != nil {
			// Fixed sentences: no part of the text is in them.
			if !slices.Contains([]error{errEmpty, errHex, errBase64}, err) || secret != nil {
				t.Fatalf("ParseSecret: %q, %v", secret, err)
			}
			return
		}
		if len(secret) == 0 {
			t.Fatal("an empty secret")
		}
		if back, err := ParseSecret("0x" + hex.EncodeToString(secret)); err != nil || !bytes.Equal(back, secret) {
			t.Fatalf("in hex %q reads as %q, %v", secret, back, err)
		}
	})
}

// TestNothingPrintsASecret prints values that lead to a secret in every way there is.
func TestNothingPrintsASecret(t *testing.T) {
	s := store(t, "a qwerty @foo")
	secret := s.Lookup(id(t, "@us"), id(t, "@foo"))[0]
	type holder struct {
		Exported Secret
		hidden   Secret
		store    Store
		pointer  *Store
	}
	var printed []string
	for _, v := range []any{s, *s, secret, &secret, s.entries, s.entries[0], *s.entries[0], holder{secret, secret, *s, s}, []Secret{secret}, map[string]Secret{"a": secret}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%U", "%b", "%o"} {
			printed = append(printed, fmt.Sprintf(verb, v))
		}
		if b, err := json.Marshal(v); err == nil {
			printed = append(printed, string(b))
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("", "v", v)
		printed = append(printed, log.String())
	}
	bare := []byte("qwerty")
	for _, verb := range []string{"%s", "%v", "%x", "%X", "%d", "%c", "%U", "%b", "%o"} {
		leak := strings.Trim(fmt.Sprintf(verb, bare), "[]")
		for _, p := range printed {
			if strings.Contains(p, leak) {
				t.Errorf("%q is in %q", leak, p)
			}
		}
	}
	for _, v := range []any{s, *s, secret, &secret} {
		if got := fmt.Sprintf("%v", v); got != "[secret]" {
			t.Errorf("%T prints as %q", v, got)
		}
		if got, err := json.Marshal(v); err != nil || string(got) != `"[secret]"` {
			t.Errorf("%T marshals to %s, %v", v, got, err)
		}
	}
}

// What Lookup does not look at would not have matched: compared with a walk over all secrets.
func TestLookupOfMany(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 2))
	spellings := []string{"@a", "@A", "@b", "@c.example", "*.example", "%any", "10.0.0.1", "10.0.0.0/24", "user@c.example", "@d"}
	pick := func() string { return spellings[r.IntN(len(spellings))] }
	ids := []string{"@a", "@B", "@c.example", "10.0.0.1", "10.0.0.9", "user@c.example", "@nobody"}
	for range 200 {
		s := NewStore()
		for n := range r.IntN(12) {
			var owners []ident.Pattern
			for range r.IntN(3) {
				p, err := ident.ParsePattern(pick())
				if err != nil {
					t.Fatal(err)
				}
				owners = append(owners, p)
			}
			if err := s.Add(fmt.Sprint(n), []byte("secret"), owners); err != nil {
				t.Fatal(err)
			}
		}
		local, remote := id(t, ids[r.IntN(len(ids))]), id(t, ids[r.IntN(len(ids))])
		got := names(s.Lookup(local, remote))
		s.patterns, s.named = s.entries, nil
		if want := names(s.Lookup(local, remote)); got != want {
			t.Fatalf("%v and %v: %q, want %q", local, remote, got, want)
		}
	}
	s := NewStore()
	for i := range 1000 {
		p, err := ident.ParsePattern(fmt.Sprintf("@peer%d", i))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Add(fmt.Sprint(i), []byte("secret"), []ident.Pattern{p}); err != nil {
			t.Fatal(err)
		}
	}
	if list := s.about(id(t, "@us"), id(t, "@peer7")); len(list) != 1 || list[0].name != "7" {
		t.Errorf("%d secrets are looked at for a peer with one of its own", len(list))
	}
}
