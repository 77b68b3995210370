package explain

import (
	"fmt"
	"slices"
	"strings"
)

// Page is the catalogue as a page in Markdown, docs/troubleshooting.md.
func Page() string {
	var b strings.Builder
	b.WriteString(pageHead)
	b.WriteString("\n## Causes\n\n`culvert explain CAUSE` prints the section of a cause.\n\n| cause | what it means |\n| --- | --- |\n")
	for _, e := range Catalogue() {
		fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", e.Cause, e.Cause, e.Title)
	}
	b.WriteString("\n## Messages\n\nWhat Culvert and other programs print, and the causes it may have. `culvert explain \"the message\"` looks here.\n\n| message | of | cause |\n| --- | --- | --- |\n")
	for _, m := range messages() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", strings.ReplaceAll(m.text, "|", `\|`), m.of, m.causes)
	}
	for _, e := range Catalogue() {
		b.WriteString(e.section())
	}
	return b.String()
}

const pageHead = `# Troubleshooting

<!-- Made of the catalogue in package explain by: go test ./explain -run TestPage -update -->

When a connection does not come up, ask the daemon, which saw what happened:

    culvert explain            all that is wrong, the latest first
    culvert explain office     the last failure of a connection: what the peer sent, what is configured, which lines to change on which side
    culvert explain no-secret  the section of a cause below
    culvert explain "no matching peer config found"    which cause a message has, be it Culvert's or another program's

The called side knows more than the caller, who is told as little as possible so that it would not help an attacker. If the caller is Culvert and
its explanation is vague, look at the other side, or have the other side call.

With --json the first two print a list of objects with connection, up and failure, which has time, kind, child, peer, text, remedy and diagnosis as in
[status.md](status.md): cause, text, compared (what, sent, configured), fixes (side, text, lines) and connections. Causes do not change their names.

In the lines below office is the name of the connection, net that of its child, and ike-office that of its secret; write yours. A line that begins
with # is a command. In place of a secret, which is never printed, stands in angle brackets how it follows from what is in the file now.
`

// message is a symptom in the index of the page.
type message struct{ text, of, causes string }

// messages are all symptoms, sorted, each once.
func messages() (list []message) {
	at := make(map[string]int)
	for _, e := range Catalogue() {
		link := fmt.Sprintf("[%s](#%s)", e.Cause, e.Cause)
		for _, s := range e.Symptoms {
			of, text := "", s
			if name, rest, ok := strings.Cut(s, ": "); ok && slices.Contains(daemons, name) {
				of, text = name, rest
			}
			if i, ok := at[s]; ok {
				list[i].causes += ", " + link
				continue
			}
			at[s] = len(list)
			list = append(list, message{text, of, link})
		}
	}
	slices.SortFunc(list, func(a, b message) int {
		return strings.Compare(strings.ToLower(a.text)+a.of, strings.ToLower(b.text)+b.of)
	})
	return list
}

// section is what the page says of an entry.
func (e Entry) section() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n<a id=\"%s\"></a>\n## %s\n\n`%s`\n\n%s\n\nSeen as:\n\n", e.Cause, e.Title, e.Cause, e.Meaning)
	for _, s := range e.Symptoms {
		fmt.Fprintf(&b, "- `%s`\n", s)
	}
	b.WriteString("\nTo change:\n\n")
	for i, f := range e.Fixes {
		mark := fmt.Sprintf("%d. ", i+1)
		fmt.Fprintf(&b, "%s**%s**: %s\n", mark, f.where(), f.Text)
		if len(f.Lines) > 0 {
			indent := strings.Repeat(" ", len(mark))
			fmt.Fprintf(&b, "\n%s```\n", indent)
			for _, l := range f.Lines {
				fmt.Fprintf(&b, "%s%s\n", indent, l)
			}
			fmt.Fprintf(&b, "%s```\n\n", indent)
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}
