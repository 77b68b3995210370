package gateway

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/ike"
	"github.com/culvert-vpn/culvert/suite"
	"github.com/culvert-vpn/culvert/ts"
)

// How charon says what this daemon says otherwise: tools read its words.

// charonAlgorithm names a transform without its key length.
func charonAlgorithm(t suite.Transform) string {
	t.KeyBits = 0
	name := t.String()
	switch t.Type {
	case suite.TypeENCR:
		switch t.ID {
		case suite.ENCR_NULL_AUTH_AES_GMAC:
			return "NULL_AES_GMAC"
		case 3: // 3DES
			return "3DES_CBC"
		}
	case suite.TypeKE:
		switch t.ID {
		case suite.CURVE25519:
			return "CURVE_25519"
		case suite.CURVE448:
			return "CURVE_448"
		case suite.MODP1024S160, suite.MODP2048S224, suite.MODP2048S256:
			return strings.Replace(name, "_S", "_", 1)
		case suite.BRAINPOOLP224R1, suite.BRAINPOOLP256R1, suite.BRAINPOOLP384R1, suite.BRAINPOOLP512R1:
			return "ECP_" + name[len("BRAINPOOL_P"):len("BRAINPOOL_P")+3] + "_BP"
		}
	}
	return name
}

// charonID is an identity without what tells its kind.
func charonID(id ident.ID) string {
	switch id.Kind() {
	case ident.FQDN, ident.RFC822:
		return printable(id.Data())
	case ident.KeyID:
		if text := printable(id.Data()); text == string(id.Data()) {
			return text
		}
		return strings.Join(pairs(id.Data()), ":")
	case ident.DN:
		return strings.TrimPrefix(id.String(), "asn1dn:")
	}
	return id.String()
}

// charonPattern is whom a connection is for.
func charonPattern(p ident.Pattern) string {
	if id, ok := p.ID(); ok {
		return charonID(id)
	}
	return p.String()
}

// printable replaces what is not to be sent to a terminal.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, string(b))
}

// pairs are bytes in hex.
func pairs(b []byte) []string {
	list := make([]string, len(b))
	for i, v := range b {
		list[i] = fmt.Sprintf("%02x", v)
	}
	return list
}

// charonSelector differs in ranges and in ports that cannot be seen.
func charonSelector(s ts.Selector) string {
	text, limits, limited := strings.Cut(s.String(), "[")
	text = strings.Replace(text, "-", "..", 1)
	if !limited {
		return text
	}
	limits = strings.Replace(limits, "/opaque]", "/OPAQUE]", 1)
	if strings.HasPrefix(limits, "any") {
		limits = "0" + strings.TrimPrefix(limits, "any")
	} else if strings.HasPrefix(limits, "/") {
		limits = "0" + limits
	}
	return text + "[" + limits
}

func charonSelectors(list []ts.Selector) []string {
	texts := make([]string, len(list))
	for i, s := range list {
		texts[i] = charonSelector(s)
	}
	return texts
}

// charonSpecs are those of a configuration.
func charonSpecs(list []ts.Spec) []string {
	texts := make([]string, len(list))
	for i, s := range list {
		if texts[i] = s.String(); !s.Dynamic {
			texts[i] = charonSelector(s.Sel)
		}
	}
	return texts
}

// charonState is the state of an IKE SA.
func charonState(sa *ike.SAInfo) string {
	switch {
	case sa.State == "replaced":
		return "REKEYED"
	case sa.State == "closing" || sa.State == "closed":
		return "DELETING"
	case sa.Established.IsZero():
		return "CONNECTING"
	case contains(sa.Asking, ike.TaskRekey):
		return "REKEYING"
	}
	return "ESTABLISHED"
}

func contains(list []ike.Task, want ike.Task) bool {
	for _, t := range list {
		if t == want {
			return true
		}
	}
	return false
}

// charonChildState is the state of a Child SA.
func charonChildState(c *ike.ChildInfo) string {
	switch c.State {
	case "replaced":
		return "REKEYED"
	case "closing":
		return "DELETING"
	case "draining":
		return "DELETED"
	}
	if c.Rekeying {
		return "REKEYING"
	}
	return "INSTALLED"
}

// charonTasks names exchanges.
func charonTasks(list []ike.Task) []string {
	var names []string
	for _, t := range list {
		names = append(names, map[ike.Task]string{
			ike.TaskCreateChild: "CHILD_CREATE", ike.TaskRekeyChild: "CHILD_REKEY", ike.TaskDeleteChild: "CHILD_DELETE",
			ike.TaskRekey: "IKE_REKEY", ike.TaskDelete: "IKE_DELETE", ike.TaskProbe: "IKE_DPD", ike.TaskMove: "IKE_MOBIKE",
			ike.TaskOther: "IKE_CONFIG",
		}[t])
	}
	return names
}

// charonMode is a mode of a child.
func charonMode(m ike.Mode) string { return strings.ToUpper(m.String()) }

// charonAction is what is done with a child.
func charonAction(a ike.Action) string {
	return [...]string{ike.None: "none", ike.Trap: "trap", ike.Start: "start"}[a]
}

// charonUnique is the policy for a second IKE SA with the same peer.
func charonUnique(u ike.Unique) string {
	return [...]string{ike.UniqueNo: "UNIQUE_NO", ike.UniqueNever: "UNIQUE_NEVER", ike.UniqueKeep: "UNIQUE_KEEP", ike.UniqueReplace: "UNIQUE_REPLACE"}[u]
}

// seconds is a duration in whole seconds, as decimal text.
func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

// charonAge is a duration in words: the greatest unit of which there are two or more.
func charonAge(d time.Duration) string {
	n, unit := int64(d/time.Second), "second"
	for _, u := range []struct {
		size int64
		name string
	}{{60, "minute"}, {60 * 60, "hour"}, {24 * 60 * 60, "day"}} {
		if whole := int64(d/time.Second) / u.size; whole >= 2 {
			n, unit = whole, u.name
		}
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", n, unit)
}
