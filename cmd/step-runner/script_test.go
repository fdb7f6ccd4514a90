package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/tidwall/gjson"
)

func TestMain(m *testing.M) {
	// A step that starts this program again must not start the tests again.
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		main()
	}
	testscript.Main(m, map[string]func(){"step-runner": main})
}

// TestScripts runs testdata/script: arguments and environment on one side, exit
// code, output and files on the other. Besides testscript's own commands:
//
//	code N CMD…          CMD must exit with N
//	json .path value     stdout of the last command is JSON with this value
//	setting NAME value source   stdout is that of config --json with this line
//	record STEP .path value   so is the record of a step, 3-papermill, in run $RUN of $WS
//	waitfor FILE         waits until the file is there
//
// A value of "-" says that there is none; `! json` and `! record` that it differs.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "..", "testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("WS", filepath.Join(e.WorkDir, "ws"))
			e.Setenv("RUN", "r")
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "mounts": // A file system can be mounted where only the command sees it.
				return exec.Command("unshare", "-rm", "true").Run() == nil, nil
			case "gpu":
				_, err := os.Stat("/dev/nvidiactl")
				return err == nil, nil
			}
			return false, nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"code":   expectCode,
			"json":   expectJSON,
			"record": expectRecord,
			"waitfor": func(ts *testscript.TestScript, _ bool, args []string) {
				for _, err := os.Stat(ts.MkAbs(args[0])); err != nil; _, err = os.Stat(ts.MkAbs(args[0])) {
					time.Sleep(10 * time.Millisecond)
				}
			},
			"setting": func(ts *testscript.TestScript, neg bool, args []string) {
				if len(args) != 3 {
					ts.Fatalf("usage: setting NAME value source")
				}
				line := fmt.Sprintf(`#(name=="%s").`, args[0])
				expect(ts, neg, ts.ReadFile("stdout"), line+"value", args[1])
				expect(ts, neg, ts.ReadFile("stdout"), line+"source", args[2])
			},
		},
	})
}

func expectCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N CMD [ARG]…")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if err != nil {
		code = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, want %s\n%s", code, args[0], ts.ReadFile("stderr"))
	}
}

func expectJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: json .path value")
	}
	expect(ts, neg, ts.ReadFile("stdout"), args[0], args[1])
}

func expectRecord(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: record STEP .path value")
	}
	path := filepath.Join(ts.Getenv("WS"), "runs", ts.Getenv("RUN"), "records", args[0]+".json")
	b, err := os.ReadFile(path)
	ts.Check(err)
	expect(ts, neg, string(b), args[1], args[2])
}

func expect(ts *testscript.TestScript, neg bool, text, path, want string) {
	if !gjson.Valid(text) {
		ts.Fatalf("not JSON:\n%s", text)
	}
	got := "-"
	if r := gjson.Get(text, strings.TrimPrefix(path, ".")); r.Exists() {
		if got = r.String(); r.IsObject() || r.IsArray() {
			got = r.Get("@ugly").Raw
		}
	}
	if (got == want) == neg {
		ts.Fatalf("%s is %q, expected %q (negated: %t) in\n%s", path, got, want, neg, text)
	}
}
