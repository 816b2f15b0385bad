package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tcpadvise/tcpadvise/advisor"
	"github.com/tcpadvise/tcpadvise/advisor/internal/conf"
)

// FileOptions say how files are read that are judged alone.
type FileOptions struct {
	As        string // type of the files named; empty: by path, then by content
	Kernel    string // release to judge for; empty: the newest that the catalogue knows
	Catalogue *advisor.Catalogue
}

// fileType is a kind of configuration file that can be judged alone.
type fileType struct {
	name  string
	path  func(path string) bool                                             // the path says it
	text  func(name string, data []byte, f *Files, named bool) bool          // the content says it
	facts func(name string, data []byte, f *Files) ([]*advisor.Facts, error) // what the file says: one or more, each for hosts of its own; or why it is broken
}

func fileTypes() []fileType {
	return []fileType{
		{"sysctl", isSysctlPath, looksLikeSysctl, sysctlFacts},
		{"ansible", isAnsiblePath, yamlText(isAnsible, meantAsAnsible), yamlFacts(findAnsible)},
		{"compose", isComposePath, yamlText(isCompose, meantAsCompose), yamlFacts(findCompose)},
		{"k8s", never, yamlText(isKubernetes, meantAsKubernetes), yamlFacts(findKubernetes)},
		{"tuned", isTunedPath, looksLikeTuned, tunedFacts},
		{"server.xml", never, looksLikeTomcat("Server", "<Service"), tomcatFacts("Server")},
		{"context.xml", never, looksLikeTomcat("Context", "<Resource"), tomcatFacts("Context")},
		{"activemq.xml", never, looksLikeActiveMQ, activemqFacts},
		{"unit", isUnitPath, looksLikeUnit, unitFacts},
		{"limits", isLimitsPath, looksLikeLimits, limitsFacts},
		{"nginx", isNginxPath, looksLikeNginx, nginxFacts},
		{"spring", isSpringPath, looksLikeSpring, springFacts},
	}
}

func never(string) bool { return false }

// FileTypes are the names that FileOptions.As takes.
func FileTypes() []string {
	var names []string
	for _, t := range fileTypes() {
		names = append(names, t.name)
	}
	return names
}

// Files is a set of configuration files, each of which is judged alone: they need not belong to one host.
type Files struct {
	operands []string
	stdin    io.Reader
	options  FileOptions
	tree     *dirTree
	readings *readings // what the files held
	gaps     []advisor.Gap
	passed   int                        // files inside directories that are of no known type
	within   string                     // the directory operand that is being judged; empty: none
	parsed   *parsedYAML                // the last file, between its recognition and its judgement
	beside   map[string][]*embeddedFile // variables by directory, while within is judged
	judged   map[place]bool             // values of other files that a file led to: they are judged once
}

// place is where the value of a key stands.
type place struct {
	file string
	at   int
	key  string
}

// fileLimit bounds one file.
const fileLimit = 64 << 20

// OpenFiles names the files and directories to judge; "-" is standard input.
func OpenFiles(operands []string, stdin io.Reader, o FileOptions) *Files {
	return &Files{operands: operands, stdin: stdin, options: o, tree: &dirTree{root: "/"}, readings: newReadings(false)}
}

// Host is the identity that stands in for a host.
func (f *Files) Host() advisor.Host {
	kernel := f.options.Kernel
	if kernel == "" {
		kernel = f.options.Catalogue.Newest().String()
	}
	return advisor.Host{Kernel: kernel, Source: "files"}
}

// Gaps are the operands, and files inside directories, that could not be read or recognised. They are complete once Facts
// was walked to its end.
func (f *Files) Gaps() []advisor.Gap {
	gaps := f.gaps
	if f.passed > 0 {
		gaps = append(slices.Clone(gaps), advisor.Gap{
			Source: "directories", Notice: true,
			Why: fmt.Sprintf("%d files of no known type were passed over", f.passed),
		})
	}
	return gaps
}

func (f *Files) gap(name, format string, args ...any) {
	f.gaps = append(f.gaps, advisor.Gap{Source: name, Why: fmt.Sprintf(format, args...)})
}

// Facts yields the facts of one file after the other; a file that cannot be read is a gap, and the others go on.
func (f *Files) Facts(ctx context.Context) iter.Seq[*advisor.Facts] {
	return func(yield func(*advisor.Facts) bool) {
		for _, name := range f.operands {
			if ctx.Err() != nil {
				f.gap(name, "not judged: interrupted")
				continue
			}
			if !f.operand(ctx, name, yield) {
				return
			}
		}
	}
}

func (f *Files) operand(ctx context.Context, name string, yield func(*advisor.Facts) bool) bool {
	if name == "-" {
		data, err := io.ReadAll(io.LimitReader(f.stdin, fileLimit+1))
		switch {
		case err != nil:
			f.gap("-", "standard input cannot be read: %v", err)
			return true
		case len(data) > fileLimit:
			f.gap("-", "standard input is longer than %s", advisor.FormatBytes(fileLimit))
			return true
		}
		return f.judge("-", data, true, yield)
	}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.gap(name, "no such file or directory")
	case err != nil:
		f.gap(name, "cannot be read: %v", errors.Unwrap(err))
	case info.IsDir():
		return f.directory(ctx, name, yield)
	default:
		return f.file(name, true, yield)
	}
	return true
}

// file reads and judges one file; named says that it is an operand itself.
func (f *Files) file(name string, named bool, yield func(*advisor.Facts) bool) bool {
	absolute, err := filepath.Abs(name)
	if err != nil {
		f.gap(name, "%v", err)
		return true
	}
	data, err := f.tree.read(absolute, fileLimit)
	switch {
	case errors.Is(err, errNotRegular):
		f.gap(name, "is no regular file")
	case errors.Is(err, errTooLarge):
		f.gap(name, "is larger than %s", advisor.FormatBytes(fileLimit))
	case errors.Is(err, fs.ErrPermission):
		f.gap(name, "permission denied: run as a user who may read it")
	case err != nil:
		f.gap(name, "cannot be read: %v", err)
	default:
		f.readings.note(name, data, data)
		return f.judge(name, data, named, yield)
	}
	return true
}

// judge recognises a file and yields its facts. Inside a directory what is not recognised is passed over, and counted.
func (f *Files) judge(name string, data []byte, named bool, yield func(*advisor.Facts) bool) bool {
	t, ok := f.recognise(name, data, named)
	switch {
	case !ok && named:
		f.gap(name, "of no known type: name it with --as %s", strings.Join(FileTypes(), "|"))
	case !ok:
		f.passed++
	default:
		facts, err := t.facts(name, data, f)
		var broken *brokenFile
		if errors.As(err, &broken) {
			f.broken(name, named, broken)
		}
		for _, one := range facts {
			if !yield(one) {
				return false
			}
		}
	}
	return true
}

func (f *Files) recognise(name string, data []byte, named bool) (fileType, bool) {
	types := fileTypes()
	for _, t := range types {
		if t.name == f.options.As && named {
			return t, true
		}
	}
	for _, t := range types {
		if t.path(name) && (named || !holdsSysctls(t.name) || maySet(data)) {
			return t, true
		}
	}
	for _, t := range types {
		if t.text(name, data, f, named) {
			return t, true
		}
	}
	return fileType{}, false
}

// holdsSysctls names the types of which only files that set kernel parameters are judged inside a directory.
func holdsSysctls(name string) bool {
	return slices.Contains([]string{"ansible", "compose", "k8s", "tuned"}, name)
}

// directory judges the files in and below a directory, in order of name. Links to directories are not followed, so no
// cycle is walked; what cannot be listed is a gap.
func (f *Files) directory(ctx context.Context, dir string, yield func(*advisor.Facts) bool) bool {
	goOn := true
	f.within = filepath.Clean(dir)
	defer func() { f.within, f.beside, f.judged = "", nil, nil }()
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			f.gap(name, "cannot be read: %v", err)
		case e.IsDir():
			if e.Name() == ".git" {
				return fs.SkipDir
			}
		case e.Type().IsRegular(), e.Type()&fs.ModeSymlink != 0 && f.leadsToFile(name):
			if goOn = f.file(name, false, yield); !goOn {
				return fs.SkipAll
			}
		default:
			f.passed++
		}
		return nil
	})
	if err != nil {
		f.gap(dir, "not judged to its end: %v", err)
	}
	return goOn
}

func (f *Files) leadsToFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

func isSysctlPath(path string) bool {
	base := withoutTemplateSuffix(path)
	return isCalled(base, "sysctl.conf") || strings.HasSuffix(base, ".conf") && filepath.Base(filepath.Dir(path)) == "sysctl.d"
}

// isCalled reports whether a file has a name, perhaps with something before it: "web-sysctl.conf", "10_limits.conf".
func isCalled(base, name string) bool {
	before, ok := strings.CutSuffix(base, name)
	return ok && (before == "" || strings.ContainsAny(before[len(before)-1:], "-_."))
}

// looksLikeSysctl reports whether most lines that say something assign known kernel parameters.
func looksLikeSysctl(_ string, data []byte, f *Files, _ bool) bool {
	if len(data) > 1<<20 || bytes.IndexByte(data, 0) >= 0 || hasLine(data, "[sysctl]") {
		return false
	}
	if markers := conf.Markers(data); len(markers) > 0 {
		data = conf.HideMarkers(data, markers, 0)
	}
	file := conf.ParseSysctl(data)
	known, other := 0, 0
	for i, line := range file.Lines {
		switch line.Kind {
		case conf.SysctlAssignment, conf.SysctlExclusion:
			if line.Defects&conf.SysctlBlankInKey == 0 && f.options.Catalogue.Known(file.Key(i)) {
				known++
			} else {
				other++
			}
		case conf.SysctlMalformed:
			other++
		}
	}
	return known > other
}

// sysctlFacts is what a sysctl file says when it is judged alone. No kernel runs and no host is there: that is knowledge.
func sysctlFacts(name string, data []byte, f *Files) ([]*advisor.Facts, error) {
	absolute, err := filepath.Abs(name)
	if err != nil {
		absolute = name
	}
	data = maskSecrets(absolute, data)
	var s settings
	if markers := conf.Markers(data); len(markers) > 0 || isTemplate(name) {
		s = sysctlTemplate(name, data, markers, f)
	} else {
		s = settings{load: loadText(name, data), catalogue: f.options.Catalogue, exists: noHost}
		s.sources = s.load.Files
	}
	var b advisor.Builder
	if release, ok := s.printed(); ok {
		s.readings = true
		s.lists = apart(len(s.load.All)) // a value of several lines is printed as the key several times
		b.Set("kernel.version", printedBy(release))
	}
	if !s.readings || f.options.Kernel != "" {
		setKernel(&b, Options{Kernel: f.options.Kernel, Catalogue: f.options.Catalogue})
	}
	s.record(&b)
	return []*advisor.Facts{b.Facts()}, nil
}

// printedBy is the kernel whose values were printed: judged for another one, its own defaults would be findings.
func printedBy(release sysctlAssignment) advisor.Fact {
	if v, err := advisor.ParseVersion(release.Value); err == nil {
		return advisor.Known(advisor.Tuple(v[:]...), origin(release))
	}
	return advisor.Unknown("the output of sysctl -a does not name its kernel: use --kernel", advisor.Origin{})
}
