package advisor

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tcpadvise/tcpadvise/rules"
)

// TestChineseAgrees holds each rule's Chinese against its English: the same placeholders but for the words in them, the same
// numbers, the same names of parameters, states and flags.
func TestChineseAgrees(t *testing.T) {
	set, err := Load(rules.FS)
	if err != nil {
		t.Fatal(err)
	}
	translated := map[string]int{}
	for _, r := range set.Rules {
		body := r.Translated()
		area, _, _ := strings.Cut(r.ID, "/")
		if body.Zh == nil {
			if slices.Contains([]string{"close-wait", "time-wait", "unsafe"}, area) {
				t.Errorf("%s has no Chinese text", r.ID)
			}
			continue
		}
		translated[area]++
		agree := func(what, en, zh string) {
			t.Helper()
			if fault := disagreement(en, zh); fault != "" {
				t.Errorf("%s, zh %s: %s\n  %s\n  %s", r.ID, what, fault, en, zh)
			}
		}
		agree("title", body.Title, body.Zh.Title)
		agree("why", body.Why, body.Zh.Why)
		agree("unless", body.Unless, body.Zh.Unless)
		agree("says", body.text.says.source, body.zh.says.source)
		for name, lists := range map[string][2][]*template{
			"do": {body.text.do, body.zh.do}, "dont": {body.text.dont, body.zh.dont}, "notes": {body.text.notes, body.zh.notes},
		} {
			for i := range min(len(lists[0]), len(lists[1])) { // the loader compares the lengths
				agree(fmt.Sprintf("%s %d", name, i+1), lists[0][i].source, lists[1][i].source)
			}
		}
	}
	if translated["close-wait"] < 9 || translated["time-wait"] < 7 || translated["unsafe"] < 15 {
		t.Errorf("translated: %v", translated)
	}
}

func TestDisagreement(t *testing.T) {
	const en = `{a > 0 ? fill("% of 3 in a_b", x) : "none"} on :{port} for 5 s, --deep`
	for zh, want := range map[string]string{
		`{port} 上 {a > 0 ? fill("a_b 的 3 个中 % 个", x) : "无"}，--deep，5 s`: "",
		`{port} 上 {a > 1 ? fill("a_b 的 3 个中 % 个", x) : "无"}，--deep，5 s`: "placeholder",
		`{port} 上 {a > 0 ? fill("a_b 的 3 个", x) : "无"}，--deep，5 s`:      "placeholder",
		`{port} 上 {a > 0 ? fill("a_b 的 % 个", x) : "无"}，--deep，5 s`:      "number",
		`{port} 上 {a > 0 ? fill("a_c 的 3 个中 % 个", x) : "无"}，--deep，5 s`: "name",
		`{port} 上 {a > 0 ? fill("a_b 的 3 个中 % 个", x) : "无"}，5 s`:        "name",
		`{a > 0 ? fill("a_b 的 3 个中 % 个", x) : "无"}，--deep，5 s`:          "placeholder",
	} {
		if got := disagreement(en, zh); !strings.HasPrefix(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: %q, want %q", zh, got, want)
		}
	}
}

var (
	numberForm = regexp.MustCompile(`\d+(\.\d+)*`)
	nameForm   = regexp.MustCompile(`[A-Za-z0-9]+(?:_[A-Za-z0-9*]+)+|(?:^|\s|，|（)--?[A-Za-z][A-Za-z-]*`)
	stringForm = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|[^"]+`)
	beforeWord = regexp.MustCompile(`(\?|:|fill\()\s*$`)
)

// disagreement says in what two texts of the same meaning differ that must not.
func disagreement(en, zh string) string {
	enWords, enPlaces := wordsAndPlaces(en)
	zhWords, zhPlaces := wordsAndPlaces(zh)
	numbers := func(s string) []string { return slices.Sorted(slices.Values(numberForm.FindAllString(s, -1))) }
	names := func(s string) []string {
		found := nameForm.FindAllString(s, -1)
		for i := range found {
			found[i] = strings.TrimLeft(found[i], " \n，（")
		}
		return slices.Compact(slices.Sorted(slices.Values(found)))
	}
	switch {
	case !slices.Equal(enPlaces, zhPlaces):
		return fmt.Sprintf("placeholders %q, want %q", zhPlaces, enPlaces)
	case !slices.Equal(numbers(enWords), numbers(zhWords)):
		return fmt.Sprintf("numbers %q, want %q", numbers(zhWords), numbers(enWords))
	case !slices.Equal(names(enWords), names(zhWords)):
		return fmt.Sprintf("names %q, want %q", names(zhWords), names(enWords))
	}
	return ""
}

// wordsAndPlaces parts what a text says in words, those within placeholders too, from the placeholders, in which each piece of
// words is reduced to its marks of fill().
func wordsAndPlaces(text string) (words string, places []string) {
	for {
		before, rest, found := strings.Cut(text, "{")
		words += before
		if !found {
			slices.Sort(places)
			return words, places
		}
		inside, after, _ := strings.Cut(rest, "}")
		var place, last string
		for _, token := range stringForm.FindAllString(inside, -1) {
			if token[0] == '"' && beforeWord.MatchString(last) {
				words += " " + token + " "
				token = strings.Repeat("%", strings.Count(token, "%"))
			}
			place, last = place+token, token
		}
		places = append(places, strings.Join(strings.Fields(place), " "))
		text = after
	}
}
