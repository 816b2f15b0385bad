// Package host knows where on a machine a fact is read: kernel parameters, sysctl files in their loaders' order, counters,
// processes, limits and sockets, live, in a directory, or in a capture.
//
// All reading goes through one seam, tree. A collector that cannot read leaves facts unknown, with the reason, and goes on;
// readers have limits, and hitting one is an error, never a shorter answer. Secrets are masked before anything sees them.
// The package never writes to a host: the only file that it makes is the capture that it was asked for.
package host
