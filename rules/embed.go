// Package rules is the knowledge of tcpadvise, embedded: the vocabulary of facts (facts.yaml), the catalogue of kernel
// parameters (sysctls.yaml), topics and myths to explain, and the rules with their tests (AREA/SLUG.yaml, AREA/SLUG_test.yaml).
// It holds no code.
package rules

import "embed"

// FS is the built-in rule set, for advisor.Load.
//
//go:embed facts.yaml sysctls.yaml topics.yaml myths.yaml */*.yaml
var FS embed.FS

// Version is the version of the rule set. It rises whenever a rule's verdict can change.
const Version = "0.1.0"
