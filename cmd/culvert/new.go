package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/culvert-vpn/culvert/draft"
)

func newNew() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Write the configurations of both ends of a new tunnel",
		Args:  arguments(0, 0, ""),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSiteToSite(), newRemoteAccess())
	return cmd
}

// secretBytes is the length of a new secret: as many bits as the strongest key that it protects.
const secretBytes = 32

// newSecret draws a secret and writes it in the form of the configuration. White space at an end looks like a slip, in a secret of a
// person's, and draws a warning.
func newSecret() string {
	key := make([]byte, secretBytes)
	defer clear(key)
	for first := true; first || len(bytes.TrimSpace(key)) < len(key); first = false {
		rand.Read(key) // never fails: crypto/rand ends the program instead
	}
	return "0s" + base64.StdEncoding.EncodeToString(key)
}

// ends are the flags about who is who.
type ends struct {
	name, as, peer, public string
	here, there            []string
	peerNAT                bool
	daemon                 string
	out                    placement
}

func newSiteToSite() *cobra.Command {
	var e ends
	cmd := &cobra.Command{
		Use:   "site-to-site --name OTHER --here NETWORKS --there NETWORKS --peer ADDRESS",
		Short: "Connect the network here with another one",
		Long: `Site-to-site writes two files: the configuration of this gateway, to its place, and that of the other one, to the current
directory. They share a new secret, and each side is known by a name, so that it does not matter which addresses NAT gives
them. Nothing is sent anywhere: what is printed says how to bring the other file to its gateway.

One side calls the other. With --peer this side calls; with --public the other side does, which is for a gateway here that
has an address of its own (or a 1:1 NAT that forwards UDP 500 and 4500 to it) while the other one has none.

Files are readable by their owner only, and none is overwritten without --force.`,
		Example: `  culvert new site-to-site --name office --here 10.104.0.0/24 --there 10.103.0.0/24 --peer 203.0.113.1
  culvert new site-to-site --name branch --here 10.103.0.0/24 --there 10.105.0.0/24,10.106.0.0/24 --public vpn.example.org
  culvert new site-to-site --name office --here 10.104.0.0/24 --there 10.103.0.0/24 --peer 203.0.113.1 --for strongswan`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return e.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&e.name, "name", "", "what the other gateway is called here; it becomes its identity, @NAME")
	f.StringVar(&e.as, "as", "", "what this gateway is called there (default the name of this host)")
	f.StringSliceVar(&e.here, "here", nil, "networks behind this gateway, with commas between them")
	f.StringSliceVar(&e.there, "there", nil, "networks behind the other gateway")
	f.StringVar(&e.peer, "peer", "", "address or DNS name at which this side calls the other")
	f.StringVar(&e.public, "public", "", "address or DNS name at which the other side calls this one")
	f.BoolVar(&e.peerNAT, "peer-behind-nat", false, "the other gateway is behind a NAT: say what that NAT has to forward")
	f.StringVar(&e.daemon, "for", "culvert", "what runs on the other gateway: culvert or strongswan")
	e.out.flags(cmd)
	return cmd
}

func (e *ends) run(cmd *cobra.Command) error {
	s, err := e.read()
	if err != nil {
		return err
	}
	s.Secret = newSecret()
	here, there := s.Files()
	mine := file{gateway: s.Here.Name, text: here, peer: s.There.Name, here: true}
	other := file{gateway: s.There.Name, text: there, peer: s.Here.Name, strongSwan: s.There.StrongSwan}
	if err := e.out.write(cmd, &mine, &other); err != nil || e.out.stdout {
		return err
	}
	var advice adviser
	advice.sites(s, mine, other, e.out, e.peerNAT)
	return advice.writeTo(cmd.OutOrStdout())
}

// read makes a tunnel of the flags, or tells all that is wrong with them at once.
func (e *ends) read() (s draft.SiteToSite, err error) {
	var missing []string
	for _, needed := range []struct {
		flag  string
		given bool
	}{
		{"--name OTHER", e.name != ""}, {"--here NETWORKS", len(e.here) > 0}, {"--there NETWORKS", len(e.there) > 0},
		{"--peer ADDRESS (or --public ADDRESS, if the other side is to call)", e.peer != "" || e.public != ""},
	} {
		if !needed.given {
			missing = append(missing, needed.flag)
		}
	}
	if missing != nil {
		return s, usage("missing: %s; such as\n  culvert new site-to-site --name office --here 10.104.0.0/24 --there 10.103.0.0/24 --peer 203.0.113.1",
			strings.Join(missing, ", "))
	}
	var wrong []error
	if e.peer != "" && e.public != "" {
		wrong = append(wrong, errors.New("--peer and --public: one side calls and the other waits; with --peer this side calls, with --public the other does"))
	}
	s.Here, s.There = draft.Gateway{Name: e.as}, draft.Gateway{Name: e.name}
	if e.as == "" {
		s.Here.Name = ownName(e.name)
	}
	var problem error
	s.Here.Networks, problem = networks("--here", e.here)
	wrong = append(wrong, problem)
	s.There.Networks, problem = networks("--there", e.there)
	wrong = append(wrong, problem, callable("--peer", e.peer), callable("--public", e.public))
	s.Here.Address, s.There.Address = e.public, e.peer
	switch e.daemon {
	case "culvert":
	case "strongswan", "strongSwan":
		s.There.StrongSwan = true
	default:
		wrong = append(wrong, fmt.Errorf("--for %s: it can be culvert or strongswan; for others see docs/peers", e.daemon))
	}
	if err = errors.Join(wrong...); err == nil {
		err = s.Check()
	}
	if err != nil {
		return s, &failure{exitUsage, err}
	}
	return s, nil
}

// address-like host names say nothing that lasts.
var likeAddress = regexp.MustCompile(`^(ip|host|vm|ec2)?-?\d+(-\d+)*$`)

// ownName is what this gateway is called if nobody says: as its host, if that has a name worth the word.
func ownName(other string) string {
	host, _ := os.Hostname() // without one there is the other name
	host, _, _ = strings.Cut(host, ".")
	if draft.CheckName(host) == nil && host != "localhost" && !likeAddress.MatchString(host) && !strings.EqualFold(host, other) {
		return host
	}
	if strings.EqualFold(other, "cloud") {
		return "here"
	}
	return "cloud"
}

// networks reads the networks of a flag.
func networks(flag string, list []string) (found []netip.Prefix, err error) {
	for _, text := range list {
		text = strings.TrimSpace(text)
		p, perr := netip.ParsePrefix(text)
		if addr, aerr := netip.ParseAddr(text); aerr == nil && perr != nil {
			p, perr = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		switch {
		case perr != nil:
			return nil, fmt.Errorf("%s %s: it is not a network, such as 10.104.0.0/24", flag, text)
		case p.Addr().Is4In6():
			return nil, fmt.Errorf("%s %s: write it as the IPv4 network that it is", flag, text)
		case p != p.Masked():
			return nil, fmt.Errorf("%s %s: is it the network %v, or the one host %v/%d?", flag, text, p.Masked(), p.Addr(), p.Addr().BitLen())
		case slices.Contains(found, p):
			return nil, fmt.Errorf("%s: %v is there twice", flag, p)
		}
		found = append(found, p)
	}
	return found, nil
}

var hostname = regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]*[A-Za-z0-9]\.?$`)

// callable refuses what nobody can call. The empty text is for whoever is not called.
func callable(flag, text string) error {
	if text == "" {
		return nil
	}
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil && !hostname.MatchString(text):
		return fmt.Errorf("%s %s: it is neither an address nor a DNS name with a dot", flag, text)
	case err == nil && (addr.IsUnspecified() || addr.IsMulticast() || addr.IsLoopback() || addr.Zone() != ""):
		return fmt.Errorf("%s %s: nobody can be called there", flag, text)
	}
	return nil
}
