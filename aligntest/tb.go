package aligntest

import (
	"fmt"
	"strings"
	"testing"
)

// logWriter writes lines to the test's log until the server is closed: afterwards a test would panic.
type logWriter struct{ s *Server }

func (w logWriter) Write(line []byte) (int, error) {
	if w.s.join() {
		defer w.s.running.Done()
		w.s.t.Log(strings.TrimSuffix(string(line), "\n"))
	}
	return len(line), nil
}

// exampleTB stands for the t that an example function does not have.
type exampleTB struct{ testing.TB }

func (exampleTB) Helper()                           {}
func (exampleTB) Cleanup(func())                    {}
func (exampleTB) Log(...any)                        {}
func (exampleTB) Logf(string, ...any)               {}
func (exampleTB) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (exampleTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
