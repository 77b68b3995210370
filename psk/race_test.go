//go:build race

package psk

const raceEnabled = true
