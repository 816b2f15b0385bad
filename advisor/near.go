package advisor

import "slices"

// Nearest returns the candidate closest to name by edit distance, or "" where none is close enough to be a slip of the
// pen: at most two edits, and at most a third of the name.
func Nearest(name string, candidates []string) string {
	best, bestDistance := "", min(2, len(name)/3)+1
	for _, c := range candidates {
		if d := editDistance(name, c, bestDistance+1); d < bestDistance || d == bestDistance && best != "" && c < best {
			best, bestDistance = c, d
		}
	}
	return best
}

// editDistance is the optimal-string-alignment distance (insertion, deletion, substitution, swap of neighbours),
// or limit as soon as it cannot be less.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		if slices.Min(row) >= limit {
			return limit
		}
		before, prev, row = prev, row, before
	}
	return min(prev[len(b)], limit)
}

// didYouMean is the tail of an error message about an unknown name; "" where nothing is near.
func didYouMean(name string, candidates []string) string {
	if near := Nearest(name, candidates); near != "" {
		return ", did you mean \"" + near + "\"?"
	}
	return ""
}
