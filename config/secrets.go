package config

import (
	"bytes"
	"crypto/sha256"
	"strings"

	"github.com/culvert-vpn/culvert/ident"
	"github.com/culvert-vpn/culvert/psk"
)

// secret is a section ike<suffix> of secrets while it is read.
type secret struct {
	text   string
	owners []ident.Pattern
}

// secretKeys are the keys of secrets.ike<suffix>.
var secretKeys = []key[secret]{
	{name: "secret", set: func(s *secret, v string) error {
		s.text = v
		return nil
	}},
	{name: "id*", set: func(s *secret, v string) error {
		p, err := ident.ParsePattern(v)
		if err == nil {
			s.owners = append(s.owners, p)
		}
		return err
	}},
}

// weakLen is the number of bytes below which a secret draws a warning. An attacker who answers one
// IKE_SA_INIT can try secrets at leisure against the AUTH of the peer that called; 128 random bits are out
// of reach.
const weakLen = 16

func (b *builder) addSecrets(s *section) {
	b.guard(s)
	apply(b.report, place{what: "secrets", secret: true}, s, []key[struct{}]{}, secretsSubs, nil)
	for _, sub := range s.sections {
		if strings.HasPrefix(sub.name, "ike") {
			b.badSecrets = !b.addSecret(sub) || b.badSecrets
		}
	}
}

// guard refuses secrets in files that others than their owner may access.
func (b *builder) guard(s *section) {
	for _, t := range s.settings {
		if src, ok := b.exposed[t.pos.File]; ok && (t.name == "secret" || t.name == "pin") {
			mode := "600 "
			if src.Daemons {
				mode = "640 " // the daemon is to read it still
			}
			b.fail(Pos{File: t.pos.File, Line: 1, Col: 1}, "chmod "+mode+quoteShell(t.pos.File),
				"this file holds a secret and others than its owner may access it (mode %#o)", src.Mode.Perm())
		}
	}
	for _, sub := range s.sections {
		b.guard(sub)
	}
}

// quoteShell makes a file name one word of a shell command.
func quoteShell(name string) string {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

func (b *builder) addSecret(s *section) (ok bool) {
	var read secret
	apply(b.report, place{what: "section " + s.name + " of secrets", secret: true}, s, secretKeys, nil, &read)
	at := b.at(s, "secret")
	if read.text == "" {
		b.fail(at, "openssl rand -base64 32", "section %s has no secret", s.name)
		return false
	}
	key, err := psk.ParseSecret(read.text)
	if err != nil {
		b.fail(at, "", "%v", err)
		return false
	}
	b.judge(s.name, at, key)
	if err := b.config.Secrets.Add(s.name, key, read.owners); err != nil {
		b.fail(at, "", "%v", err)
		return false
	}
	b.config.SecretEntries = append(b.config.SecretEntries, SecretEntry{Name: s.name, Owners: read.owners, Pos: s.pos})
	return true
}

// judge warns of a secret that is weak, looks mistyped or is used twice.
func (b *builder) judge(name string, at Pos, key []byte) {
	switch trimmed := bytes.TrimSpace(key); {
	case len(trimmed) != len(key):
		b.warn(at, "the peer must have it too", "the secret begins or ends with white space")
	case len(key) < weakLen:
		b.warn(at, "openssl rand -base64 32", "the secret has less than %d bytes; it can be guessed by whoever gets a peer to call him", weakLen)
	case distinct(key) < weakLen/4:
		b.warn(at, "openssl rand -base64 32", "the secret repeats a few characters; it can be guessed by whoever gets a peer to call him")
	}
	hash := sha256.Sum256(key)
	if other, ok := b.secrets[hash]; ok {
		b.warn(at, "list all identities in one section, or give each peer its own secret", "sections %s and %s hold the same secret", other, name)
	}
	b.secrets[hash] = name
}

// distinct counts the different bytes of key.
func distinct(key []byte) int {
	var seen [256]bool
	n := 0
	for _, c := range key {
		if !seen[c] {
			seen[c] = true
			n++
		}
	}
	return n
}
