package config

import (
	"strings"

	"github.com/culvert-vpn/culvert/ident"
)

// round is a section local or remote of a connection while it is read.
type round struct {
	auth   string        // "" if not written
	local  ident.ID      // of local
	remote ident.Pattern // of remote
}

// localKeys are the keys of connections.<conn>.local<suffix>.
var localKeys = []key[round]{
	{name: "auth", set: setAuth},
	{name: "id", set: setLocalID},
	{name: "round", ignored: noRounds},
	{name: "certs", ignored: noCerts},
	{name: "pubkeys", ignored: noCerts},
	{name: "eap_id", ignored: noEAP},
	{name: "aaa_id", ignored: noEAP},
	{name: "xauth_id", ignored: noEAP},
}

// localSubs are the sections of connections.<conn>.local<suffix>.
var localSubs = []sub{{name: "cert*", ignored: noCerts}}

// remoteKeys are the keys of connections.<conn>.remote<suffix>. What narrows the choice of peers and cannot
// be obeyed is refused: to ignore it would let in whom the file keeps out.
var remoteKeys = []key[round]{
	{name: "auth", set: setAuth},
	{name: "id", set: setRemoteID},
	{name: "round", ignored: noRounds},
	{name: "eap_id", ignored: noEAP},
	{name: "revocation", ignored: noCerts},
	{name: "groups", refused: "membership in a group is shown by certificates or an AAA server, which Culvert does not use"},
	{name: "cert_policy", refused: certWanted},
	{name: "certs", refused: certWanted},
	{name: "cacerts", refused: certWanted},
	{name: "ca_id", refused: certWanted},
	{name: "pubkeys", refused: certWanted},
}

// remoteSubs are the sections of connections.<conn>.remote<suffix>.
var remoteSubs = []sub{{name: "cert*", refused: certWanted}, {name: "cacert*", refused: certWanted}}

func setAuth(r *round, v string) error {
	r.auth = v
	if v == "psk" {
		return nil
	}
	method := "it"
	for prefix, name := range map[string]string{"pubkey": "by certificate", "rsa": "by certificate", "ecdsa": "by certificate",
		"ike:": "by certificate", "eap": "by EAP", "xauth": "by XAuth"} {
		if strings.HasPrefix(v, prefix) {
			method = "authentication " + name
		}
	}
	if method == "it" {
		return wrong("auth = psk", "%q is no method of authentication", v)
	}
	return wrong("auth = psk", "%s is not implemented; Culvert authenticates by pre-shared key", method)
}

func setLocalID(r *round, v string) error {
	p, err := ident.ParsePattern(v)
	if err != nil || p.IsAny() { // any: the local address
		return err
	}
	id, ok := p.ID()
	if !ok {
		return wrong("one identity, such as @gateway", "%q stands for more than one identity, and this side shows exactly one", v)
	}
	r.local = id
	return nil
}

func setRemoteID(r *round, v string) error {
	p, err := ident.ParsePattern(v)
	if err == nil {
		r.remote = p
	}
	return err
}
