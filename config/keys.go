package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// key is a row of the tables: what Culvert does with one key that strongSwan knows. Of set, ignored and
// refused exactly one is given.
type key[T any] struct {
	// name of the key; one that ends in * stands for every key that begins so.
	name string
	// set parses a value into t. Its error may be a complaint with a hint or a mere note.
	set func(t *T, v string) error
	// ignored says why nothing is lost when the key is ignored; refused why Culvert cannot obey it.
	ignored, refused string
	// same lists, separated by spaces, values of an ignored or refused key which ask for what Culvert
	// does anyhow; they pass without a word.
	same string
}

// sub is a row of the tables: a section within a section.
type sub struct {
	name             string // as in key
	ignored, refused string // neither: the section is read by whoever uses the table
}

func find[T any](keys []key[T], name string) *key[T] {
	for i := range keys {
		if matches(keys[i].name, name) {
			return &keys[i]
		}
	}
	return nil
}

func matches(pattern, name string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

func keyNames[T any](keys []key[T]) []string {
	list := make([]string, len(keys))
	for i := range keys {
		list[i] = strings.TrimSuffix(keys[i].name, "*")
	}
	return list
}

func subNames(subs []sub) []string {
	list := make([]string, len(subs))
	for i := range subs {
		list[i] = strings.TrimSuffix(subs[i].name, "*")
	}
	return list
}

// place describes the kind of section that a table is for, in the words of a message.
type place struct {
	what   string // "a connection"
	secret bool   // unknown names are not repeated: a slip of the pen may have put a secret there
	hint   string // what to say of an unknown name that resembles no known one
}

// apply sets every setting of s that has a value on t, as the table says; an empty value means the
// default.
func apply[T any](r *report, in place, s *section, keys []key[T], subs []sub, t *T) {
	for _, setting := range s.settings {
		k := find(keys, setting.name)
		switch {
		case k == nil && didYouMean(setting.name, keyNames(keys)) != "": // before a section is seen in remote_adrs
			unknown(r, in, "key", setting.name, setting.pos, keyNames(keys))
		case k == nil && slices.ContainsFunc(subs, func(b sub) bool { return matches(b.name, setting.name) }):
			r.failAt(setting.pos, UnknownKey, setting.name, setting.name+" { ... }", "%s is a section, not a key", setting.name)
		case k == nil:
			unknown(r, in, "key", setting.name, setting.pos, slices.Concat(keyNames(keys), subNames(subs)))
		case setting.value == "":
		case k.set != nil && setting.binary:
			r.failAt(setting.at, BadValue, setting.name, "", "%s: the value is no text", setting.name)
		case k.set != nil:
			complain(r, setting, k.set(t, setting.value))
		case asks(k.same, setting.value):
		case k.ignored != "":
			r.warn(setting.pos, "", "%s is ignored: %s", setting.name, k.ignored)
		default:
			r.failAt(setting.pos, BadValue, setting.name, "remove it", "%s is not possible: %s", setting.name, k.refused)
		}
	}
	for _, section := range s.sections {
		i := slices.IndexFunc(subs, func(b sub) bool { return matches(b.name, section.name) })
		switch {
		case find(keys, section.name) != nil:
			r.failAt(section.pos, BadSection, section.name, section.name+" = value", "%s is a key, not a section", section.name)
		case i < 0:
			unknown(r, in, "section", section.name, section.pos, slices.Concat(subNames(subs), keyNames(keys)))
		case subs[i].ignored != "":
			r.warn(section.pos, "", "section %s is ignored: %s", section.name, subs[i].ignored)
		case subs[i].refused != "":
			r.failAt(section.pos, BadSection, section.name, "remove it", "section %s is not possible: %s", section.name, subs[i].refused)
		}
	}
}

// complain reports what the parser of a value said about it.
func complain(r *report, s setting, err error) {
	var c *complaint
	switch {
	case err == nil:
	case !errors.As(err, &c):
		r.failAt(s.at, BadValue, s.name, "", "%s: %v", s.name, err)
	case c.harmless:
		r.warn(s.at, c.hint, "%s: %s", s.name, c.msg)
	default:
		r.failAt(s.at, BadValue, s.name, c.hint, "%s: %s", s.name, c.msg)
	}
}

// unknown reports a name that strongSwan does not know in this place either.
func unknown(r *report, in place, what, name string, pos Pos, known []string) {
	hint := didYouMean(name, known)
	if hint == "" {
		hint = belongs(name)
	}
	fault := UnknownKey
	if what == "section" {
		fault = BadSection
	}
	if in.secret && hint == "" {
		r.failAt(pos, fault, "", "known here are "+strings.Join(known, ", "), "unknown %s in %s", what, in.what)
		return
	}
	r.failAt(pos, fault, name, cmp.Or(hint, in.hint), "unknown %s %q in %s", what, name, in.what)
}

// belongs names the section a key would be known in, or returns "".
func belongs(name string) string {
	var homes []string
	for _, home := range []struct {
		where string
		known bool
	}{
		{"connections.<conn>", find(connectionKeys, name) != nil},
		{"connections.<conn>.local", find(localKeys, name) != nil},
		{"connections.<conn>.remote", find(remoteKeys, name) != nil},
		{"connections.<conn>.children.<child>", find(childKeys, name) != nil},
		{"pools.<pool>", find(poolKeys, name) != nil},
		{"secrets.ike<suffix>", name == "secret"},
	} {
		if home.known {
			homes = append(homes, home.where)
		}
	}
	if homes == nil {
		return ""
	}
	return "it belongs in " + strings.Join(homes, " or ")
}

// asks reports whether value is one of the listed ones, however it is written.
func asks(list, value string) bool {
	for same := range strings.FieldsSeq(list) {
		if plain(same) == plain(value) {
			return true
		}
	}
	return false
}

// plain brings the ways to write no, yes and zero to one.
func plain(value string) string {
	value = strings.ToLower(value)
	if b, err := parseBool(value); err == nil {
		return fmt.Sprint(b)
	}
	if d, err := parseTime(value); err == nil && d == 0 {
		return fmt.Sprint(false)
	}
	return value
}

// didYouMean is a hint that names the nearest known word, or "" if none is near.
func didYouMean(word string, known []string) string {
	best, least := "", 1+max(1, len(word)/3)
	for _, k := range known {
		if d := distance(strings.ToLower(word), k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// distance is how many characters must be inserted, deleted, replaced or swapped with their neighbour to
// make a of b.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b)) // no key is that long
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
