package compare

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Markdown writes the tables: Culvert in relation to each other subject, each subject in relation to base, and what was measured.
func (r *Report) Markdown(w io.Writer, base string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d processors, %s. %d rounds, %.1f s measured of each case, %s.\n\n",
		r.Machine.CPU, r.Machine.CPUs, r.Machine.Kernel, r.Rounds, r.Window, r.Began.UTC().Format("2006-01-02"))
	b.WriteString("| subject | | MTU inside | build |\n| --- | --- | --- | --- |\n")
	for _, s := range r.Subjects {
		fmt.Fprintf(&b, "| %s | %s | %d | %s |\n", s.Name, s.About, s.MTU, s.Build)
	}
	if base != Culvert && r.has(Culvert) && len(r.Subjects) > 1 {
		b.WriteString("\n**Culvert in relation to the others**, in the same round each: median (least to most).\n\n")
		r.table(&b, "culvert ÷ ", r.without(Culvert), func(f Figure, subject string) string {
			return ratio(spread(r.Ratios(f, Culvert, subject)))
		})
	}
	if r.has(base) && len(r.Subjects) > 1 {
		fmt.Fprintf(&b, "\n**All in relation to %s**, in the same round each: median (least to most).\n\n", base)
		r.table(&b, "", r.without(base), func(f Figure, subject string) string { return ratio(spread(r.Ratios(f, subject, base))) })
	}
	b.WriteString("\n**As measured**: median (least to most).\n\n")
	r.table(&b, "", r.without(""), func(f Figure, subject string) string {
		s := r.Spread(f, subject)
		if s.N == 0 || f.Share && s.Max == 0 {
			return ""
		}
		return fmt.Sprintf("%s (%s–%s) %s", short(s.Median), short(s.Min), short(s.Max), f.Unit)
	})
	r.profiles(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) has(subject string) bool {
	return slices.ContainsFunc(r.Subjects, func(s Subject) bool { return s.Name == subject })
}

// without are the names of the subjects but for one.
func (r *Report) without(subject string) (names []string) {
	for _, s := range r.Subjects {
		if s.Name != subject {
			names = append(names, s.Name)
		}
	}
	return names
}

// table has a line for every figure and a column for every subject, where there is anything to say.
func (r *Report) table(b *strings.Builder, prefix string, subjects []string, cell func(Figure, string) string) {
	b.WriteString("| |")
	for _, s := range subjects {
		fmt.Fprintf(b, " %s%s |", prefix, s)
	}
	b.WriteString("\n|" + strings.Repeat(" --- |", len(subjects)+1) + "\n")
	for _, f := range Figures() {
		line, empty := "| "+f.Name()+" |", true
		for _, s := range subjects {
			text := cell(f, s)
			empty = empty && text == ""
			line += " " + text + " |"
		}
		if !empty {
			b.WriteString(line + "\n")
		}
	}
}

// Name is the title, with a hint if less is better.
func (f Figure) Name() string {
	if f.Less {
		return f.Title + " ↓"
	}
	return f.Title
}

// Spread is what was measured of a figure.
func (r *Report) Spread(f Figure, subject string) Spread {
	var values []float64
	for _, v := range r.Values(f, subject) {
		values = append(values, v)
	}
	return spread(values)
}

// ratio is a spread of ratios.
func ratio(s Spread) string {
	if s.N == 0 {
		return ""
	}
	return fmt.Sprintf("%s (%s–%s)", short(s.Median), short(s.Min), short(s.Max))
}

// short is a number with the digits that mean something.
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
