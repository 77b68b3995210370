//go:build race

package natt

// raceEnabled: the race detector allocates, so that allocations cannot be counted.
const raceEnabled = true
