package compare

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Markdown writes the tables: what there is of each figure in relation to a subject in the same round, and what was measured.
func (r *Report) Markdown(w io.Writer, base string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d processors, %s, %s. %d rounds, %.1f s each.\n\n", r.Machine.CPU, r.Machine.CPUs, r.Machine.Kernel, r.Machine.Go, r.Rounds, r.Window)
	b.WriteString("| subject | | MTU inside | build |\n| --- | --- | --- | --- |\n")
	for _, s := range r.Subjects {
		fmt.Fprintf(&b, "| %s | %s | %d | %s |\n", s.Name, s.About, s.MTU, s.Build)
	}
	if slices.ContainsFunc(r.Subjects, func(s Subject) bool { return s.Name == base }) {
		fmt.Fprintf(&b, "\nTimes %s, in the same round: median (least to most).\n\n", base)
		r.table(&b, func(f Figure, subject string) string {
			s := spread(r.Ratios(f, subject, base))
			if s.N == 0 {
				return ""
			}
			return fmt.Sprintf("%s (%s–%s)", short(s.Median), short(s.Min), short(s.Max))
		})
	}
	b.WriteString("\nAs measured: median (least to most).\n\n")
	r.table(&b, func(f Figure, subject string) string {
		s := r.Spread(f, subject)
		if s.N == 0 {
			return ""
		}
		return fmt.Sprintf("%s (%s–%s) %s", short(s.Median), short(s.Min), short(s.Max), f.Unit)
	})
	_, err := io.WriteString(w, b.String())
	return err
}

// table has a line for every figure and a column for every subject that has anything to say.
func (r *Report) table(b *strings.Builder, cell func(Figure, string) string) {
	b.WriteString("| |")
	for _, s := range r.Subjects {
		fmt.Fprintf(b, " %s |", s.Name)
	}
	b.WriteString("\n|" + strings.Repeat(" --- |", len(r.Subjects)+1) + "\n")
	for _, f := range Figures() {
		line, empty := "| "+f.Title, true
		if f.Less {
			line += " (less is better)"
		}
		line += " |"
		for _, s := range r.Subjects {
			text := cell(f, s.Name)
			empty = empty && text == ""
			line += " " + text + " |"
		}
		if !empty {
			b.WriteString(line + "\n")
		}
	}
}

// Spread is what was measured of a figure.
func (r *Report) Spread(f Figure, subject string) Spread {
	var values []float64
	for _, v := range r.Values(f, subject) {
		values = append(values, v)
	}
	return spread(values)
}

// short is a number with three digits that mean something.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e6:
		return fmt.Sprintf("%.2fM", v/1e6)
	case a >= 1e4:
		return fmt.Sprintf("%.0fk", v/1e3)
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.01 || a == 0:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.4f", v)
}
