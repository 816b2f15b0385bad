package report

// Chinese is the table of phrases, for the test that compares it with the source.
func Chinese() map[string]string { return chinese() }
