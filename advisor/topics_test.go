package advisor_test

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/rules"
)

func topics(t *testing.T) []advisor.Topic {
	t.Helper()
	all, err := advisor.LoadTopics(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTopics(t *testing.T) {
	set, err := advisor.Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	all := topics(t)
	for _, topic := range all {
		t.Run(topic.Name, func(t *testing.T) {
			for _, key := range topic.Keys {
				if _, ok := set.Catalogue.Lookup(key); !ok {
					t.Errorf("the catalogue has no %s", key)
				}
			}
			for _, s := range topic.Sections {
				for line := range strings.SplitSeq(s.Text, "\n") {
					checkLine(t, line)
				}
			}
			for _, text := range append(topic.Sources, topic.Title) {
				if len(text) > 100 {
					t.Errorf("%q is %d columns wide", text, len(text))
				}
			}
			for _, name := range append(topic.Aliases, topic.Name) {
				for _, key := range set.Catalogue.Keys() {
					if key == name || strings.HasSuffix(key, "."+name) {
						t.Errorf("%q is a kernel parameter (%s), which explain finds first", name, key)
					}
				}
				if found, _ := advisor.FindTopic(all, name); found.Name != topic.Name {
					t.Errorf("%q finds %q", name, found.Name)
				}
			}
			if topic.Kind == "counter" && strings.HasPrefix(topic.Name, "Tcp") {
				_, bare, _ := strings.Cut(topic.Name, ".")
				for _, name := range []string{bare, strings.Replace(topic.Name, ".", "", 1)} {
					if _, ok := advisor.FindTopic(all, name); !ok {
						t.Errorf("%q finds nothing", name)
					}
				}
			}
		})
	}
}

func checkLine(t *testing.T, line string) {
	t.Helper()
	if len(line) > 78 || strings.TrimRight(line, " ") != line {
		t.Errorf("%d columns (78 fit) or a blank at the end: %q", len(line), line)
	}
	if strings.ContainsFunc(line, func(r rune) bool { return r > unicode.MaxASCII || r < ' ' }) {
		t.Errorf("not plain ASCII: %q", line)
	}
}

// The page of a state fits a screen: a line of name and title, each section under its title, keys and sources wrapped.
func TestTopicStates(t *testing.T) {
	most := map[string]int{
		"LISTEN": 24, "SYN_SENT": 24, "SYN_RECV": 24, "ESTABLISHED": 24, "FIN_WAIT1": 24, "FIN_WAIT2": 24,
		"CLOSE_WAIT": 40, "CLOSING": 24, "LAST_ACK": 24, "TIME_WAIT": 40, "CLOSED": 24,
	}
	for _, topic := range topics(t) {
		if topic.Kind != "state" {
			continue
		}
		limit, ok := most[topic.Name]
		if !ok {
			t.Errorf("%s is no TCP state", topic.Name)
		}
		delete(most, topic.Name)
		height := 1 + wrapped("Sources: "+strings.Join(topic.Sources, "; "))
		if len(topic.Keys) > 0 {
			height += wrapped("Kernel parameters: " + strings.Join(topic.Keys, ", "))
		}
		var text strings.Builder
		for _, s := range topic.Sections {
			height += 2 + strings.Count(s.Text, "\n")
			text.WriteString(s.Title + "\n" + s.Text + "\n")
		}
		if height > limit {
			t.Errorf("%s takes %d lines, %d fit", topic.Name, height, limit)
		}
		if limit == 40 && (topic.Sections[0].Title != "Where it stands" || !strings.Contains(topic.Sections[0].Text, "here")) {
			t.Errorf("%s has no picture", topic.Name)
		}
		for _, want := range []string{"Who is in it", "What ends it", "What does not", "How to look", "What tcpadvise judges"} {
			if !strings.Contains(text.String(), "\n"+want) && !strings.HasPrefix(text.String(), want) {
				t.Errorf("%s does not say %q", topic.Name, want)
			}
		}
	}
	for name := range most {
		t.Errorf("%s is missing", name)
	}
}

// wrapped counts the lines of 80 columns that a text takes.
func wrapped(text string) int {
	lines, column := 1, 0
	for word := range strings.FieldsSeq(text) {
		if column > 0 && column+1+len(word) > 80 {
			lines, column = lines+1, 0
		}
		column += 1 + len(word)
	}
	return lines
}

func TestFindTopic(t *testing.T) {
	all := topics(t)
	for spelling, want := range map[string]string{
		"CLOSE_WAIT": "CLOSE_WAIT", "close-wait": "CLOSE_WAIT", "CLOSE-WAIT": "CLOSE_WAIT", "closewait": "CLOSE_WAIT", "Close Wait": "CLOSE_WAIT",
		"FIN-WAIT-2": "FIN_WAIT2", "fin_wait_2": "FIN_WAIT2", "TIMEWAIT": "TIME_WAIT", "SYN-RECV": "SYN_RECV", "SYN_RECEIVED": "SYN_RECV",
		"estab": "ESTABLISHED", "close": "CLOSED", "UNCONN": "CLOSED", "closing": "CLOSING",
		"listenoverflows": "TcpExt.ListenOverflows", "TcpExtListenOverflows": "TcpExt.ListenOverflows", "TcpExt.ListenOverflows": "TcpExt.ListenOverflows",
		"TcpCurrEstab": "Tcp.CurrEstab", "TCP: tw": "sockstat.TCP.tw", "time_squeeze": "softnet.time_squeeze", "early-drop": "conntrack.early_drop",
		"Recv-Q of LISTEN": "listener.queue", "TCP: too many orphaned sockets": "log.too-many-orphans",
	} {
		if got, ok := advisor.FindTopic(all, spelling); !ok || got.Name != want {
			t.Errorf("%q finds %q, want %q", spelling, got.Name, want)
		}
	}
	for _, spelling := range []string{"", "-", "WAIT", "CLOSE_WAITS", "tcp_mem"} {
		if got, ok := advisor.FindTopic(all, spelling); ok {
			t.Errorf("%q finds %q, want nothing", spelling, got.Name)
		}
	}
}

func TestLoadTopicsFaults(t *testing.T) {
	const good = "kind: gauge, title: t, sections: [{title: a, text: b}], sources: [s]"
	for yaml, want := range map[string]string{
		"A: {" + good + ", colour: red}":                                             `topics.yaml:1:75: A has no field "colour"`,
		"A: {" + good + "}\nA: {" + good + "}":                                       `topics.yaml:2:1: "A" stands here a second time`,
		"A: {" + good + "}\nB_1: {aliases: [a], " + good + "}":                       `topics.yaml:2:1: A and B_1 both answer to "a"`,
		"A: {kind: gauge, sections: [{title: a, text: b}], sources: [s]}":            `topics.yaml:1:1: "A" needs a name, kind, title`,
		"A: {kind: gauge, title: t, sections: [{title: a, text: b}]}":                `topics.yaml:1:1: "A" needs a name, kind, title`,
		"A: {kind: gauge, title: t, sources: [s]}":                                   `topics.yaml:1:1: "A" needs a name, kind, title`,
		"-: {" + good + "}":                                                          `topics.yaml:1:1: `,
		"A: {kind: rumour, title: t, sections: [{title: a, text: b}], sources: [s]}": `topics.yaml:1:11: "rumour" is none of counter, gauge, log, state`,
		"A: {" + good + ", keys: [k, '']}":                                           `topics.yaml:1:85: want a text here, found an empty one`,
		"A: {" + good + ", keys: [{}]}":                                              `topics.yaml:1:82: want a text here`,
		"A: {kind: gauge, title: t, sections: [{title: a}], sources: [s]}":           `topics.yaml:1:39: a section needs title and text`,
		"A: [1]": `topics.yaml:1:4: A must be a mapping`,
		"[A]":    `topics.yaml:1:1: the list of topics must be a mapping`,
		"":       `topics.yaml: is empty`,
		"A: {":   `topics.yaml:`,
	} {
		_, err := advisor.LoadTopics(fstest.MapFS{"topics.yaml": {Data: []byte(yaml)}})
		var faults advisor.LoadErrors
		if !errors.As(err, &faults) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", yaml, err, want)
		}
	}
	if _, err := advisor.LoadTopics(fstest.MapFS{}); err == nil {
		t.Error("no topics.yaml: no error")
	}
}
