package explain

import "strings"

// Lines are settings of a configuration file with the sections around them, the outermost first, ready to be pasted.
func Lines(settings []string, sections ...string) []string {
	var lines []string
	indent := ""
	for _, name := range sections {
		lines = append(lines, indent+name+" {")
		indent += "  "
	}
	for _, s := range settings {
		lines = append(lines, indent+s)
	}
	for range sections {
		indent = indent[2:]
		lines = append(lines, indent+"}")
	}
	return lines
}

// Set is the setting of a value, in quotes if its characters have a meaning in the language of the file.
func Set(key, value string) string { return key + " = " + Quote(value) }

// Quote is a value as it is to be written in the file.
func Quote(value string) string {
	special := func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("@%._:/*+-[]", c)
	}
	if value != "" && !strings.ContainsFunc(value, special) {
		return value
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(value) + `"`
}

// SetList is the setting of several values, none of which needs quotes.
func SetList(key string, values []string) string { return key + " = " + strings.Join(values, ", ") }
