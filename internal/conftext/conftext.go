// Package conftext writes the language of swanctl.conf, which package config reads.
package conftext

import (
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Writer builds the text of a configuration. The zero Writer is ready. What it is given may come from anywhere: what it writes
// reads back as that and nothing else.
type Writer struct {
	text  strings.Builder
	depth int
}

// Open begins a section. Its name should come from [Name] unless it is known to be one.
func (w *Writer) Open(name string) {
	w.line(name + " {")
	w.depth++
}

// Close ends the section that was opened last.
func (w *Writer) Close() {
	w.depth--
	w.line("}")
}

// Set writes a setting, its value in quotes if it needs them. An empty value is left out: it would mean the default.
func (w *Writer) Set(key, value string) {
	if value != "" {
		w.line(key + " = " + Quote(value))
	}
}

// Comment writes each line of text as a comment.
func (w *Writer) Comment(text string) {
	for line := range strings.Lines(text) {
		w.line(strings.TrimRight("# "+printable(line), " "))
	}
}

// Blank writes an empty line.
func (w *Writer) Blank() { w.text.WriteByte('\n') }

// String is the text so far.
func (w *Writer) String() string { return w.text.String() }

func (w *Writer) line(text string) {
	for range w.depth {
		w.text.WriteString("    ")
	}
	w.text.WriteString(text)
	w.text.WriteByte('\n')
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// Quote is value as it stands behind a =, in double quotes if it has to be.
func Quote(value string) string {
	words := strings.Split(value, " ") // single spaces between words survive without quotes
	plain := true
	for _, word := range words {
		plain = plain && word != "" && strings.Trim(word, letters+"_./:,%@*[]|+-") == ""
	}
	if plain {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(value) + `"`
}

// Name makes the name of a section of text: what may not stand in one becomes a dash. It is never empty.
func Name(text string) string {
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune(letters+"_-", r) {
			return r
		}
		return '-'
	}, text)
	name = strings.Trim(name, "-")
	if name == "" {
		return "unnamed"
	}
	return name
}

// Secret is the value of a setting secret that stands for these bytes: themselves, or base64 where they could be taken for
// something else.
func Secret(key []byte) string {
	text := string(key)
	form := strings.ToLower(text[:min(2, len(text))])
	for _, r := range text {
		if r < ' ' || r > '~' {
			form = "0s"
		}
	}
	if form == "0x" || form == "0s" {
		return "0s" + base64.StdEncoding.EncodeToString(key)
	}
	return text
}

// printable replaces what would disturb a terminal or end a comment.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError:
			return '?'
		case unicode.IsPrint(r):
			return r
		case r == '\t':
			return ' '
		case r == '\n' || r == '\r':
			return -1
		}
		return '?'
	}, text)
}
