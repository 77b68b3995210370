// Package archtest holds the project to its architecture: who may import whom, what a deciding package must
// not do, where goroutines start, how long a file may be and that exported names are documented.
//
// It reads the source files itself, in process, for every platform at once. Asking the go command instead
// would hide the files from the test cache, and a stale answer would pass.
package archtest
