//go:build race

package ts

// raceEnabled: the race detector allocates, so that allocations cannot be counted.
const raceEnabled = true
