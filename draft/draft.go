// Package draft writes the configurations of both ends of a new tunnel: identities that do not depend on addresses, one secret,
// and nothing that has a good default. What it writes means the same to Culvert and to strongSwan.
//
// It decides and does no I/O: randomness comes as the secret, and files are text.
package draft

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/culvert-vpn/culvert/internal/conftext"
)

// Gateway is one end of a tunnel.
type Gateway struct {
	// Name is what the other end calls it; its identity is @Name.
	Name string
	// Networks are behind it.
	Networks []netip.Prefix
	// Address is where it can be called, an address or a DNS name; "" if it cannot be, and has to call.
	Address string
	// StrongSwan says that it runs strongSwan.
	StrongSwan bool
}

// SiteToSite is a tunnel between two networks. One end calls, the one without an address; if both have one, Here calls.
type SiteToSite struct {
	Here, There Gateway
	// Secret is in the form of the configuration, "0s" and base64. It is in the files and nowhere else.
	Secret string
}

// Check returns everything that is wrong, each as an error of its own, in a joined error.
func (s SiteToSite) Check() error {
	var wrong []error
	wrong = append(wrong, CheckName(s.Here.Name), CheckName(s.There.Name))
	if strings.EqualFold(s.Here.Name, s.There.Name) {
		wrong = append(wrong, fmt.Errorf("both sides are called %q; each needs a name of its own", s.Here.Name))
	}
	if s.Here.Address == "" && s.There.Address == "" {
		wrong = append(wrong, errors.New("one side has to be called by the other: say where"))
	}
	wrong = append(wrong, overlaps(s.Here.Networks, s.There.Networks))
	return errors.Join(wrong...)
}

// CheckName refuses a name that cannot be an identity and the name of a connection.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("a gateway needs a name")
	case len(name) > 63:
		return fmt.Errorf("the name %q has more than 63 characters", name)
	case strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "":
		return fmt.Errorf("the name %q has other characters than letters, digits, - and _", name)
	case strings.Trim(name, "-_") == "" || strings.ContainsRune("-_", rune(name[0])):
		return fmt.Errorf("the name %q does not begin with a letter or a digit", name)
	}
	return nil
}

// overlaps refuses networks of which hosts would be at both ends.
func overlaps(here, there []netip.Prefix) error {
	for _, a := range here {
		for _, b := range there {
			if a == b || a.Overlaps(b) && a.Bits() > 0 && b.Bits() > 0 {
				return fmt.Errorf("%v is at this end and %v at the other, and they overlap: a host that is in both could not be told from its twin; give one of the networks other addresses", a, b)
			}
		}
	}
	for _, six := range []bool{false, true} {
		if family(here, six) != family(there, six) {
			return fmt.Errorf("the networks %s and %s are not of the same families: IPv4 here needs IPv4 there, and so does IPv6", join(here), join(there))
		}
	}
	return nil
}

func family(list []netip.Prefix, six bool) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Addr().Is6() == six })
}

// Files returns the configurations of both ends.
func (s SiteToSite) Files() (here, there string) {
	calls := s.There.Address != ""
	return s.file(s.Here, s.There, calls), s.file(s.There, s.Here, !calls)
}

func (s SiteToSite) file(me, peer Gateway, calls bool) string {
	var w conftext.Writer
	w.Comment(fmt.Sprintf("Gateway %s: the tunnel to %s. This file holds its secret: chmod 600.", me.Name, peer.Name))
	w.Open("connections")
	w.Open(conftext.Name(peer.Name))
	w.Set("version", "2")
	if calls {
		w.Set("remote_addrs", peer.Address)
	}
	w.Set("encap", "yes")
	w.Set("dpd_delay", "30s")
	if calls && me.StrongSwan {
		w.Set("keyingtries", "0")
	}
	ends(&w, "@"+me.Name, "@"+peer.Name)
	w.Open("children")
	w.Open("net")
	w.Set("local_ts", join(me.Networks))
	w.Set("remote_ts", join(peer.Networks))
	if calls {
		w.Set("start_action", "start")
	}
	if calls && me.StrongSwan { // Culvert keeps up what it starts
		w.Set("dpd_action", "restart")
		w.Set("close_action", "start")
	}
	w.Close()
	w.Close()
	w.Close()
	w.Close()
	w.Open("secrets")
	secret(&w, peer.Name, "@"+peer.Name, s.Secret)
	w.Close()
	return w.String()
}

// ends writes who is who.
func ends(w *conftext.Writer, local, remote string) {
	for _, side := range [][2]string{{"local", local}, {"remote", remote}} {
		w.Open(side[0])
		w.Set("auth", "psk")
		w.Set("id", side[1])
		w.Close()
	}
}

func secret(w *conftext.Writer, name, owner, value string) {
	w.Open("ike-" + conftext.Name(name))
	w.Set("id-1", owner)
	w.Set("secret", value)
	w.Close()
}

func join[T fmt.Stringer](list []T) string {
	var words []string
	for _, x := range list {
		words = append(words, x.String())
	}
	return strings.Join(words, ", ")
}
