package server

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// checkCertificateEvery is how often the files of a certificate are looked at, while clients connect.
const checkCertificateEvery = 10 * time.Second

// TLS returns a configuration that presents the certificate in two PEM files, and the new one once they change. While what
// they hold cannot be used, as in the moment between writing the one and the other, the one before stands.
func TLS(certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.load(time.Now()); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get(time.Now()), nil },
	}, nil
}

// certificate is the one in two files.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex // guards all that follows
	current *tls.Certificate
	version [2]fileVersion
	checked time.Time
}

// fileVersion changes when a file does.
type fileVersion struct {
	modified time.Time
	size     int64
}

func (c *certificate) get(now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.checked) < checkCertificateEvery {
		return c.current
	}
	if err := c.load(now); err != nil {
		c.log.Error("the certificate cannot be loaded again; the one before stands", "error", err)
	}
	return c.current
}

// load reads the files if they changed. The caller holds the lock, or is the only one.
func (c *certificate) load(now time.Time) error {
	c.checked = now
	var version [2]fileVersion
	for i, file := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(file)
		if err != nil {
			return fmt.Errorf("server: certificate: %w", err)
		}
		version[i] = fileVersion{info.ModTime(), info.Size()}
	}
	if c.current != nil && version == c.version {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("server: certificate: %w", err)
	}
	if c.current != nil {
		c.log.Info("certificate loaded again")
	}
	c.current, c.version = &pair, version
	return nil
}
