package explain

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
)

// maxMatches is how many entries a text is taken for at most.
const maxMatches = 3

// Match finds the entries that explain a text: a line of a log, of Culvert's or of another daemon's, or a part of one. The best comes
// first; there may be none.
func Match(text string) []Entry {
	type match struct {
		Entry
		score int
	}
	var found []match
	said := words(text)
	for _, e := range Catalogue() {
		best := 0
		for _, s := range append([]string{string(e.Cause), e.Title}, e.Symptoms...) {
			best = max(best, likeness(symptomWords(s), said))
		}
		if best > 0 {
			found = append(found, match{e, best})
		}
	}
	slices.SortStableFunc(found, func(a, b match) int { return cmp.Compare(b.score, a.score) })
	var list []Entry
	for _, m := range found {
		// What is much less alike than the best would only distract.
		if len(list) < maxMatches && m.score*2 >= found[0].score {
			list = append(list, m.Entry)
		}
	}
	return list
}

// likeness scores how much of a symptom is in what was said: nothing below two thirds of its words. One word is enough if it is the
// whole symptom, as the name of a notify is.
func likeness(symptom, said []string) int {
	hits := 0
	for _, w := range symptom {
		if slices.Contains(said, w) {
			hits++
		}
	}
	if hits == 0 || hits*3 < len(symptom)*2 || len(symptom) < 2 && !strings.ContainsAny(symptom[0], "_-") {
		return 0
	}
	score := 10*hits - 5*(len(symptom)-hits)
	if strings.Contains(strings.Join(said, " "), strings.Join(symptom, " ")) {
		score += 10 * hits // in one piece
	}
	return score
}

// symptomWords are those of a symptom without the name of the daemon in front of it.
func symptomWords(s string) []string {
	if name, rest, ok := strings.Cut(s, ": "); ok && slices.Contains(daemons, name) {
		s = rest
	}
	return words(s)
}

// daemons are the names that stand in front of symptoms.
var daemons = []string{"strongSwan", "Libreswan", "Cisco", "Cisco ASA", "Cisco IOS", "FortiGate", "Palo Alto", "MikroTik", "AWS", "Windows", "strongSwan on the other side"}

// words are the words of a text in lower case, without what belongs to one case of it only: numbers, addresses and names in quotes.
func words(text string) (list []string) {
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(`,;:()[]{}"'=<>|`, r) }) {
		w = strings.ToLower(strings.Trim(w, ".!?"))
		if w != "" && !strings.ContainsAny(w, "0123456789@") {
			list = append(list, w)
		}
	}
	return list
}
