// Package conformance keeps docs/conformance.md true: a test compares it with the RFCs, with the code and with the tests.
//
// Each occurrence of a key word of RFC 2119 in the RFCs that the document treats is one row, numbered by its section and its place in
// the section: 2.3-4 is the fourth key word of section 2.3. What the RFCs contain stands in facts.go as well, so that the comparison
// does not depend on their texts being at hand; where they are, the facts are compared with them. Another RFC needs its number in order,
// its facts, which the test prints as it misses them, and its page.
package conformance
