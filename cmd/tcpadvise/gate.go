package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/pflag"

	"github.com/tcpadvise/tcpadvise/advisor"
)

// defaultConfig is read where --config does not name another; it need not exist.
const defaultConfig = "/etc/tcpadvise/config.yaml"

// configuration is what the user has configured.
func (in *input) configuration() (*advisor.Config, error) {
	switch {
	case in.inlineConfig == nil:
		return readConfig(in.config)
	case in.config != "":
		return nil, errors.New("config and configuration exclude each other")
	}
	return advisor.LoadConfig("configuration", in.inlineConfig)
}

// readConfig reads the user's configuration; an empty name stands for the default place.
func readConfig(name string) (*advisor.Config, error) {
	path := name
	if path == "" {
		path = defaultConfig
	}
	data, err := readSmall(path)
	if name == "" && errors.Is(err, fs.ErrNotExist) {
		return &advisor.Config{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("configuration %w", err)
	}
	return advisor.LoadConfig(path, data)
}

// maxSmall bounds configurations and baselines.
const maxSmall = 16 << 20

// readSmall reads a regular file of reasonable size: a FIFO would never end.
func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, errors.Unwrap(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	if info.Size() > maxSmall {
		return nil, fmt.Errorf("%s is larger than %s", path, advisor.FormatBytes(maxSmall))
	}
	return os.ReadFile(path)
}

// gate is the flags by which only new findings count.
type gate struct{ baseline, writeBaseline string }

func (g *gate) register(f *pflag.FlagSet) {
	f.StringVar(&g.baseline, "baseline", "", "let only findings count that `FILE` does not know")
	f.StringVar(&g.writeBaseline, "write-baseline", "", "record the findings of this run in `FILE`")
}

func (g *gate) read() (*advisor.Baseline, error) {
	if g.baseline == "" {
		return nil, nil
	}
	data, err := readSmall(g.baseline)
	if err != nil {
		return nil, fmt.Errorf("baseline %w", err)
	}
	b, err := advisor.ParseBaseline(g.baseline, data)
	return &b, err
}

func (g *gate) write(d *advisor.Diagnosis) error {
	if g.writeBaseline == "" {
		return nil
	}
	data, err := json.MarshalIndent(advisor.NewBaseline(d), "", "  ")
	if err != nil {
		return err
	}
	return writeFile(g.writeBaseline, func(w io.Writer) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
}
