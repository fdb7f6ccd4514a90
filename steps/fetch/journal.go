package fetch

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/step-runner/step-runner/artifacts"
)

// journal lists beside a file that is being fetched which of its blocks are
// there: a line of JSON that says what the file is, then "BLOCK CRC" for each. A
// block that a crash of the machine has lost has another checksum than its line.
type journal struct {
	header journalHeader
	sums   map[int]uint32
}

type journalHeader struct {
	Version version `json:"version"`
	Block   int64   `json:"block"`
}

// parseJournal reads what there is: a kill may have cut the last line, and a
// crash may have left anything. Lines that make no sense are left out.
func parseJournal(data []byte) (journal, bool) {
	j := journal{sums: map[int]uint32{}}
	lines := bufio.NewScanner(bytes.NewReader(data))
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &j.header) != nil || j.header.Block <= 0 {
		return j, false
	}
	for lines.Scan() {
		var i int
		var sum uint32
		text := lines.Text()
		if _, err := fmt.Sscanf(text, "%d %x", &i, &sum); err == nil && i >= 0 && text == journalLine(i, sum) {
			j.sums[i] = sum
		}
	}
	return j, true
}

func journalLine(i int, sum uint32) string { return fmt.Sprintf("%d %08x", i, sum) }

// open writes the journal anew, so that new lines follow whole ones, and opens
// it for them.
func (j journal) open(path string) (*os.File, error) {
	err := artifacts.WriteAtomic(path, 0o664, func(w io.Writer) error {
		if err := json.NewEncoder(w).Encode(j.header); err != nil {
			return err
		}
		for i, sum := range j.sums {
			if _, err := fmt.Fprintln(w, journalLine(i, sum)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
}
