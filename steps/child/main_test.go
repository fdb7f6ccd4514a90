package child

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary plays the children: with modeVar it does what roles says.
const modeVar = "CHILD_TEST_MODE"

func TestMain(m *testing.M) {
	if mode := os.Getenv(modeVar); mode != "" {
		roles[mode](os.Args[1:])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var roles = map[string]func(args []string){
	"exit":  func(args []string) { os.Exit(atoi(args[0])) },
	"print": func(args []string) { fmt.Print(args[0]) },
	"both": func(args []string) {
		for i := range atoi(args[0]) {
			fmt.Fprint(os.Stdout, "o", i, " ")
			fmt.Fprint(os.Stderr, "e", i, " ")
		}
	},
	"environ": func([]string) { fmt.Print(strings.Join(os.Environ(), "\n")) },
	"stdin":   func([]string) { b, err := io.ReadAll(os.Stdin); fmt.Print(len(b), " ", err) },
	"tty":     func([]string) { _, err := os.Open("/dev/tty"); fmt.Print(err) },
	"group":   func([]string) { sid, _ := unix.Getsid(0); fmt.Print(os.Getpid() == unix.Getpgrp(), os.Getpid() == sid) },
	"block":   func([]string) { fmt.Print("pid ", os.Getpid(), "\n"); block() },
	"ignore": func([]string) {
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
		fmt.Print("ready\n")
		block()
	},
	"report": func([]string) {
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
		fmt.Print("ready\n")
		fmt.Print("got ", unix.SignalName((<-c).(syscall.Signal)))
		os.Exit(7)
	},
	"stopped": func([]string) { fmt.Print("ready\n"); _ = syscall.Kill(os.Getpid(), syscall.SIGSTOP); block() },
	"flood": func(args []string) {
		part := []byte(strings.Repeat("x", 1<<20))
		for range atoi(args[0]) {
			if _, err := os.Stdout.Write(part); err != nil {
				os.Exit(9)
			}
		}
	},
	"tick": func(args []string) {
		for range atoi(args[0]) {
			fmt.Print(".")
			time.Sleep(50 * time.Millisecond)
		}
	},
	"eat":          func(args []string) { eat(atoi(args[0])) },
	"run":          runRole,
	"eat-too-much": tooMuchRole,
	"leak":         leak,
	"stay":         func(args []string) { leak(args); fmt.Print("leaked\n"); block() },
	"double":       func(args []string) { again("daemon", args, os.Environ(), true) },
	"daemon":       daemon,
	// A helper that ends soon after its parent, as Python's resource tracker does.
	"linger": func([]string) { again("late", nil, os.Environ(), true) },
	"late":   func([]string) { time.Sleep(30 * time.Millisecond) },
}

func atoi(s string) int { n, _ := strconv.Atoi(s); return n }

func block() { select {} }

// leak leaves a daemon behind: setsid and double fork. It ends when the daemon
// is there. Its arguments are the daemon's, then "clean" for no environment.
func leak(args []string) {
	env := os.Environ()
	if args[len(args)-1] == "clean" {
		env = nil
	}
	again("double", args, env, true)
	for {
		if b, err := os.ReadFile(args[0]); err == nil && len(b) > 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// daemon writes its id into a file and stays. It holds its parents' stdout open.
func daemon(args []string) {
	if args[1] == "stubborn" {
		signal.Ignore(syscall.SIGTERM)
	}
	_ = os.WriteFile(args[0]+".tmp", fmt.Append(nil, os.Getpid()), 0o600)
	_ = os.Rename(args[0]+".tmp", args[0])
	block()
}

// again starts this program anew in a session of its own and does not wait.
func again(mode string, args, env []string, setsid bool) {
	c := exec.Command(exe(), args...)
	c.Env = append(env, modeVar+"="+mode, norace)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: setsid}
	if err := c.Start(); err != nil {
		panic(err)
	}
}

func exe() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

// eat keeps n MiB in memory for good.
func eat(n int) {
	var all [][]byte
	for range n {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = 1
		}
		all = append(all, b)
	}
	fmt.Print("ate ", len(all))
}
