package report

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	udiff "github.com/aymanbagabas/go-udiff"
	"pgregory.net/rapid"

	"github.com/tcpadvise/tcpadvise/advisor"
)

func samplePatch() *advisor.Patch {
	old := "# a\nnet.ipv4.tcp_sack = 0\nnet.ipv4.tcp_tw_recycle = 1"
	rules, why := []string{"unsafe/tcp-sack-off"}, []string{"it is off\nand should not be"}
	return &advisor.Patch{
		Files: []advisor.FileEdit{{
			Path: "/etc/a b.conf", Old: []byte(old), New: []byte("# a\nnet.ipv4.tcp_sack = 1\n"),
			Edits: []advisor.TextEdit{{Start: 24, End: 25, New: "1"}, {Start: 26, End: len(old)}},
			Hunks: []advisor.Hunk{{Line: 2, What: "net.ipv4.tcp_sack: 0 -> 1", Safety: advisor.SafetyReview, Rules: rules, Reasons: why}},
		}},
		NewFiles: []advisor.FileEdit{{Path: "/etc/sysctl.d/90-tcpadvise.conf", New: []byte("net.x = 1\n"), Edits: []advisor.TextEdit{{New: "net.x = 1\n"}}}},
		Settings: []advisor.PatchedSetting{
			{Key: "net.ipv4.tcp_sack", Value: "1", Path: "/etc/a b.conf", Names: []string{"net/ipv4/tcp_sack"}, Rules: rules, Reasons: why, Safety: advisor.SafetyReview, Lost: "no file sets it"},
			{Key: "kernel.core_pattern", Value: "{{ x }}", Path: "/etc/c", Names: []string{"kernel.core_pattern"}},
			{Key: "net.y", Remove: true, Path: "/etc/c", Names: []string{"net.y", "net/y"}},
		},
		Commands: []advisor.PatchedCommand{
			{Key: "net.ipv4.tcp_sack", Value: "1", Undo: "0"}, {Key: "net.ipv4.tcp_rmem", Value: "1 2 3", UndoWhy: "permission denied"},
		},
		Withheld: []advisor.WithheldChange{{Setting: "sysctl:net.z", Rules: []string{"a/b"}, Why: "a secret"}},
	}
}

func TestPatchFormats(t *testing.T) {
	for _, c := range []struct {
		format  string
		reverse bool
		want    []string
		never   []string
	}{
		{"diff", false, []string{
			"#   sysctl -w net.ipv4.tcp_sack=1\n", "#   sysctl -w 'net.ipv4.tcp_rmem=1 2 3'\n", "# /etc/a b.conf:2 net.ipv4.tcp_sack: 0 -> 1 (review)\n",
			"it is off\\nand", "diff --git a/etc/a b.conf b/etc/a b.conf\n--- a/etc/a b.conf\t\n+++ b/etc/a b.conf\t\n@@ -1,3 +1,2 @@\n # a\n",
			"-net.ipv4.tcp_tw_recycle = 1\n\\ No newline at end of file\n", "new file mode 100644\n--- /dev/null\n+++ b/etc/sysctl.d/90-tcpadvise.conf\n@@ -0,0 +1 @@\n",
			"# withheld: net.z (a/b): a secret\n",
		}, nil},
		{"diff", true, []string{
			"the reverse of", "#   sysctl -w net.ipv4.tcp_sack=0\n", "# net.ipv4.tcp_rmem in the running kernel is not undone: permission denied\n",
			"deleted file mode 100644\n--- a/etc/sysctl.d/90-tcpadvise.conf\n+++ /dev/null\n", "-net.ipv4.tcp_sack = 1\n+net.ipv4.tcp_sack = 0\n",
		}, []string{"withheld"}},
		{"commands", false, []string{"\nsysctl -w net.ipv4.tcp_sack=1\n", "# at the next boot this is lost: no file sets it\n"}, nil},
		{"commands", true, []string{"\nsysctl -w net.ipv4.tcp_sack=0\n", "# refused: net.ipv4.tcp_rmem is not undone: permission denied\n"}, nil},
		{"ansible", false, []string{
			"---\n", "- name: Set net.ipv4.tcp_sack in /etc/a b.conf\n", "    name: net/ipv4/tcp_sack\n    value: \"1\"\n    state: present\n    sysctl_file: /etc/a b.conf\n    sysctl_set: true\n    reload: false\n",
			"    value: !unsafe \"{{ x }}\"\n", "- name: Remove net.y from /etc/c\n", "    name: net/y\n    state: absent\n",
		}, nil},
		{"drop-in", false, []string{"put it into /etc/sysctl.d/90-tcpadvise.conf", "\n\nnet.x = 1\n"}, nil},
	} {
		var out, notes bytes.Buffer
		if err := WritePatch(&out, &notes, c.format, samplePatch(), PatchOptions{Include: advisor.SafetyReview, Reverse: c.reverse}); err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: lacks %q:\n%s", c.format, want, out.String())
			}
		}
		for _, never := range c.never {
			if strings.Contains(out.String(), never) {
				t.Errorf("%s: has %q:\n%s", c.format, never, out.String())
			}
		}
		if notes.Len() > 0 {
			t.Errorf("%s: notes %q", c.format, notes.String())
		}
	}
}

func TestPatchOfNothing(t *testing.T) {
	leak := advisor.Finding{Rule: "close-wait/server-leak", Remedy: advisor.RemedyApplication, Message: "20 sockets", Do: []string{"close them"}}
	for _, format := range PatchFormats() {
		var out, notes bytes.Buffer
		if err := WritePatch(&out, &notes, format, &advisor.Patch{}, PatchOptions{}); err != nil || out.Len() > 0 || notes.String() != "tcpadvise: nothing to change\n" {
			t.Errorf("%s: %v %q %q", format, err, out.String(), notes.String())
		}
		notes.Reset()
		err := WritePatch(&out, &notes, format, &advisor.Patch{}, PatchOptions{Steps: []advisor.Finding{leak, leak}})
		const want = "tcpadvise: no patch exists for close-wait/server-leak, only the program's code helps: 20 sockets\n"
		if err != nil || out.Len() > 0 || strings.Count(notes.String(), want) != 2 || strings.Count(notes.String(), "do: close them\n") != 1 {
			t.Errorf("%s: %v %q %q", format, err, out.String(), notes.String())
		}
	}
	if err := WritePatch(nil, nil, "svg", nil, PatchOptions{}); err == nil {
		t.Error("svg is a format")
	}
}

// TestUnified: window by window gives the hunks that the library makes of the whole file.
func TestUnified(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old := rapid.StringMatching(`([ab@ ]{0,2}\n){0,40}[ab]{0,2}`).Draw(t, "old")
		var edits []advisor.TextEdit
		var whole []udiff.Edit
		at := 0
		for range rapid.IntRange(1, 5).Draw(t, "edits") {
			start := rapid.IntRange(at, len(old)).Draw(t, "start")
			end := rapid.IntRange(start, min(start+8, len(old))).Draw(t, "end")
			text := rapid.SampledFrom([]string{"", "x", "x\n", "x\ny\n", "\n"}).Draw(t, "new")
			if start == end && text == "" || old[start:end] == text {
				continue
			}
			edits = append(edits, advisor.TextEdit{Start: start, End: end, New: text})
			whole = append(whole, udiff.Edit{Start: start, End: end, New: text})
			at = end + 1
			if at > len(old) {
				break
			}
		}
		got, err := unified("a/x", "b/x", []byte(old), edits)
		want, wantErr := udiff.ToUnified("a/x", "b/x", old, whole, udiff.DefaultContextLines)
		if err != nil || wantErr != nil || oldSide(got) != oldSide(want) {
			t.Fatalf("%v %v of %q\n%s\nwant\n%s", err, wantErr, old, got, want)
		}
		if fresh, err := udiff.Apply(old, whole); err != nil || !standsWhereItSays(got, fresh) {
			t.Fatalf("%v: new lines are elsewhere than the headers of\n%s\nsay: %q", err, got, fresh)
		}
	})
}

// oldSide is a diff without the numbers of new lines, which the library has wrong.
func oldSide(diff string) string {
	var b strings.Builder
	for line := range strings.Lines(diff) {
		if before, _, ok := strings.Cut(line, " +"); ok && strings.HasPrefix(line, "@@") {
			line = before + "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// standsWhereItSays: the lines of each hunk's new side are those of the new file at the number that its header names.
func standsWhereItSays(diff, fresh string) bool {
	lines, at := strings.SplitAfter(fresh, "\n"), 0
	for line := range strings.Lines(diff) {
		switch {
		case strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"), line[0] == '-', line[0] == '\\':
		case strings.HasPrefix(line, "@@"):
			m := hunkHeader.FindStringSubmatch(line)
			at, _ = strconv.Atoi(m[3])
		default:
			if at < 1 || at > len(lines) || strings.TrimSuffix(lines[at-1], "\n") != strings.TrimSuffix(line[1:], "\n") {
				return false
			}
			at++
		}
	}
	return true
}

// TestUnifiedIsFast: the diff of 10 MB with 50 edits costs less than to read and write these.
func TestUnifiedIsFast(t *testing.T) {
	line := "# " + strings.Repeat("-", 97) + "\n"
	old := strings.Repeat(line, 100_000)
	var edits []advisor.TextEdit
	for n := range 50 {
		edits = append(edits, advisor.TextEdit{Start: n * 2000 * len(line), End: n*2000*len(line) + len(line)})
	}
	name := filepath.Join(t.TempDir(), "x")
	best, yardstick := time.Hour, time.Hour
	for range 10 { // the least of several: machines are busy
		start := time.Now()
		if err := os.WriteFile(name, []byte(old), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
		yardstick = min(yardstick, time.Since(start))
		start = time.Now()
		if text, err := unified("a/x", "b/x", []byte(old), edits); err != nil || strings.Count(text, "\n@@") != 50 {
			t.Fatal(err)
		}
		best = min(best, time.Since(start))
	}
	t.Logf("%v, to read and write takes %v", best, yardstick)
	if best > 2*yardstick {
		t.Errorf("took %v, to read and write takes %v", best, yardstick)
	}
}
