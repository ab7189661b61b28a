package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"connectrpc.com/connect"
)

// remoteFlags say which collector a command talks to.
type remoteFlags struct {
	Host     string `help:"The collector's base URL (default ${default})." default:"http://127.0.0.1:7311" env:"ALIGNAI_HOST" placeholder:"URL"`
	Key      string `help:"API key with the read scope, or a wider one." required:"" env:"ALIGNAI_API_KEY" placeholder:"KEY"`
	Insecure bool   `help:"Allow plain http to another machine: keys and conversations cross the network readable."`
}

// Validate refuses to send a key over the network in the clear.
func (f *remoteFlags) Validate() error {
	u, err := url.Parse(f.Host)
	switch {
	case err != nil, u.Host == "", u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("--host must be a URL such as https://collector.example.com")
	case u.Scheme == "http" && !f.Insecure && !loopback(u.Hostname()):
		return fmt.Errorf("--host is plain http to another machine: use https, or --insecure")
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// connect returns what a client of the collector's services is made of.
func (f *remoteFlags) connect() (client *http.Client, base string, options connect.ClientOption) {
	return http.DefaultClient, strings.TrimSuffix(f.Host, "/"), connect.WithInterceptors(bearer(f.Key))
}

// bearer is an interceptor that sends a key with every call.
type bearer string

func (b bearer) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		req.Header().Set("Authorization", "Bearer "+string(b))
		return next(ctx, req)
	}
}

func (b bearer) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		conn.RequestHeader().Set("Authorization", "Bearer "+string(b))
		return conn
	}
}

func (b bearer) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next // no handler here
}
