package junit

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// Coverage reads how many percent of the lines were covered from a Cobertura
// report. It is nil when there was no line to cover: such a report claims 100 %.
func Coverage(path string) (*float64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := readAll(f)
	if err != nil {
		return nil, err
	}
	d := xml.NewDecoder(bytes.NewReader(text))
	var root *xml.StartElement
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("it is not well-formed: %w", err)
		}
		if start, ok := token.(xml.StartElement); ok && root == nil {
			start = start.Copy()
			root = &start
		}
	}
	if root == nil || root.Name.Local != "coverage" {
		return nil, errors.New("it is no coverage report")
	}
	return percent(root.Attr)
}

func percent(attrs []xml.Attr) (*float64, error) {
	valid, err := strconv.Atoi(get(attrs, "lines-valid"))
	if err != nil {
		return nil, errors.New("it does not say how many lines there are (lines-valid)")
	}
	covered, err := strconv.Atoi(get(attrs, "lines-covered"))
	if err != nil || covered < 0 || covered > valid {
		return nil, fmt.Errorf("its lines-covered is %q of %d", get(attrs, "lines-covered"), valid)
	}
	if valid == 0 {
		return nil, nil
	}
	p := 100 * float64(covered) / float64(valid)
	return &p, nil
}
