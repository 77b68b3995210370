package convert

import (
	"strings"

	"github.com/culvert-vpn/culvert/internal/conftext"
)

// secretsParser reads an ipsec.secrets with what it includes.
type secretsParser struct {
	document *document
	include  func(from, pattern string) ([]Source, error)
	files    []string
	found    int
}

// read takes all entries of a file. An entry begins in the first column, and goes on in the lines that do not.
func (p *secretsParser) read(s Source) {
	if len(s.Text) > maxSource || len(p.files) >= maxIncludes {
		p.document.note(s.Name, 1, "the file", "it is too large, or includes too many others")
		return
	}
	p.files = append(p.files, s.Name)
	lines := strings.Split(string(s.Text), "\n")
	for i := 0; i < len(lines); {
		first, entry := i+1, lines[i]
		for i++; i < len(lines) && lines[i] != "" && (lines[i][0] == ' ' || lines[i][0] == '\t'); i++ {
			entry = strings.TrimRight(withoutComment(entry), "\r") + " " + lines[i]
		}
		p.entry(s.Name, first, strings.TrimSpace(withoutComment(strings.TrimRight(entry, "\r"))))
	}
}

// entry is "ids : KIND value", or an include.
func (p *secretsParser) entry(file string, line int, text string) {
	if text == "" {
		return
	}
	var owners []string
	for {
		word, rest, ok := secretWord(text)
		switch {
		case !ok:
			p.document.note(file, line, "an entry", "it is not of the form: identities : PSK \"secret\"")
			return
		case word == "include" && len(owners) == 0:
			p.includes(file, line, strings.TrimSpace(rest))
			return
		case word == ":":
			p.secret(file, line, owners, strings.TrimSpace(rest))
			return
		case strings.HasPrefix(word, ":"):
			p.secret(file, line, owners, strings.TrimSpace(word[1:]+rest))
			return
		}
		if len(owners) == maxDepth {
			p.document.note(file, line, "an entry", "it has more than %d identities", maxDepth)
			return
		}
		owners, text = append(owners, identity(word)), rest
	}
}

// secretWord takes a word off, which may be in quotes.
func secretWord(text string) (word, rest string, ok bool) {
	text = strings.TrimLeft(text, " \t")
	if text == "" {
		return "", "", false
	}
	if q := text[0]; q == '"' || q == '\'' {
		end := strings.IndexByte(text[1:], q)
		if end < 0 {
			return "", "", false
		}
		return text[1 : 1+end], text[end+2:], true
	}
	end := strings.IndexAny(text, " \t")
	if end < 0 {
		return text, "", true
	}
	return text[:end], text[end:], true
}

func (p *secretsParser) includes(file string, line int, pattern string) {
	if p.include == nil {
		p.document.note(file, line, "include "+brief(pattern), "files are not included here: convert that one as well")
		return
	}
	sources, err := p.include(file, pattern)
	if err != nil {
		p.document.note(file, line, "include "+brief(pattern), "%s", brief(err.Error()))
	}
	for _, s := range sources {
		p.read(s)
	}
}

// kinds are the entries that hold no pre-shared key.
var kinds = map[string]string{"RSA": "private keys are not used", "ECDSA": "private keys are not used", "BLISS": "private keys are not used",
	"PKCS8": "private keys are not used", "P12": "private keys are not used", "PIN": "smartcards are not used", "EAP": "EAP is not used",
	"NTLM": "EAP is not used", "XAUTH": "XAuth is of IKEv1", "PPKS": "post-quantum pre-shared keys (RFC 8784) are not implemented"}

// secret reads what is behind the colon. A secret in quotes is taken as it is: there are no escapes.
func (p *secretsParser) secret(file string, line int, owners []string, text string) {
	kind, rest, _ := secretWord(text)
	if why, ok := kinds[strings.ToUpper(kind)]; ok {
		p.document.note(file, line, strings.ToUpper(kind)+" ...", "%s", why)
		return
	}
	rest = strings.TrimSpace(rest)
	if strings.ToUpper(kind) != "PSK" || rest == "" {
		p.document.note(file, line, "an entry", "it is not of the form: identities : PSK \"secret\"")
		return
	}
	value, after, ok := secretWord(rest)
	if !ok || value == "" || strings.TrimSpace(after) != "" {
		p.document.note(file, line, "PSK ...", "a quote is not closed, or there is something behind the secret")
		return
	}
	if rest[0] == '"' || rest[0] == '\'' {
		value = conftext.Secret([]byte(value))
	}
	if allAny(owners) {
		owners = nil
	}
	p.found++
	p.document.secret(ownersName(owners), owners, value)
}

func allAny(owners []string) bool {
	for _, o := range owners {
		if o != "%any" {
			return false
		}
	}
	return true
}

// ownersName names a secret by its last owner, which most people write for the peer.
func ownersName(owners []string) string {
	for i := len(owners) - 1; i >= 0; i-- {
		if owners[i] != "%any" {
			return conftext.Name(owners[i])
		}
	}
	return "any"
}

// identity translates what libreswan writes otherwise.
func identity(text string) string {
	switch {
	case strings.HasPrefix(text, "@[") && strings.HasSuffix(text, "]"):
		return "keyid:" + text[2:len(text)-1]
	case text == "%any6" || text == "%any4" || text == "0.0.0.0" || text == "::" || text == "%defaultroute":
		return "%any"
	}
	return text
}
