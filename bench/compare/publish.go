package compare

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Save writes everything into a directory: results.json, tables.md, and the plots.
func (r *Report) Save(dir, base string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	samples, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	var tables bytes.Buffer
	if err := r.Markdown(&tables, base); err != nil {
		return err
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "results.json"), append(samples, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "tables.md"), tables.Bytes(), 0o644))
	for _, p := range Plots() {
		var picture bytes.Buffer
		if some, e := r.SVG(&picture, p, base); some && e == nil {
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, p.Name+".svg"), picture.Bytes(), 0o644))
		}
	}
	return err
}

// Load reads results.json again.
func Load(path string) (*Report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &r, nil
}

// The lines in a document between which Insert puts the tables.
const (
	insertBegin = "<!-- what follows is written by culvert bench -->"
	insertEnd   = "<!-- what was written by culvert bench ends here -->"
)

// Insert replaces what stands in a document between two marks by tables and plots. The plots are those that Save wrote into dir.
func (r *Report) Insert(document, dir, base string) error {
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(text), insertBegin)
	_, after, ends := strings.Cut(rest, insertEnd)
	if !begins || !ends {
		return fmt.Errorf("%s has not both of the lines %q and %q", document, insertBegin, insertEnd)
	}
	rel, err := filepath.Rel(filepath.Dir(document), dir)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	b.WriteString(before + insertBegin + "\n\n")
	if err := r.Markdown(&b, base); err != nil {
		return err
	}
	b.WriteString("\n")
	for _, p := range Plots() {
		if groups, _ := r.bars(p, base); len(groups) > 0 {
			fmt.Fprintf(&b, "![%s](%s.svg)\n", p.Title, filepath.ToSlash(filepath.Join(rel, p.Name)))
		}
	}
	b.WriteString("\n" + insertEnd + after)
	return os.WriteFile(document, b.Bytes(), 0o644)
}
