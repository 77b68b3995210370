package explain

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// causes are all constants of the type Cause, as the source has them.
func causes(t *testing.T) (all []Cause) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "cause.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.CONST {
			continue
		}
		for _, spec := range gen.Specs {
			for _, value := range spec.(*ast.ValueSpec).Values {
				text, err := strconv.Unquote(value.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, Cause(text))
			}
		}
	}
	if len(all) < 20 {
		t.Fatalf("only %d causes were found", len(all))
	}
	return all
}

// TestCatalogue wants exactly one entry for each cause, and all of it filled in.
func TestCatalogue(t *testing.T) {
	entries := make(map[Cause]int)
	for _, e := range Catalogue() {
		entries[e.Cause]++
		if e.Title == "" || strings.HasSuffix(e.Title, ".") || len(e.Meaning) < 80 || len(e.Symptoms) == 0 || len(e.Fixes) == 0 {
			t.Errorf("the entry of %s is not complete: %+v", e.Cause, e)
		}
		for _, f := range e.Fixes {
			if f.Text == "" || f.Side == "" || strings.HasSuffix(f.Text, ".") || strings.Contains(f.Text, "\n") {
				t.Errorf("%s: a fix %+v", e.Cause, f)
			}
		}
	}
	for _, c := range causes(t) {
		if entries[c] != 1 {
			t.Errorf("%s has %d entries", c, entries[c])
		}
		if e, err := Of(c); err != nil || e.Cause != c {
			t.Errorf("Of(%s) = %v, %v", c, e.Cause, err)
		}
		delete(entries, c)
	}
	for c := range entries {
		t.Errorf("there is an entry for %q, which is no cause", c)
	}
	if _, err := Of("no-such-cause"); err == nil {
		t.Error("there is an entry for what is no cause")
	}
}

// TestMatch pastes lines of logs. Each symptom of the catalogue leads to its own entry first or second: a few stand for several causes.
func TestMatch(t *testing.T) {
	for text, want := range map[string]Cause{
		"10[CFG] looking for peer configs matching 203.0.113.1[@gw]...192.0.2.10[172.16.0.1]\n10[CFG] no matching peer config found":                                         UnknownIdentity,
		"12[IKE] tried 2 shared keys for 'b' - 'a', but MAC mismatched":                                                                                                      WrongSecret,
		"05[IKE] no shared key found for 'gw.example.com' - 'branch'":                                                                                                        NoSecret,
		`"c1" #1: no local proposal matches remote proposals 1:IKE:ENCR=AES_CBC_256;INTEG=HMAC_SHA1_96`:                                                                      NoProposal,
		"05[IKE] received AUTHENTICATION_FAILED notify error":                                                                                                                PeerRefusesUs,
		"13[IKE] received TS_UNACCEPTABLE notify, no CHILD_SA built":                                                                                                         SelectorsDiffer,
		"%ASA-4-750003: Local:2.2.2.2:500 Remote:1.1.1.1:500 Username:x IKEv2 Negotiation aborted due to ERROR: There was no IPSEC policy found for received TS":             SelectorsDiffer,
		"11[IKE] no IKE config found for 10.0.0.1...10.0.0.2, sending NO_PROPOSAL_CHOSEN":                                                                                    NoConnection,
		"03[IKE] peer requested EAP, config unacceptable":                                                                                                                    OtherMethod,
		`{"level":"WARN","msg":"failed","text":"no connection for a peer that says it is keyid:b-type: connection type expects @b-type","remedy":"set remote.id = keyid:b"}`: UnknownIdentity,
		"received INTERNAL_ADDRESS_FAILURE notify":                                                                                                                           NoInnerAddress,
	} {
		if got := Match(text); len(got) == 0 || got[0].Cause != want {
			t.Errorf("%q is taken for %v, want %s", text, titles(got), want)
		}
	}
	for _, text := range []string{"", "the cat sat on the mat", "hello", "500"} {
		if got := Match(text); len(got) != 0 {
			t.Errorf("%q is taken for %v", text, titles(got))
		}
	}
	for _, e := range Catalogue() {
		for _, s := range e.Symptoms {
			found := false
			got := Match(s)
			for _, m := range got {
				found = found || m.Cause == e.Cause
			}
			if !found {
				t.Errorf("%s: its symptom %q is taken for %v", e.Cause, s, titles(got))
			}
		}
	}
}

func titles(list []Entry) (causes []Cause) {
	for _, e := range list {
		causes = append(causes, e.Cause)
	}
	return causes
}

// TestFormat wants no line longer than the terminal but those to paste, and nothing left out.
func TestFormat(t *testing.T) {
	d := Diagnosis{
		Cause: NoProposal, Text: "no common proposal for the IKE SA: the peer offers aes128-sha256-prfsha256-modp3072; nothing in common in key exchange (Diffie-Hellman group)",
		Compared: []Compared{
			{What: "proposals of the IKE SA", Sent: "aes128-sha256-prfsha256-modp3072", Configured: "aes256gcm16-aes128gcm16-chacha20poly1305-prfsha512-prfsha384-prfsha256-x25519-ecp256-ecp384"},
			{What: "key exchange", Configured: "x25519"},
		},
		Fixes: []Fix{
			{Side: Here, Text: "add it", Lines: Lines([]string{"proposals = aes128-sha256-modp3072, default, " + strings.Repeat("x", 100)}, "connections", "office")},
			{Side: Peer, Text: "look"}, {Side: Between, Text: "let it pass"},
		},
	}
	for _, width := range []int{40, 80, 120} {
		out := d.Format(width)
		for line := range strings.Lines(out) {
			line = strings.TrimSuffix(line, "\n")
			if utf8.RuneCountInString(line) > width && !strings.Contains(line, "proposals = ") {
				t.Errorf("a line of %d at width %d: %q", utf8.RuneCountInString(line), width, line)
			}
			if line != strings.TrimRight(line, " ") {
				t.Errorf("a line ends in a space: %q", line)
			}
		}
		joined := strings.Join(strings.Fields(out), " ")
		for _, want := range []string{"the peer", "sent", "configured", "1. here: add it", "2. on the peer: look", "3. between the two: let it pass", "connections { office {"} {
			if !strings.Contains(joined, want) {
				t.Errorf("at width %d there is no %q in\n%s", width, want, out)
			}
		}
	}
	for _, e := range Catalogue() {
		for line := range strings.Lines(e.Format(80)) {
			if utf8.RuneCountInString(line) > 81 && !strings.HasPrefix(line, "         ") {
				t.Errorf("%s: a line of %d: %q", e.Cause, utf8.RuneCountInString(line), line)
			}
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("no matching peer config found")
	f.Add("NO_PROPOSAL_CHOSEN \xff")
	f.Add("\xff0000000000")
	f.Fuzz(func(t *testing.T, text string) {
		if got := Match(text); len(got) > maxMatches {
			t.Errorf("%d entries", len(got))
		}
		d := Diagnosis{Text: text, Compared: []Compared{{text, text, text}}, Fixes: []Fix{{Here, text, nil}}}
		d.Format(len(text) % 100)
	})
}
