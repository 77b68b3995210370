//go:build culvert_man

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra/doc"
)

// A build with the tag culvert_man does nothing but write the manual pages: of every command, and of the configuration.
//
//	go run -tags culvert_man ./cmd/culvert DIRECTORY docs/configuration.md
func init() {
	if err := writeManual(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitFailed)
	}
	os.Exit(exitFine)
}

// writeManual writes all pages into dir. SOURCE_DATE_EPOCH is their date.
func writeManual(dir, configuration string) error {
	root := newRoot()
	root.InitDefaultCompletionCmd()
	root.DisableAutoGenTag = true
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "Culvert", Manual: "Culvert"}, dir); err != nil {
		return err
	}
	first := filepath.Join(dir, "culvert.1")
	page, err := os.ReadFile(first)
	if err != nil {
		return err
	}
	end := md2man.Render([]byte(endOfFirst(newExitCodes().Long)))
	page = append(page, end[bytes.Index(end, []byte(".SH")):]...) // without the title of a page of its own
	if err := os.WriteFile(first, page, 0o644); err != nil {
		return err
	}
	text, err := os.ReadFile(configuration)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "culvert.conf.5"), md2man.Render(manualOf(text)), 0o644)
}

// endOfFirst is what culvert.1 has beside its commands.
func endOfFirst(exitCodes string) string {
	_, table, _ := strings.Cut(exitCodes, "\n\n")
	return `% "CULVERT" "1"
# EXIT STATUS
` + "```\n" + strings.TrimPrefix(strings.ReplaceAll(table, "\n  ", "\n"), "  ") + "\n```" + `

# FILES
/etc/culvert/culvert.conf, /etc/culvert/conf.d/
: The configuration, see **culvert.conf**(5).

/run/culvert/control
: The socket on which the daemon takes orders.

/var/lib/culvert
: What outlives the daemon.
`
}

// links are those within the documentation, which a manual page has no use for.
var links = regexp.MustCompile(`\[([^\]]*)\]\((?:#|[a-z/]*\.md)[^)]*\)`)

// manualOf makes a manual page of a page of the documentation: its headings become those of a manual, its links just words, and its
// tables lists, because cells are too long for a terminal.
func manualOf(text []byte) []byte {
	_, body, _ := bytes.Cut(text, []byte("\n"))
	page := []string{`% "CULVERT.CONF" "5" "" "Culvert" "Culvert"`, "# NAME", "culvert.conf - configuration of the Culvert IKEv2 gateway", "", "# DESCRIPTION"}
	fenced := false
	var header []string // of the table that this line is in
	for line := range strings.SplitSeq(string(body), "\n") {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if fenced {
			page = append(page, line)
			continue
		}
		line = links.ReplaceAllString(line, "$1")
		cells := cellsOf(line)
		switch rest, heading := strings.CutPrefix(line, "## "); {
		case heading:
			page = append(page, "# "+strings.ToUpper(strings.NewReplacer("`", "", "<", `\<`).Replace(rest)))
		case cells == nil:
			header = nil
			page = append(page, line)
		case header == nil:
			header = cells
		case strings.Trim(line, "|-: ") != "":
			page = append(page, entry(header, cells), "")
		}
	}
	return []byte(strings.Join(append(page, "# SEE ALSO", "**culvert**(1)", ""), "\n"))
}

// cellsOf are those of a line of a table, nil if it is none.
func cellsOf(line string) []string {
	if !strings.HasPrefix(line, "|") {
		return nil
	}
	const bar = "\x00" // one that stands in a cell
	cells := strings.Split(strings.Trim(strings.ReplaceAll(line, `\|`, bar), "|"), "|")
	for i, c := range cells {
		cells[i] = strings.TrimSpace(strings.ReplaceAll(c, bar, "|"))
	}
	return cells
}

// entry is a row of a table as one of a list: what it is about, and all that is said of it.
func entry(header, cells []string) string {
	var said []string
	for i, c := range cells[1:] {
		switch {
		case c == "":
		case i == len(cells)-2:
			said = append(said, c)
		default:
			said = append(said, header[i+1]+": "+c+".")
		}
	}
	return cells[0] + "\n: " + strings.Join(append(said, ""), " ")
}
