package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestBackupWhileAppendingIsWholeAndOpens(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, filepath.Join(dir, "align.db"))
	for n := range 100 {
		appendBatch(t, s, oneMessage(fmt.Sprint("before", n), int32(n+1)))
	}
	stop, appended := make(chan struct{}), make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				appended <- n
				return
			default:
			}
			if _, err := s.Append(t.Context(), "shop", oneMessage(fmt.Sprint("during", n), int32(1000+n))); err != nil {
				t.Error(err)
			}
		}
	}()
	file := filepath.Join(dir, "it's a backup.db")
	err := s.Backup(t.Context(), file)
	close(stop)
	during := <-appended
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the backup: %v, %v; want it to be its owner's alone", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".backup-*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
	b := openTest(t, file)
	got := totals(t, b)
	if got.Facts < 100 || got.Facts > 100+during || got.Messages != got.Facts {
		t.Errorf("the backup has %d facts and %d messages, want those of one moment, 100 to %d", got.Facts, got.Messages, 100+during)
	}
	appendBatch(t, b, oneMessage("after", 1))
}

func TestBackupReplacesNothing(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, filepath.Join(dir, "align.db"))
	file := filepath.Join(dir, "there")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), file); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Backup onto a file: %v, want ErrExist", err)
	}
	if content, _ := os.ReadFile(file); string(content) != "mine" {
		t.Error("the file was changed")
	}
	if err := s.Backup(t.Context(), filepath.Join(dir, "no", "folder")); err == nil {
		t.Error("Backup into a folder that is not there returned no error")
	}
}
