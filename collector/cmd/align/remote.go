package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"connectrpc.com/connect"

	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
	"github.com/openalign/align/collector/keys"
)

// remoteFlags are shared by the commands that ask a collector that serves.
type remoteFlags struct {
	Host     string `help:"The collector (default ${default})." env:"ALIGNAI_HOST" default:"http://127.0.0.1:7311" placeholder:"URL"`
	Key      string `help:"Key with the scope that the command needs." required:"" env:"ALIGNAI_API_KEY" placeholder:"KEY"`
	Insecure bool   `help:"Allow plain http to another machine: keys and conversations cross the network readable."`
}

// check refuses what would send the key astray.
func (f *remoteFlags) check() error {
	u, err := url.Parse(f.Host)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("--host must be an http or https URL")
	case u.Scheme == "http" && !f.Insecure && !thisMachine(u.Hostname()):
		return errors.New("--host: plain http to another machine lets others read the key: use https, or --insecure")
	case f.Key == "":
		return errors.New("--key is empty: give it, or set ALIGNAI_API_KEY")
	case strings.ContainsFunc(f.Key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("--key holds characters that no key has")
	}
	return nil
}

func (f *remoteFlags) base() string { return strings.TrimRight(f.Host, "/") }

// client asks the collector.
func (f *remoteFlags) client() (alignv1connect.ConversationServiceClient, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	return alignv1connect.NewConversationServiceClient(http.DefaultClient, f.base(), connect.WithInterceptors(keys.Bearer(f.Key))), nil
}

// live watches the collector.
func (f *remoteFlags) live() (alignv1connect.LiveServiceClient, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	return alignv1connect.NewLiveServiceClient(http.DefaultClient, f.base(), connect.WithInterceptors(keys.Bearer(f.Key))), nil
}

func thisMachine(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// plainError is what a collector said, without the code before it, which is for programs.
func plainError(err error) error {
	var told *connect.Error
	if !errors.As(err, &told) {
		return err
	}
	// Before a stream has begun, Connect's client reads no more than the status.
	if words := map[connect.Code]string{
		connect.CodePermissionDenied: "the API key has no scope for this call",
		connect.CodeUnauthenticated:  "the API key is not known there",
	}[told.Code()]; words != "" && strings.HasPrefix(told.Message(), "HTTP status") {
		return errors.New(words)
	}
	if after := told.Meta().Get("Retry-After"); after != "" {
		return fmt.Errorf("%s (come again in %s s)", told.Message(), after)
	}
	return errors.New(told.Message())
}
