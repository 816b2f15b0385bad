// Package conf owns the syntax of the configuration formats that tcpadvise reads: bytes to lines or a tree with byte
// spans, and the smallest edits that change one value.
//
// It refuses to know where a file lies, which of two files wins, or what a value means to the kernel or a service: that
// is advisor/host and advisor. It reads no file, and it never fails on content: what it cannot understand it keeps, with
// its span, as malformed.
//
// These laws hold, each tested and fuzzed:
//
//   - parse, set, parse gives the new value, and every other line keeps its bytes;
//   - bytes outside the spans of the edits are never touched;
//   - no input panics, and time and memory are linear in its size.
package conf
