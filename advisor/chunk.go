package advisor

import "bytes"

// chunk is the text of one entry of a block mapping, and the line of the file that it starts in.
type chunk struct {
	line int
	text []byte
}

// body is what stands below the entry's first line.
func (c chunk) body() chunk {
	_, rest, _ := bytes.Cut(c.text, []byte("\n"))
	return chunk{c.line + 1, rest}
}

// split cuts the text of a block mapping into its entries without parsing them, by the indentation of their keys: a run
// needs few entries of the embedded files, and its start must not pay for all. Users' files are never read this way.
func (c chunk) split(indent int) (keys []string, entries map[string]chunk) {
	entries = map[string]chunk{}
	start, line, key, first := 0, c.line, "", c.line
	flush := func(end int) {
		if key != "" {
			keys = append(keys, key)
			entries[key] = chunk{first, c.text[start:end]}
		}
	}
	for at := 0; at < len(c.text); line++ {
		end := len(c.text)
		if n := bytes.IndexByte(c.text[at:], '\n'); n >= 0 {
			end = at + n + 1
		}
		if name, ok := keyAt(c.text[at:end], indent); ok {
			flush(at)
			key, start, first = name, at, line
		}
		at = end
	}
	flush(len(c.text))
	return keys, entries
}

// keyAt recognises a line "KEY:" that is indented by exactly so many blanks.
func keyAt(line []byte, indent int) (string, bool) {
	if len(line) <= indent || bytes.IndexByte([]byte(" #-\n\r"), line[indent]) >= 0 {
		return "", false
	}
	for _, b := range line[:indent] {
		if b != ' ' {
			return "", false
		}
	}
	name, _, ok := bytes.Cut(line[indent:], []byte(":"))
	return string(name), ok
}

// field finds the plain value of a field in an entry's text, "type" in "{type: integer, doc: x}" as well as on a line of its own.
func (c chunk) field(name string) string {
	mark := []byte(name + ": ")
	for text := c.text; ; {
		i := bytes.Index(text, mark)
		if i < 0 {
			return ""
		}
		if i == 0 || text[i-1] == ' ' || text[i-1] == '{' || text[i-1] == '\n' {
			value := text[i+len(mark):]
			if end := bytes.IndexAny(value, ",}\n"); end >= 0 {
				value = value[:end]
			}
			return string(bytes.TrimSpace(value))
		}
		text = text[i+len(mark):]
	}
}
