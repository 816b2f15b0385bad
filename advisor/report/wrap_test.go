package report

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func texts(words []word) []string {
	var out []string
	for _, w := range words {
		text := w.text
		if w.tight {
			text = "~" + text
		}
		out = append(out, text)
	}
	return out
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"":                         "",
		"nginx: worker":            "nginx: worker",
		"网关 é €\ufffd":             "网关 é €\ufffd",
		"a\x1b[31m":                `a\x1b[31m`,
		"a\nb\tc\rd\x00\x7f":       `a\nb\tc\rd\x00\x7f`,
		"\u202eabc\u2066\u200b":    `\u202eabc\u2066\u200b`,
		"\ufeff\u00a0\u3000\u00ad": `\ufeff\u00a0\u3000\u00ad`,
		"\u3164\u115f\ufe0f\u2800": `\u3164\u115f\ufe0f\u2800`,
		"\u009b \x9b \xc3":         `\u009b \x9b \xc3`,
		"\U000e0041":               `\U000e0041`,
		`C:\x1b`:                   `C:\x1b`,
	} {
		if got := escape(in); got != want {
			t.Errorf("escape(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestCode: ~ marks a word that follows without a blank.
func TestCode(t *testing.T) {
	for in, want := range map[string][]string{
		"ss -ltn 'sport = :80'":                                  {"ss -ltn 'sport = :80'"},
		"nstat -az TcpExtListenOverflows | grep -v ' 0 '":        {"nstat -az TcpExtListenOverflows | grep -v ' 0 '"},
		"take three dumps, 5 s apart: jcmd 47 Thread.dump":       {"take", "three", "dumps,", "5 s", "apart:", "jcmd 47 Thread.dump"},
		"set a = 1 there, then sysctl -w a=1, and restart":       {"set", "a = 1", "there,", "then", "sysctl -w a=1,", "and", "restart"},
		"give it 4 GiB, no more: the rest is for the page cache": {"give", "it", "4 GiB,", "no", "more:", "the", "rest", "is", "for", "the", "page", "cache"},
		"改好文件后：sysctl -w a=1，再重启 nginx 服务 即可":                    {"改", "~好", "~文", "~件", "~后：", "~sysctl -w a=1，", "~再", "~重", "~启", "nginx", "服", "~务", "即", "~可"},
	} {
		if got := texts(code(in)); !slices.Equal(got, want) {
			t.Errorf("code(%q)\n got %q\nwant %q", in, got, want)
		}
	}
}

func TestSplitWide(t *testing.T) {
	for in, want := range map[string][]string{
		"tcp_sack":                {"tcp_sack"},
		"设为0（默认值）。":               {"设", "为", "0", "（默", "认", "值）。"},
		"见/etc/sysctl.d/调优.conf。": {"见", "/etc/sysctl.d/调优.conf。"},
		"/数据/应用/conf":             {"/数据/应用/conf"},
		"第3行的「值」":                 {"第", "3", "行", "的", "「值」"},
	} {
		if got := splitWide(in); !slices.Equal(got, want) {
			t.Errorf("splitWide(%q)\n got %q\nwant %q", in, got, want)
		}
	}
}

// FuzzWords: whatever a host holds, the words lose no character, hold none that is unsafe, and fit where they can.
func FuzzWords(f *testing.F) {
	for _, seed := range []string{"", "a = 1 -w 'x y' | z", "设为0（默认值）。", "\x1b]0;x\x07\xff\u202e", "' \" - = 5 s", "e\u0301 👩\u200d👧 ｱ"} {
		f.Add(seed)
	}
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
	f.Fuzz(func(t *testing.T, s string) {
		for name, words := range map[string][]word{"prose": prose(s), "code": code(s), "whole": {whole(s)}} {
			p := &printer{limit: 20}
			p.fill(0, 0, words)
			out := p.buf.String()
			if got, want := squeeze(out), squeeze(escape(s)); got != want {
				t.Errorf("%s turns %q into %q", name, want, got)
			}
			if !utf8.ValidString(out) || strings.ContainsFunc(out, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
				t.Errorf("%s lets %q through", name, out)
			}
			for line := range strings.Lines(out) {
				line = strings.TrimSuffix(line, "\n")
				fits := slices.ContainsFunc(words, func(w word) bool { return w.text == line })
				if name != "whole" && !fits && width(line) > p.limit+1 {
					t.Errorf("%s: %q is wider than %d", name, line, p.limit)
				}
			}
		}
	})
}
