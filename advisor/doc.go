// Package advisor loads a rule set, judges facts with it, and decides which changes follow.
//
// It owns the types that all else speaks: Value, Origin, Fact, Facts, Finding, Change, Diagnosis; the vocabulary and the
// catalogue of kernel parameters; and the rule language. It is pure: it reads no file but those of the rule set's fs.FS,
// asks neither the machine nor the time, starts no goroutine, and the same facts give the same Diagnosis. What it refuses:
// to take unknown or absent for zero or false, to propose a kernel change where only the program helps, and to write
// anything.
package advisor
