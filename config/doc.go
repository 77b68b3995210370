// Package config reads a configuration in the language of strongSwan's swanctl.conf and turns it into
// the policy types of the IKE endpoint.
//
// It works in three steps. The parser (syntax.go) turns text into statements and knows nothing of
// their meaning. The tree (tree.go) joins files, merges sections that are written twice and resolves
// references between sections. The tables (keys_*.go) say for every key that strongSwan knows what
// Culvert does with it: obey it, ignore it with a warning because nothing is lost, or refuse it with a
// reason. All errors of a configuration are reported at once, each with file, line and column.
//
// A secret never appears in an error, a warning or the output of Describe.
package config
