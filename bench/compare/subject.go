package compare

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// kind is a kind of tunnel.
type kind string

const (
	rawLink    kind = "link"
	culvert    kind = "culvert"
	wireguard  kind = "wireguard-go"
	strongswan kind = "strongswan"
	openvpn    kind = "openvpn"
)

// subject is something that is measured.
type subject struct {
	name    string
	kind    kind
	program string // its path
	suite   string // the proposal of ESP, for builds of Culvert
	plugins string // what strongSwan loads besides what it cannot do without
	clear   bool   // it is a build that protects nothing
	extra   bool   // only the main cases are measured, unless others are asked for by name
	about   string
}

// Names of subjects that others refer to.
const (
	Link      = "link"
	NoCipher  = "nocipher"
	Culvert   = "culvert"
	WireGuard = "wireguard-go"
	LibIPsec  = "strongswan"
	OpenVPN   = "openvpn"
)

// known are the subjects that need no explanation, in the order in which they are measured.
func known() []subject {
	return []subject{
		{name: Link, kind: rawLink, about: "the link itself, no tunnel"},
		{name: NoCipher, kind: culvert, program: "culvert-nocipher", suite: aes128, clear: true, about: "Culvert without cipher and integrity"},
		{name: Culvert, kind: culvert, suite: aes128, about: "Culvert, AES-128-GCM"},
		{name: WireGuard, kind: wireguard, program: "wireguard-go", about: "wireguard-go, ChaCha20-Poly1305"},
		{name: "culvert-aes256", kind: culvert, suite: "aes256gcm16", extra: true, about: "Culvert, AES-256-GCM"},
		{name: "culvert-chacha", kind: culvert, suite: "chacha20poly1305", extra: true, about: "Culvert, ChaCha20-Poly1305"},
		{name: LibIPsec, kind: strongswan, program: charon, extra: true, plugins: "openssl", about: "strongSwan with kernel-libipsec, AES-128-GCM of OpenSSL"},
		{name: "strongswan-own", kind: strongswan, program: charon, extra: true, about: "the same with AES-128-GCM of its own, for where its plugin openssl is not loaded"},
		{name: OpenVPN, kind: openvpn, program: "openvpn", extra: true, about: "OpenVPN in user space, AES-128-GCM"},
	}
}

const aes128 = "aes128gcm16"

// Known tells what can be compared, a line for each: name, a tab, what it is.
func Known() []string {
	var lines []string
	for _, s := range known() {
		lines = append(lines, s.name+"\t"+s.about)
	}
	return lines
}

// subjects resolves the names of the options. Without names, those whose program is missing are left out and told.
func (o *Options) subjects() (list []subject, left []string, err error) {
	if len(o.Subjects) == 0 {
		for _, s := range known() {
			if err := o.find(&s); err != nil {
				left = append(left, fmt.Sprintf("%s is left out: %v", s.name, err))
				continue
			}
			list = append(list, s)
		}
		return list, left, nil
	}
	for _, text := range o.Subjects {
		name, path, own := strings.Cut(text, "=")
		s := subject{name: name, kind: culvert, suite: aes128, about: "Culvert, AES-128-GCM, " + path}
		i := slices.IndexFunc(known(), func(s subject) bool { return s.name == name })
		switch {
		case i >= 0:
			s = known()[i]
			s.extra = false
		case !own:
			return nil, nil, fmt.Errorf("there is no subject %q; a build of Culvert is named as %s=PATH", name, name)
		}
		if own {
			if s.program, err = filepath.Abs(path); err != nil {
				return nil, nil, err
			}
		}
		if err := o.find(&s); err != nil {
			return nil, nil, fmt.Errorf("%s cannot be measured: %w", name, err)
		}
		if slices.ContainsFunc(list, func(other subject) bool { return other.name == s.name }) {
			return nil, nil, fmt.Errorf("there are two subjects %q", s.name)
		}
		list = append(list, s)
	}
	return list, nil, nil
}

// find completes the path of the subject's program.
func (o *Options) find(s *subject) error {
	switch {
	case s.kind == rawLink:
		return nil
	case s.kind == strongswan:
		return o.findCharon()
	case s.program == "":
		s.program = o.Culvert
		return nil
	case filepath.IsAbs(s.program):
		_, err := os.Stat(s.program)
		return err
	}
	for _, dir := range o.Extras {
		path, err := filepath.Abs(filepath.Join(dir, s.program))
		if err != nil {
			return err
		}
		if _, err := os.Stat(path); err == nil {
			s.program = path
			return nil
		}
	}
	path, err := exec.LookPath(s.program)
	if err != nil {
		return err
	}
	s.program, err = filepath.Abs(path)
	return err
}

// charon and what it needs, below the tree.
const (
	charon   = "/usr/lib/ipsec/charon"
	libipsec = "/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so"
	swanctl  = "/usr/sbin/swanctl"
)

func (o *Options) findCharon() error {
	for _, path := range []string{charon, libipsec, swanctl} {
		if _, err := os.Stat(filepath.Join(o.Tree, path)); err != nil {
			return err
		}
	}
	return nil
}
