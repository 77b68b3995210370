package compare

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// openvpnTunnel is OpenVPN between two peers that know each other by the fingerprints of their certificates (since 2.6), without
// the kernel's help for data (DCO).
type openvpnTunnel struct {
	program string
	a, b    *site
}

const openvpnConf = `dev tun0
dev-type tun
proto udp
local %[1]v
remote %[2]v
port 1194
ifconfig %[3]v %[4]v
%[5]s
dh none
cert /run/cert.pem
key /run/key.pem
peer-fingerprint %[6]s
data-ciphers AES-128-GCM
disable-dco
persist-tun
persist-key
connect-retry 1
verb 3
`

func (t *openvpnTunnel) start(context.Context) error {
	roles := map[*site]string{t.a: "tls-client", t.b: "tls-server"}
	prints := map[*site]string{}
	for s := range roles {
		print, err := s.certificate()
		if err != nil {
			return fmt.Errorf("a certificate: %w", err)
		}
		prints[s] = print
	}
	for _, s := range []*site{t.b, t.a} {
		conf := fmt.Appendf(nil, openvpnConf, s.outer, s.peer.outer, s.inner, s.peer.inner, roles[s], prints[s.peer])
		if err := os.WriteFile(filepath.Join(s.dir, "openvpn.conf"), conf, 0o600); err != nil {
			return err
		}
		if err := s.start("", nil, t.program, "--config", "/run/openvpn.conf"); err != nil {
			return err
		}
	}
	for _, s := range []*site{t.a, t.b} {
		err := s.await(context.Background(), func() error {
			way, err := s.way()
			if err == nil && way.Attrs().Name != "tun0" {
				err = errors.New("there is no tunnel")
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// renew has one side begin anew, which it does after a second: it knows no shorter pause.
func (t *openvpnTunnel) renew(context.Context) error {
	return t.a.daemon.Signal(syscall.SIGUSR1)
}

// certificate makes a key and a certificate for the daemon of a site, and returns the certificate's fingerprint.
func (s *site) certificate() (fingerprint string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: s.name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return "", err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: cert},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return "", err
		}
	}
	sum := sha256.Sum256(cert)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":"), nil
}
