package notebook

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
)

// Launcher is the Python program that runs papermill and writes an Outcome. Its
// arguments are the outcome's path and papermill's own arguments.
//
//go:embed launch.py
var Launcher []byte

// Outcome is what Launcher saw of papermill and the kernel. Cells are indexes in
// the list of cells that papermill ran.
type Outcome struct {
	// Error is the qualified name of the Python exception that ended papermill,
	// "" when none did; Message is its text.
	Error   string `json:"error"`
	Message string `json:"message"`
	// MissingTool says that papermill itself could not be imported.
	MissingTool bool `json:"missing_tool"`
	// UnansweredCell was given to the kernel, which never replied.
	UnansweredCell *int `json:"unanswered_cell"`
	// AskedExitCell has asked the kernel to end, as exit() does.
	AskedExitCell *int `json:"asked_exit_cell"`
	// ErrorReplies are the cells to which the kernel replied with an error.
	ErrorReplies []ErrorReply `json:"error_replies"`
	// KernelExit is a dead kernel's exit code, -n when signal n ended it, nil when
	// it is not known.
	KernelExit *int `json:"kernel_exit"`
}

// ErrorReply is a kernel's word on a cell that raised.
type ErrorReply struct {
	Cell  int    `json:"cell"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

// ReadOutcome reads what Launcher wrote; nil and no error when it wrote nothing,
// because it was killed.
func ReadOutcome(path string) (*Outcome, error) {
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var o Outcome
	if err := json.Unmarshal(b, &o); err != nil {
		return nil, fmt.Errorf("outcome of papermill: %w", err)
	}
	return &o, nil
}
