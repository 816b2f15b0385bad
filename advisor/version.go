package advisor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Version is a kernel version for comparison: major, minor, patch. The suffix of the release is not compared, since
// distributions sort it by rules of their own. The zero Version means that no version is known.
type Version [3]int64

// ParseVersion reads the leading numbers of a release: "6.1.0-18-amd64" is 6.1.0, "4.18.0-553.el8_10.x86_64" is 4.18.0,
// "6.18-rc3+" is 6.18.0. A string that does not start with MAJOR.MINOR is an error.
func ParseVersion(release string) (Version, error) {
	var v Version
	rest := release
	for i := range v {
		end := 0
		for end < len(rest) && '0' <= rest[end] && rest[end] <= '9' {
			end++
		}
		n, err := strconv.ParseInt(rest[:end], 10, 32)
		if err != nil {
			if i >= 2 {
				break
			}
			return Version{}, fmt.Errorf("%q is no kernel version: want MAJOR.MINOR, such as 6.12", release)
		}
		v[i] = n
		rest = rest[end:]
		if !strings.HasPrefix(rest, ".") {
			if i == 0 {
				return Version{}, fmt.Errorf("%q is no kernel version: want MAJOR.MINOR, such as 6.12", release)
			}
			break
		}
		rest = rest[1:]
	}
	return v, nil
}

// IsZero reports that no version is known.
func (v Version) IsZero() bool { return v == Version{} }

// Before reports whether v is older than w.
func (v Version) Before(w Version) bool { return slices.Compare(v[:], w[:]) < 0 }

// String is the short form: "6.12", "4.19.1".
func (v Version) String() string {
	if v[2] != 0 {
		return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2])
	}
	return fmt.Sprintf("%d.%d", v[0], v[1])
}

// Backports reports whether a release string is of a distribution that carries newer code under an old number (RHEL and
// its rebuilds, Amazon, SUSE, Oracle, Android): defaults and key names by version are then only likely.
func Backports(release string) bool {
	for _, mark := range []string{".el", ".amzn", ".uek", "-default", ".an8", ".al8", ".lt.", "-android"} {
		if strings.Contains(release, mark) {
			return true
		}
	}
	return false
}

func (v Version) value() Value { return Tuple(v[:]...) }
