package convert

import (
	"fmt"
	"strings"
)

// node is a word of a VyOS configuration: everything in it is a path of words, and "peer 192.0.2.1 { description x }" and
// "set peer 192.0.2.1 description x" are the same path.
type node struct {
	word   string
	line   int
	parent *node
	kids   []*node
	index  map[string]*node // the kids by their word
	fate   fate
}

// fate is what became of a word.
type fate uint8

const (
	unread  fate = iota
	carried      // it is in the result
	told         // there is a note about it
)

// add returns the child of a word, and makes it if there is none.
func (n *node) add(word string, line int) *node {
	if k := n.index[word]; k != nil {
		return k
	}
	k := &node{word: word, line: line, parent: n}
	n.adopt(k)
	return k
}

func (n *node) adopt(k *node) {
	if n.index == nil {
		n.index = map[string]*node{}
	}
	n.kids, n.index[k.word], k.parent = append(n.kids, k), k, n
}

// get finds a node below n, nil if there is none; n may be nil.
func (n *node) get(path ...string) *node {
	for _, word := range path {
		if n == nil {
			return nil
		}
		n = n.index[word]
	}
	return n
}

// peek is the value of a key, "" without one. It leaves the value unread.
func (n *node) peek(path ...string) string {
	if k := n.get(path...); k != nil && len(k.kids) > 0 {
		return k.kids[len(k.kids)-1].word
	}
	return ""
}

// take is peek of what is carried over.
func (n *node) take(path ...string) string {
	k := n.get(path...)
	if k == nil || len(k.kids) == 0 {
		return ""
	}
	k.mark()
	last := k.kids[len(k.kids)-1] // "set" twice: the later one counts, where a key has one value
	last.fate = carried
	for _, other := range k.kids[:len(k.kids)-1] {
		other.fate = carried
	}
	return last.word
}

// list takes all values of a key.
func (n *node) list(path ...string) (words []string) {
	k := n.get(path...)
	if k == nil {
		return nil
	}
	k.mark()
	for _, v := range k.kids {
		v.fate = carried
		words = append(words, v.word)
	}
	return words
}

// has takes a key without a value.
func (n *node) has(path ...string) bool {
	k := n.get(path...)
	if k != nil {
		k.fate = carried
	}
	return k != nil
}

// mark notes that a word was read, and so those that lead to it.
func (n *node) mark() {
	for ; n != nil; n = n.parent {
		n.fate = max(n.fate, carried)
	}
}

// tags are the nodes below a key: its names.
func (n *node) tags(path ...string) []*node {
	k := n.get(path...)
	if k == nil {
		return nil
	}
	return k.kids
}

// leaves calls f for each path's end below n, and for n if it has nothing below it.
func (n *node) leaves(f func(*node)) {
	if len(n.kids) == 0 {
		f(n)
	}
	for _, k := range n.kids {
		k.leaves(f)
	}
}

// text is the path of a node below the root of IPsec, without what may be a secret.
func (n *node) text() string {
	var path []*node
	for k := n; k.parent != nil && k.word != "ipsec"; k = k.parent {
		path = append([]*node{k}, path...)
	}
	var words []string
	inAuthentication, hidden := false, false
	for i, k := range path {
		switch known := harmless[k.word] || i > 0 && harmless[path[i-1].word]; {
		case hidden || inAuthentication && !known && len(k.kids) == 0:
			return strings.Join(append(words, "..."), " ")
		case inAuthentication && !known || secretive(k.word):
			hidden = true
		}
		inAuthentication = inAuthentication || k.word == "authentication"
		words = append(words, brief(k.word))
	}
	return strings.Join(words, " ")
}

// harmless are the words below "authentication" which, like what follows them, are no secrets.
var harmless = map[string]bool{"mode": true, "id": true, "local-id": true, "remote-id": true, "use-x509-id": true, "psk": true, "ppk": true, "secret-type": true,
	"certificate": true, "ca-certificate": true, "local-key": true, "remote-key": true, "rsa-key-name": true, "x509": true, "rsa": true,
	"server-mode": true, "client-mode": true, "local-users": true, "username": true, "disable": true, "dhcp-interface": true}

// secretive are names of keys whose values are secrets.
func secretive(word string) bool {
	for _, part := range []string{"secret", "passw", "passphrase", "private"} {
		if strings.Contains(word, part) {
			return word != "secret-type" && word != "pre-shared-secret-type"
		}
	}
	return false
}

// brief shortens what is too long for a line and replaces what disturbs a terminal.
func brief(text string) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '�' {
			return '?'
		}
		return r
	}, text)
	if len(clean) > 80 {
		return strings.ToValidUTF8(clean[:80], "") + "..."
	}
	return clean
}

// parseVyOS reads either style of a VyOS configuration. skipped are commands that change a configuration and are no set.
func parseVyOS(text string) (root *node, skipped []node, err error) {
	if len(text) > maxSource {
		return nil, nil, fmt.Errorf("the source has more than %d bytes", maxSource)
	}
	p := &vyosParser{root: &node{}}
	p.open = []*node{p.root}
	for i, line := range strings.Split(text, "\n") {
		p.line = i + 1
		if err := p.read(strings.TrimRight(line, "\r")); err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", p.line, err)
		}
	}
	if len(p.open) > 1 {
		return nil, nil, fmt.Errorf("line %d: a { is not closed", p.open[len(p.open)-1].line)
	}
	return p.root, p.skipped, nil
}

type vyosParser struct {
	root    *node
	open    []*node // the nodes whose { are not closed
	line    int
	words   int
	comment bool // inside of /* */
	skipped []node
}

// read takes one line: a command, or statements and braces.
func (p *vyosParser) read(line string) error {
	tokens, err := p.tokens(line)
	if err != nil || len(tokens) == 0 {
		return err
	}
	if len(p.open) == 1 && tokens[0].is("[edit]", "[edit") { // the prompt of the configuration mode
		return nil
	}
	if prompt := tokens[0].text; len(p.open) == 1 && prompt != "" && strings.Contains(prompt, "@") && strings.Trim(prompt[len(prompt)-1:], "#$") == "" {
		if tokens = tokens[1:]; len(tokens) == 0 {
			return nil
		}
	}
	if len(p.open) == 1 && tokens[0].is("set", "delete", "edit", "comment", "commit", "save", "exit", "configure", "show", "rename", "copy", "run", "top", "up") {
		return p.command(tokens)
	}
	var statement []token
	for _, t := range tokens {
		switch {
		case t.is("{"):
			if len(statement) == 0 || len(p.open) > maxDepth {
				return fmt.Errorf("a { that follows no name, or is nested too deep")
			}
			at, err := p.path(p.open[len(p.open)-1], statement)
			if err != nil {
				return err
			}
			p.open, statement = append(p.open, at), nil
		case t.is("}"):
			if err := p.leaf(statement); err != nil {
				return err
			}
			if len(p.open) == 1 {
				return fmt.Errorf("a } closes nothing")
			}
			p.open, statement = p.open[:len(p.open)-1], nil
		default:
			statement = append(statement, t)
		}
	}
	return p.leaf(statement)
}

// leaf adds a statement without braces: a key, and its value, which may have spaces in what "show" prints.
func (p *vyosParser) leaf(statement []token) error {
	if len(statement) > 2 {
		var words []string
		for _, t := range statement[1:] {
			words = append(words, t.text)
		}
		statement = []token{statement[0], {text: strings.Join(words, " "), quoted: true}}
	}
	_, err := p.path(p.open[len(p.open)-1], statement)
	return err
}

// command reads a line of the configuration mode. What is no set changes nothing here, and is told.
func (p *vyosParser) command(tokens []token) error {
	if tokens[0].is("set") {
		_, err := p.path(p.root, tokens[1:])
		return err
	}
	if !tokens[0].is("commit", "save", "exit", "configure", "show", "run", "top", "up") {
		p.skipped = append(p.skipped, node{word: tokens[0].text, line: p.line})
	}
	return nil
}

func (p *vyosParser) path(at *node, tokens []token) (*node, error) {
	if p.words += len(tokens); p.words > maxWords || len(tokens) > maxDepth {
		return nil, fmt.Errorf("the source is too large")
	}
	for _, t := range tokens {
		at = at.add(t.text, p.line)
	}
	return at, nil
}

type token struct {
	text   string
	quoted bool
}

func (t token) is(words ...string) bool {
	for _, w := range words {
		if t.text == w && !t.quoted {
			return true
		}
	}
	return false
}

// tokens splits a line into words and braces.
func (p *vyosParser) tokens(line string) (list []token, err error) {
	for i := 0; i < len(line); {
		rest := line[i:]
		switch {
		case p.comment:
			end := strings.Index(rest, "*/")
			if end < 0 {
				return list, nil
			}
			p.comment, i = false, i+end+2
		case strings.HasPrefix(rest, "/*"):
			p.comment, i = true, i+2
		case len(list) == 0 && (strings.HasPrefix(rest, "//") || rest[0] == '#'):
			return list, nil
		case rest[0] == ' ' || rest[0] == '\t':
			i++
		case rest[0] == '{' || rest[0] == '}':
			list, i = append(list, token{rest[:1], false}), i+1
		default:
			t, n, ok := word(rest)
			if !ok {
				return nil, fmt.Errorf("a quote is not closed")
			}
			list, i = append(list, t), i+n
		}
	}
	return list, nil
}

// word reads a word at the beginning of text, and says how much of it that was. Parts of it may be quoted, as for a shell.
func word(text string) (t token, n int, ok bool) {
	var b strings.Builder
	for n < len(text) && !strings.ContainsRune(" \t{}", rune(text[n])) {
		switch {
		case text[n] == '"' || text[n] == '\'':
			part, length, closed := inQuotes(text[n:])
			if !closed {
				return t, 0, false
			}
			b.WriteString(part)
			n, t.quoted = n+length, true
		case text[n] == '\\' && n+1 < len(text) && (text[n+1] == '\'' || text[n+1] == '"'):
			b.WriteByte(text[n+1])
			n += 2
		default:
			b.WriteByte(text[n])
			n++
		}
	}
	t.text = b.String()
	return t, n, true
}

// inQuotes reads what is quoted at the beginning of text, and says how much of it that was. A backslash in double quotes keeps the
// meaning of the character after it away.
func inQuotes(text string) (word string, n int, ok bool) {
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == text[0]:
			return b.String(), i + 1, true
		case text[i] == '\\' && text[0] == '"' && i+1 < len(text):
			i++
		}
		b.WriteByte(text[i])
	}
	return "", 0, false
}
