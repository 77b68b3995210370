package main

import (
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// scrub makes all strings of a value fit for a terminal: what a peer sent must not move the cursor nor make lines of its own. v is a
// pointer. Times and other values whose fields are their own affair are left alone.
func scrub(v any) { scrubValue(reflect.ValueOf(v)) }

func scrubValue(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			scrubValue(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				scrubValue(f)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			scrubValue(v.Index(i))
		}
	case reflect.Map:
		scrubMap(v)
	case reflect.String:
		v.SetString(printable(v.String()))
	}
}

// scrubMap does so with the keys of a map, whose values are numbers.
func scrubMap(v reflect.Value) {
	for _, k := range v.MapKeys() {
		if k.Kind() != reflect.String {
			continue
		}
		if clean := printable(k.String()); clean != k.String() {
			value := v.MapIndex(k)
			v.SetMapIndex(k, reflect.Value{})
			v.SetMapIndex(reflect.ValueOf(clean).Convert(k.Type()), value)
		}
	}
}

// printable is a text in which everything but letters, marks, numbers, punctuation, symbols and the plain space is escaped.
func printable(text string) string {
	clean := func(r rune) bool { return unicode.IsPrint(r) }
	if utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !clean(r) }) < 0 {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)):
			b.WriteString(`\x` + strconv.FormatUint(uint64(text[i])|0x100, 16)[1:])
		case clean(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}
