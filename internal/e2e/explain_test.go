//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/culvert-vpn/culvert/explain"
)

// mistake is a difference between two configurations that keeps a connection from coming up.
type mistake struct {
	name string
	// spoil makes what Culvert and strongSwan have of the connection differ.
	spoil func(ours, theirs *pact)
	// edit changes the text of Culvert's file afterwards, in pairs of old and new.
	edit []string
	// called is what Culvert knows when strongSwan calls, caller when it calls itself.
	called, caller fact
	keepsIKE       bool         // it is about the Child SA alone
	only           explain.Side // whose fixes help; both if empty
}

// fact is what an explanation has to say.
type fact struct {
	cause explain.Cause // "" if Culvert does not call in this case
	// sent and configured are in one line of the comparison, text is in the sentence.
	sent, configured, text string
}

// vague is what a caller knows whom the peer does not authenticate.
var vague = fact{explain.PeerRefusesUs, "AUTHENTICATION_FAILED", "", "does not say whether"}

var mistakes = []mistake{
	{
		name:   "private",
		spoil:  func(ours, theirs *pact) { ours.b.id, theirs.b.id = "192.0.2.10", "172.16.0.1" },
		called: fact{explain.UnknownIdentity, "172.16.0.1", "192.0.2.10", "the peer is behind a NAT and presents its private address 172.16.0.1 as its identity"},
		caller: vague,
	},
	{
		name:   "type",
		spoil:  func(ours, theirs *pact) { ours.b.id, theirs.b.id = "198.51.100.7", "@198.51.100.7" },
		called: fact{explain.UnknownIdentity, "@198.51.100.7", "198.51.100.7", "the difference is the type (ID_FQDN, not ID_IPV4_ADDR)"},
		caller: vague,
	},
	{
		name:   "mark",
		spoil:  func(_, theirs *pact) { theirs.b.id = "fqdn:@b-mark" },
		called: fact{explain.UnknownIdentity, "fqdn:@b-mark", "@b-mark", "the difference is an @ in front"},
		caller: vague,
	},
	{
		name:   "case",
		spoil:  func(ours, theirs *pact) { ours.b.id, theirs.b.id = "keyid:B-Case", "keyid:b-case" },
		called: fact{explain.UnknownIdentity, "keyid:b-case", "keyid:B-Case", "the difference is upper and lower case"},
		caller: vague,
	},
	{
		name:   "dot",
		spoil:  func(ours, theirs *pact) { ours.b.id, theirs.b.id = "@b.example.com", "@b.example.com." },
		called: fact{explain.UnknownIdentity, "@b.example.com.", "@b.example.com", "the difference is a dot at the end"},
		caller: vague,
	},
	{
		name:   "mail",
		spoil:  func(ours, theirs *pact) { ours.b.id, theirs.b.id = "b@mail.example.com", "@b@mail.example.com" },
		called: fact{explain.UnknownIdentity, "@b@mail.example.com", "b@mail.example.com", "the difference is the type (ID_FQDN, not ID_RFC822_ADDR)"},
		caller: vague,
	},
	{
		name:   "us",
		spoil:  func(_, theirs *pact) { theirs.a.id = "@a-them" },
		called: fact{explain.UnknownIdentity, "@a-them", "@a-us", "connection us fits the peer, but our identity there is @a-us"},
		caller: vague,
	},
	{
		name:   "owner",
		edit:   []string{"remote {\n\t\t\tauth = psk\n\t\t\tid = \"@b-owner\"", "remote {\n\t\t\tauth = psk\n\t\t\tid = %any", "id-1 = \"@a-owner\"\n id-2 = \"@b-owner\"", "id-1 = \"@b-owner.\""},
		called: fact{explain.NoSecret, "@b-owner", "@b-owner.", "the difference is a dot at the end"},
	},
	{
		name:   "newline",
		spoil:  func(_, theirs *pact) { theirs.secret += "\n" },
		called: fact{explain.WrongSecret, "theirs ends in a newline", "", `secret "ike-newline" differs from ours only in spelling`},
		caller: vague,
	},
	{
		name:   "space",
		spoil:  func(ours, _ *pact) { ours.secret += " " },
		called: fact{explain.WrongSecret, "ours begins or ends with white space", "", "only in spelling"},
		caller: vague,
	},
	{
		name:   "quotes",
		spoil:  func(_, theirs *pact) { theirs.secret = `"` + theirs.secret + `"` },
		called: fact{explain.WrongSecret, "theirs includes double quotes around it", "", "only in spelling"},
		caller: vague,
	},
	{
		name: "hex",
		spoil: func(ours, theirs *pact) {
			ours.secret, theirs.secret = "68757368206875736821", "0x68757368206875736821"
		},
		called: fact{explain.WrongSecret, "they decoded it as hex", "", "only in spelling"},
		caller: vague,
	},
	{
		name: "base64",
		spoil: func(ours, theirs *pact) {
			ours.secret, theirs.secret = "0sbXVtYmxlIG11bWJsZQ==", "bXVtYmxlIG11bWJsZQ=="
		},
		called: fact{explain.WrongSecret, "they took the base64 text itself for the secret", "", "only in spelling"},
		caller: vague,
	},
	{
		name:   "other",
		spoil:  func(_, theirs *pact) { theirs.secret = "the secret of newline" },
		called: fact{explain.WrongSecret, "ike-newline, which is for @a-newline, @b-newline", "ike-other", `the peer used secret "ike-newline"`},
		caller: vague,
	},
	{
		name:   "ike",
		spoil:  func(ours, theirs *pact) { ours.ike, theirs.ike = "aes128-sha256-modp2048", "aes128-sha256-modp3072" },
		called: fact{explain.NoProposal, "modp3072", "modp2048", "nothing in common in key exchange"},
		caller: fact{explain.NoProposal, "NO_PROPOSAL_CHOSEN", "aes128-sha256-prfsha256-modp2048", "the peer refuses: NO_PROPOSAL_CHOSEN"},
	},
	{
		name:     "esp",
		spoil:    func(_, theirs *pact) { theirs.esp = "aes128-sha256" },
		called:   fact{explain.NoProposal, "aes128", "aes256gcm16", "nothing in common in encryption"},
		caller:   fact{explain.NoProposal, "NO_PROPOSAL_CHOSEN", "aes256gcm16", "no algorithms in common for child esp"},
		keepsIKE: true,
	},
	{
		name:     "nets",
		spoil:    func(_, theirs *pact) { theirs.b.nets = "10.104.19.0/24" },
		called:   fact{explain.SelectorsDiffer, "10.104.19.0/24", "10.104.17.0/24", "the peer's local_ts does not overlap with remote_ts of child nets"},
		caller:   fact{explain.SelectorsDiffer, "TS_UNACCEPTABLE", "10.104.17.0/24", "it has no child for"},
		keepsIKE: true,
	},
	{
		name:     "swapped",
		spoil:    func(_, theirs *pact) { theirs.a.nets, theirs.b.nets = theirs.b.nets, theirs.a.nets },
		called:   fact{explain.SelectorsDiffer, "10.104.18.0/24", "10.103.18.0/24", "local_ts and remote_ts exchanged"},
		caller:   fact{explain.SelectorsDiffer, "TS_UNACCEPTABLE", "10.103.18.0/24", "it has no child for"},
		keepsIKE: true,
		only:     explain.Peer, // the networks are where they are
	},
}

// explained is what `culvert explain NAME --json` prints.
type explained struct {
	Connection string `json:"connection"`
	Up         bool   `json:"up"`
	Failure    struct {
		Time      time.Time          `json:"time"`
		Text      string             `json:"text"`
		Diagnosis *explain.Diagnosis `json:"diagnosis"`
	} `json:"failure"`
}

// TestExplain makes every mistake there is between Culvert and strongSwan, has each of them call, and wants Culvert to name the cause
// and what differs. Then the lines of its fixes are applied as they are printed, to the file of the side that they are for, and the
// connection comes up: with each fix if Culvert was called, with the first that it can know of if it called itself.
func TestExplain(t *testing.T) {
	t.Parallel()
	var ours, theirs []pact
	for i, m := range mistakes {
		a := numbered(i+1, m.name)
		b := a
		if m.spoil != nil {
			m.spoil(&a, &b)
		}
		ours, theirs = append(ours, a), append(theirs, b)
	}
	confA, _ := confs(ours...)
	_, confB := confs(theirs...)
	for _, m := range mistakes {
		confA = edit(confA, m.edit...)
	}
	for _, half := range []struct {
		name string
		byA  bool
	}{{"called", false}, {"caller", true}} {
		t.Run(half.name, func(t *testing.T) {
			t.Parallel()
			ref := NewReference(t, Plan{B: OneToOne})
			ref.subnets(len(mistakes) + 1)
			p := cast{a: culvert, b: askingSoon}.play(t, ref, confA, confB)
			call := p.calls()[1]
			if half.byA {
				call = p.calls()[0]
			}
			bench := &workbench{call, p.a.(*Culvert), p.b.(*StrongSwan), confA, confB}
			for _, m := range mistakes {
				bench.try(m)
			}
		})
	}
}

// askingSoon is a strongSwan that soon asks again: after several failures it is asked for a cookie, and now and then it drops the answer
// because it came while the request was still being sent.
func askingSoon(h *Host, conf string) Peer {
	return NewStrongSwan(h, conf, "retransmit_timeout = 0.5")
}

// workbench is where configurations are mended.
type workbench struct {
	call
	ours         *Culvert
	theirs       *StrongSwan
	confA, confB string // as they are wrong
}

// try makes a mistake, reads the explanation and applies the fixes.
func (w *workbench) try(m mistake) {
	w.Helper()
	want := m.called
	if w.byA {
		want = m.caller
	}
	if want.cause == "" {
		return
	}
	began := time.Now()
	if err := w.initiator.Initiate(m.name); err == nil {
		w.fail("%s came up", m.name)
		return
	}
	d := w.explained(m.name, want, began)
	if d == nil {
		return
	}
	if m.keepsIKE {
		w.down(w.initiator, m.name)
	}
	up := 0
	for _, fix := range d.Fixes {
		if len(fix.Lines) == 0 || w.byA && up > 0 || m.only != "" && fix.Side != m.only {
			continue
		}
		if w.mends(m, fix) {
			up++
		} else if !w.byA {
			w.fail("%s: the fix %q does not help:\n%s", m.name, fix, strings.Join(fix.Lines, "\n"))
		}
	}
	if up == 0 {
		w.fail("%s: no fix helps: %v", m.name, d.Fixes)
	}
	w.configure(w.confA, w.confB)
}

// explained runs the command, and checks what it says.
func (w *workbench) explained(name string, want fact, since time.Time) *explain.Diagnosis {
	w.Helper()
	var list []explained
	out, err := w.ours.Ctl("explain", name, "--json")
	Must(w.T, err, json.Unmarshal([]byte(out), &list))
	for _, e := range list {
		if d := e.Failure.Diagnosis; d != nil && d.Cause == want.cause && !e.Failure.Time.Before(since.Truncate(time.Second)) {
			w.says(name, d, want)
			return d
		}
	}
	w.fail("%s: culvert explain does not say %s, but %s", name, want.cause, out)
	return nil
}

// says looks for the facts in an explanation, as it is for programs and for people.
func (w *workbench) says(name string, d *explain.Diagnosis, want fact) {
	w.Helper()
	compared := false
	for _, c := range d.Compared {
		compared = compared || strings.Contains(c.Sent, want.sent) && strings.Contains(c.Configured, want.configured)
	}
	if !compared || !strings.Contains(d.Text, want.text) {
		w.fail("%s: the explanation was to have %+v, it is %+v", name, want, *d)
	}
	text, err := w.ours.Ctl("explain", name)
	Must(w.T, err)
	for _, line := range append([]string{"the peer sent", "configured here", "culvert explain " + string(want.cause)}, d.Fixes[0].Lines...) {
		if !strings.Contains(text, line) {
			w.fail("%s: culvert explain does not print %q:\n%s", name, line, text)
		}
	}
	for _, secret := range []string{"the secret of", "hush", "687573", "mumble", "bXVtY"} {
		if strings.Contains(text, secret) {
			w.fail("%s: a secret is in\n%s", name, text)
		}
	}
	if dir := os.Getenv("CULVERT_E2E_KEEP"); dir != "" {
		side := map[bool]string{true: "caller", false: "called"}[w.byA]
		Must(w.T, os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, fmt.Sprintf("explain-%s-%s.txt", side, name)), []byte(text), 0o644))
	}
}

// mends applies a fix, and reports whether the connection comes up with it.
func (w *workbench) mends(m mistake, fix explain.Fix) bool {
	w.Helper()
	confA, confB := w.confA, w.confB
	var err error
	if fix.Side == explain.Here {
		confA, err = ApplyFrom(confA, confB, fix, nil)
	} else {
		confB, err = ApplyFrom(confB, confA, fix, nil)
	}
	if err != nil {
		w.fail("%s: %v", m.name, err)
		return false
	}
	w.configure(confA, confB)
	if err := w.initiator.Initiate(m.name); err != nil {
		for _, p := range []Peer{w.a, w.b} {
			if sas, err := p.SAs(); err == nil && len(sas) > 0 {
				_ = w.initiator.Terminate(m.name) // what is left of a child that did not come up
			}
		}
		return false
	}
	w.agree(m.name, m.name)
	w.down(w.initiator, m.name)
	return true
}

// configure gives both sides their files.
func (w *workbench) configure(confA, confB string) {
	w.Helper()
	Must(w.T, w.ours.Configure(confA), w.theirs.Configure(confB))
	if _, err := w.ours.Ctl("reload"); err != nil {
		w.fail("%v", err)
	}
}
