package compare

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// Plot is a picture: a group of bars for each of its figures, a bar for each subject.
type Plot struct {
	Name    string // of its file, without the end
	Title   string
	Figures []Figure
}

// Plots are the pictures that go with the tables.
func Plots() []Plot {
	choose := func(name, title string, metrics ...Metric) Plot {
		p := Plot{Name: name, Title: title}
		for _, f := range Figures() {
			for _, m := range metrics {
				if f.Metric == m {
					p.Figures = append(p.Figures, f)
				}
			}
		}
		return p
	}
	return []Plot{
		choose("tcp", "TCP throughput", Throughput),
		choose("udp", "UDP packets received at the best rate", Best),
		choose("udp-flood", "UDP packets received of a flood", Flood),
		choose("cpu", "Processor time of both daemons for each GB", CPU),
		choose("cpu-packet", "Processor time of both daemons for each packet of a flood", CPUPacket),
		choose("round-trip", "Round trips", P50, P99),
		choose("memory", "Memory", RSS),
		choose("setup", "Making a tunnel", Setup, CPUSetup),
	}
}

// Measures of a plot, in pixels.
const (
	plotWidth  = 860
	plotLeft   = 150 // where the bars begin
	plotRight  = 170 // room for the text behind them
	barHeight  = 15
	groupSpace = 34
	plotTop    = 64
)

// palette has a colour for each subject, in their order: of good contrast on white, and told apart without red and green.
var palette = []string{"#9aa0a6", "#56b4e9", "#0072b2", "#d55e00", "#5a7fb8", "#7a6fb0", "#cc79a7", "#e69f00", "#333333"}

// SVG writes a picture of ratios to base, in the same round each: bars for the medians, and lines from the least to the most.
// Behind the bars stands the median of what was measured. It writes nothing and returns false if there is nothing to show.
func (r *Report) SVG(w io.Writer, p Plot, base string) (bool, error) {
	groups, most := r.bars(p, base)
	if len(groups) == 0 {
		return false, nil
	}
	unit := float64(plotWidth-plotLeft-plotRight) / most
	var b strings.Builder
	y := plotTop
	for _, g := range groups {
		text(&b, 10, y+12, "start", "bold", g.figure.Name())
		y += 20
		for _, bar := range g.bars {
			text(&b, plotLeft-8, y+12, "end", "normal", bar.subject)
			at := func(ratio float64) float64 { return plotLeft + min(ratio, most)*unit }
			middle, end := float64(y)+barHeight/2.0, at(bar.ratio.Max)
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", plotLeft, y+1, at(bar.ratio.Median)-plotLeft, barHeight-2, bar.colour)
			fmt.Fprintf(&b, `<path d="M%.1f %.1fH%.1f" stroke="#000" stroke-opacity=".55"/>`+"\n", at(bar.ratio.Min), middle, end)
			if bar.ratio.Max > most { // the end of what can be shown
				fmt.Fprintf(&b, `<path d="M%.1f %dl4 5l-4 5l4 5" stroke="#fff" stroke-width="3" fill="none"/>`+"\n", end-6, y)
			}
			text(&b, int(end)+6, y+12, "start", "normal", fmt.Sprintf("%s× (%s %s)", short(bar.ratio.Median), short(bar.value), g.figure.Unit))
			y += barHeight
		}
		y += groupSpace - 20
	}
	line := plotLeft + unit
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="12">
<rect width="100%%" height="100%%" fill="#fff"/>
<text x="10" y="24" font-size="16" font-weight="bold">%s</text>
<text x="10" y="44" fill="#555">times %s, median of %d rounds; lines from the least to the most; ↓ less is better</text>
<path d="M%.1f %dV%d" stroke="#000" stroke-dasharray="3 3" stroke-opacity=".5"/>
%s</svg>
`, plotWidth, y+4, html.EscapeString(p.Title), html.EscapeString(base), r.Rounds, line, plotTop-8, y-8, b.String())
	return true, err
}

// bar is what a plot shows of a subject, and barGroup of a figure.
type bar struct {
	subject, colour string
	ratio           Spread
	value           float64
}

type barGroup struct {
	figure Figure
	bars   []bar
}

// bars are what a plot shows, and the greatest ratio in it. The link is not looked at for that: what is so fast would press the rest
// together.
func (r *Report) bars(p Plot, base string) (groups []barGroup, most float64) {
	for _, f := range p.Figures {
		g := barGroup{figure: f}
		for i, s := range r.Subjects {
			if ratio := spread(r.Ratios(f, s.Name, base)); ratio.N > 0 {
				g.bars = append(g.bars, bar{s.Name, palette[i%len(palette)], ratio, r.Spread(f, s.Name).Median})
				if s.Name != Link {
					most = max(most, ratio.Max)
				}
			}
		}
		if len(g.bars) > 0 {
			groups = append(groups, g)
		}
	}
	return groups, math.Max(most, 1)
}

func text(b *strings.Builder, x, y int, anchor, weight, s string) {
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="%s" font-weight="%s">%s</text>`+"\n", x, y, anchor, weight, html.EscapeString(s))
}
