package host

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// springJar is what a jar or war that Spring Boot packed tells of itself.
type springJar struct {
	boot      string            // Spring-Boot-Version of its manifest; empty: it is none of Spring Boot's
	libraries map[string]string // versions of those that matter, by name: tomcat-embed-core, HikariCP
	files     map[string][]byte // its application.properties and .yaml, masked, by path within the class path
}

// The limits of a jar. Those of shaded giants have 100,000 entries of some 100 bytes in their directory.
const (
	jarSizeLimit      = 4 << 30
	jarDirectoryLimit = 32 << 20
	jarFileLimit      = 1 << 20 // each of the few files read
	jarFilesLimit     = 100
)

var (
	springClasses = regexp.MustCompile(`^(?:BOOT-INF|WEB-INF)/classes/((?:config/)?[^/]+\.(?:properties|ya?ml))$`)
	springLibrary = regexp.MustCompile(`^(?:BOOT-INF|WEB-INF)/lib(?:-provided)?/(tomcat-embed-core|HikariCP)-([0-9][\w.-]*)\.jar$`)
	bootVersion   = regexp.MustCompile(`(?m)^Spring-Boot-Version: *([0-9][\w.-]*)`)
)

// readSpringJar reads a jar of the live machine through the tree, so that a capture holds what was taken out of it.
func readSpringJar(t tree, file string) (*springJar, error) {
	jar := &springJar{libraries: map[string]string{}, files: map[string][]byte{}}
	err := t.ask("springboot"+file, func(emit func([]byte) error) error { return walkSpringJar(file, emit) }, jar.piece)
	return jar, err
}

// piece takes "boot VERSION", "library NAME VERSION" or "file PATH", and behind the line the file.
func (j *springJar) piece(b []byte) error {
	line, content, ok := bytes.Cut(b, []byte{'\n'})
	f := strings.SplitN(string(line), " ", 2)
	if !ok || len(f) != 2 {
		return fmt.Errorf("record of a jar %q", line)
	}
	switch f[0] {
	case "boot":
		j.boot = f[1]
	case "library":
		name, version, _ := strings.Cut(f[1], " ")
		j.libraries[name] = version
	case "file":
		j.files[f[1]] = slices.Clone(content)
	}
	return nil
}

func walkSpringJar(file string, emit func([]byte) error) error {
	fd, err := unix.Open(file, readFlags, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), file)
	defer f.Close()
	if err := fstatRegular(fd); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := boundedDirectory(f, info.Size()); err != nil {
		return err
	}
	z, err := zip.NewReader(f, info.Size())
	if err != nil {
		return errors.New("is no jar that can be read")
	}
	boot := ""
	for _, entry := range z.File {
		if entry.Name == "META-INF/MANIFEST.MF" {
			text, err := readJarEntry(entry)
			if m := bootVersion.FindSubmatch(text); err == nil && m != nil {
				boot = string(m[1])
			}
		}
	}
	if boot == "" {
		return nil
	}
	if err := emit([]byte("boot " + boot + "\n")); err != nil {
		return err
	}
	return emitSpringEntries(z, emit)
}

func emitSpringEntries(z *zip.Reader, emit func([]byte) error) error {
	read := 0
	for _, entry := range z.File {
		if m := springLibrary.FindStringSubmatch(entry.Name); m != nil {
			if err := emit([]byte("library " + m[1] + " " + m[2] + "\n")); err != nil {
				return err
			}
		}
		m := springClasses.FindStringSubmatch(entry.Name)
		if m == nil || !isSpringPath(m[1]) {
			continue
		}
		if read++; read > jarFilesLimit {
			return fmt.Errorf("more than %d files application*.yml: %w", jarFilesLimit, errTooLarge)
		}
		text, err := readJarEntry(entry)
		if err != nil {
			return fmt.Errorf("%s: %w", entry.Name, err)
		}
		if err := emit(append([]byte("file "+m[1]+"\n"), maskSecrets(m[1], text)...)); err != nil {
			return err
		}
	}
	return nil
}

// readJarEntry unpacks one file; its length in the directory may lie.
func readJarEntry(entry *zip.File) ([]byte, error) {
	r, err := entry.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, jarFileLimit+1))
	if len(text) > jarFileLimit {
		return nil, errTooLarge
	}
	return text, err
}

// boundedDirectory looks at the end of a zip file, where its directory's size stands, before archive/zip reads all of it
// (APPNOTE 4.3.16; of the larger kind of 4.3.14 the smaller record says that it does not say).
func boundedDirectory(f io.ReaderAt, size int64) error {
	const record, comment = 22, 64 << 10
	if size > jarSizeLimit {
		return errTooLarge
	}
	tail := make([]byte, min(size, record+comment))
	if _, err := f.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	n := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if n < 0 || n+record > len(tail) {
		return errors.New("is no jar that can be read")
	}
	if binary.LittleEndian.Uint32(tail[n+12:]) > jarDirectoryLimit {
		return errTooLarge
	}
	return nil
}

var springBase = regexp.MustCompile(`^(?:application|bootstrap)(?:-[\w.@-]+)?\.(?:properties|ya?ml)$`)

// isSpringPath says by its name that a file is Spring Boot's.
func isSpringPath(name string) bool {
	return springBase.MatchString(withoutTemplateSuffix(path.Base(name)))
}
