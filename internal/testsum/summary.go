package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// event is a line of go test -json; see go doc test2json.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output and build-fail
	Test       string
	Output     string
}

// name is one test of one package; an empty test is the package itself.
type name struct{ pkg, test string }

// summary counts tests and keeps the output of those that still run.
type summary struct {
	out      io.Writer
	strict   bool
	optional *regexp.Regexp

	passed, failed, skipped int

	output map[name]*strings.Builder
	blamed map[string]bool // packages in which a test failed
	skips  []string
	broken []string
}

func (s *summary) read(r io.Reader) error {
	s.output = make(map[name]*strings.Builder)
	s.blamed = make(map[string]bool)
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			s.line(line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *summary) line(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil {
		s.out.Write(line) // of the go command itself
		return
	}
	of := name{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "output":
		s.keep(of, e.Output)
	case "pass":
		if e.Test != "" {
			s.passed++
		}
		delete(s.output, of)
	case "skip":
		if e.Test != "" {
			s.skip(of)
		}
		delete(s.output, of)
	case "fail":
		s.fail(of)
	}
}

// keep collects the output of a test and shows that of a package, its last line at least, at once.
func (s *summary) keep(of name, text string) {
	if of.test == "" {
		if text != "PASS\n" && text != "FAIL\n" {
			fmt.Fprint(s.out, text)
		}
		return
	}
	for _, noise := range []string{"=== RUN", "=== PAUSE", "=== CONT", "=== NAME"} {
		if strings.HasPrefix(text, noise) {
			return
		}
	}
	if s.output[of] == nil {
		s.output[of] = &strings.Builder{}
	}
	s.output[of].WriteString(text)
}

// take returns and forgets the output of a test.
func (s *summary) take(of name) string {
	b := s.output[of]
	delete(s.output, of)
	if b == nil {
		return ""
	}
	return b.String()
}

func (s *summary) skip(of name) {
	text := s.take(of)
	line := of.pkg + " " + of.test + ": " + strings.Join(strings.Fields(text), " ")
	if s.strict && (s.optional == nil || !s.optional.MatchString(text)) {
		s.failed++
		s.broken = append(s.broken, line)
		return
	}
	s.skipped++
	s.skips = append(s.skips, line)
}

func (s *summary) fail(of name) {
	if of.test != "" {
		s.failed++
		s.blamed[of.pkg] = true
		s.broken = append(s.broken, of.pkg+" "+of.test)
		fmt.Fprint(s.out, s.take(of))
		return
	}
	// What still runs when its package fails was killed: by a panic, a time limit, os.Exit.
	var killed []name
	for n := range s.output {
		if n.pkg == of.pkg {
			killed = append(killed, n)
		}
	}
	slices.SortFunc(killed, func(a, b name) int { return strings.Compare(a.test, b.test) })
	for _, n := range killed {
		fmt.Fprint(s.out, s.take(n))
	}
	if !s.blamed[of.pkg] {
		s.failed++
		s.broken = append(s.broken, of.pkg)
	}
}

// close writes the end of the report and tells whether all is well.
func (s *summary) close() bool {
	for _, line := range s.skips {
		fmt.Fprintln(s.out, "skipped:", line)
	}
	for _, line := range s.broken {
		fmt.Fprintln(s.out, "failed:", line)
	}
	fmt.Fprintf(s.out, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
	return s.failed == 0 && s.passed > 0
}
