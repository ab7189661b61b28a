package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"connectrpc.com/connect"

	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
)

// remoteFlags are shared by the commands that ask a collector that serves.
type remoteFlags struct {
	Host     string `help:"The collector (default ${default})." env:"ALIGNAI_HOST" default:"http://127.0.0.1:7311" placeholder:"URL"`
	Key      string `help:"Key with the scope that the command needs." required:"" env:"ALIGNAI_API_KEY" placeholder:"KEY"`
	Insecure bool   `help:"Allow plain http to another machine: keys and conversations cross the network readable."`
}

// client asks the collector.
func (f *remoteFlags) client() (alignv1connect.ConversationServiceClient, error) {
	u, err := url.Parse(f.Host)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("--host must be an http or https URL")
	case u.Scheme == "http" && !f.Insecure && !thisMachine(u.Hostname()):
		return nil, errors.New("--host: plain http to another machine lets others read the key: use https, or --insecure")
	case f.Key == "":
		return nil, errors.New("--key is empty")
	case strings.ContainsFunc(f.Key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, errors.New("--key holds characters that no key has")
	}
	return alignv1connect.NewConversationServiceClient(http.DefaultClient, strings.TrimRight(f.Host, "/"), connect.WithInterceptors(bearer(f.Key))), nil
}

func thisMachine(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// bearer sends a key with every call.
type bearer string

// WrapUnary implements [connect.Interceptor].
func (b bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		req.Header().Set("Authorization", "Bearer "+string(b))
		return next(ctx, req)
	}
}

// WrapStreamingClient implements [connect.Interceptor].
func (b bearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		conn.RequestHeader().Set("Authorization", "Bearer "+string(b))
		return conn
	}
}

// WrapStreamingHandler implements [connect.Interceptor].
func (bearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// plainError is what a collector said, without the code before it, which is for programs.
func plainError(err error) error {
	var told *connect.Error
	if !errors.As(err, &told) {
		return err
	}
	if after := told.Meta().Get("Retry-After"); after != "" {
		return fmt.Errorf("%s (come again in %s s)", told.Message(), after)
	}
	return errors.New(told.Message())
}
