package report

// style is a role in the text, not a colour: what it looks like stands in sgr alone. The zero style is plain.
type style uint8

const (
	plain style = iota
	isError
	isWarning
	isNote
	isPass
	isRule   // a rule's ID in a finding's first line
	isAction // the label of what to do
	isFaint  // labels and remarks that the eye may skip
)

// sgr is the "select graphic rendition" parameter of ECMA-48. Only the eight basic colours: a terminal's own theme keeps
// them readable on its background.
func (s style) sgr() string {
	switch s {
	case isError:
		return "1;31"
	case isWarning:
		return "1;33"
	case isNote:
		return "1;36"
	case isPass:
		return "1;32"
	case isRule, isAction:
		return "1"
	case isFaint:
		return "2"
	case plain:
	}
	return ""
}

// paint wraps text in the style's codes where they are wanted; plain text stays as it is.
func (s style) paint(wanted bool, text string) string {
	if !wanted || s == plain || text == "" {
		return text
	}
	return "\x1b[" + s.sgr() + "m" + text + "\x1b[0m"
}
