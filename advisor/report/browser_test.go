//go:build browser

package report_test

import (
	"context"
	"encoding/json"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tcpadvise/tcpadvise/advisor/report"
)

// probe is a page that shows a report in frames as wide as a phone and as a desktop, and measures it there. It may look into the
// frames because Chromium is told so; the report itself runs no script.
const probe = `<!DOCTYPE html><meta charset="utf-8"><body><script>
const seen = [];
for (const width of [320, 390, 1280]) {
	const frame = document.createElement("iframe");
	frame.style.cssText = "width:" + width + "px;height:900px;border:0";
	frame.onload = () => {
		const doc = frame.contentDocument, view = frame.contentWindow, svg = doc.querySelector("svg[role=img]");
		const outside = [...doc.querySelectorAll("body *")].filter(e => {
			const r = e.getBoundingClientRect();
			return r.width > 0 && (r.right > width + 1 || r.left < -1) && !e.closest(".sr");
		}).map(e => e.tagName + "." + e.getAttribute("class") + " " + Math.round(e.getBoundingClientRect().right));
		const at = svg.getBoundingClientRect();
		const clipped = [...svg.querySelectorAll("text, rect")].filter(e => {
			const r = e.getBoundingClientRect();
			return r.right > at.right + 1 || r.left < at.left - 1 || r.bottom > at.bottom + 1 || r.top < at.top - 1;
		}).map(e => e.textContent);
		const boxes = [...svg.querySelectorAll(".state")].map(g => [g.textContent.trim().split(/\s/)[0], g.querySelector("rect").getBoundingClientRect()]);
		const crowded = [];
		for (const g of svg.querySelectorAll(".state")) {
			const box = g.querySelector("rect").getBoundingClientRect();
			for (const t of g.querySelectorAll("text.name, text.count, text.unread")) {
				const r = t.getBoundingClientRect();
				if (r.left < box.left || r.right > box.right) crowded.push(t.textContent);
			}
		}
		for (let i = 0; i < boxes.length; i++)
			for (let j = 0; j < i; j++) {
				const [a, r] = boxes[i], [b, s] = boxes[j];
				if (r.left < s.right && s.left < r.right && r.top < s.bottom && s.top < r.bottom) crowded.push(a + " on " + b);
			}
		seen.push({
			width, outside, clipped, crowded, states: boxes.length, drawn: Math.round(at.width),
			scroll: doc.documentElement.scrollWidth, styled: view.getComputedStyle(doc.querySelector(".head")).borderLeftWidth,
			title: doc.title, loaded: view.performance.getEntriesByType("resource").map(e => e.name),
		});
		if (seen.length == 3) document.body.innerHTML = "<pre>" + JSON.stringify(seen).replace(/&/g, "&amp;").replace(/</g, "&lt;") + "</pre>";
	};
	frame.src = "report.html";
	document.body.append(frame);
}
</script>`

// measured is what the probe says of one width.
type measured struct {
	Width, States, Drawn, Scroll      int
	Styled, Title                     string
	Outside, Clipped, Crowded, Loaded []string
}

// TestHTMLInBrowser opens the pages in a real browser: the style's hash is accepted by the page's own policy, nothing is loaded,
// nothing sticks out on a phone, and the picture's texts stay in their boxes.
func TestHTMLInBrowser(t *testing.T) {
	for _, name := range []string{"bad-night", "gaps", "hostile"} {
		dir := t.TempDir()
		page := write(t, "html", diagnoses()[name], report.Options{Tool: "0.1.0", RulesVersion: "0.1.0"})
		for file, text := range map[string]string{"report.html": page, "probe.html": probe} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		dom := chromium(t, dir, "--allow-file-access-from-files", "--virtual-time-budget=10000", "--dump-dom", "file://"+dir+"/probe.html")
		_, rest, _ := strings.Cut(dom, "<pre>")
		text, _, ok := strings.Cut(rest, "</pre>")
		var all []measured
		if err := json.Unmarshal([]byte(html.UnescapeString(text)), &all); err != nil || !ok || len(all) != 3 {
			t.Fatalf("%s: %v\n%s", name, err, dom)
		}
		for _, m := range all {
			if len(m.Outside)+len(m.Clipped)+len(m.Crowded)+len(m.Loaded) > 0 || m.Scroll > m.Width {
				t.Errorf("%s, %d wide: %+v", name, m.Width, m)
			}
			if m.States < 10 || m.Drawn < min(m.Width, 520)*7/10 || m.Styled != "6px" || !strings.HasPrefix(m.Title, "tcpadvise: ") {
				t.Errorf("%s, %d wide: the page is not drawn: %+v", name, m.Width, m)
			}
		}
		pdf := filepath.Join(dir, "report.pdf")
		chromium(t, dir, "--print-to-pdf="+pdf, "file://"+dir+"/report.html")
		if data, err := os.ReadFile(pdf); err != nil || len(data) < 10_000 {
			t.Errorf("%s: printed: %d bytes, %v", name, len(data), err)
		}
	}
}

// chromium runs the browser without a window, and fails the test for what it says against the page.
func chromium(t *testing.T, home string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	all := append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir=" + filepath.Join(home, "profile"), "--enable-logging=stderr"}, args...)
	cmd := exec.CommandContext(ctx, "chromium", all...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	for line := range strings.Lines(said.String()) {
		if strings.Contains(line, ":CONSOLE") {
			t.Errorf("the browser complains: %s", line)
		}
	}
	return string(out)
}
