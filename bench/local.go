package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"
)

// Nothing here may leave the machine, whatever an SDK would like to fetch or report. Every dialer refuses all but
// loopback addresses and names are not resolved; what was refused is counted, and fails the run.

var errNotLocal = errors.New("not a loopback address")

// strays counts attempts to reach another machine.
var strays atomic.Int64

// dialer is net/http's, but for the refusal.
var dialer = &net.Dialer{
	Timeout:   30 * time.Second,
	KeepAlive: 30 * time.Second,
	Control: func(_, address string, _ syscall.RawConn) error {
		if to, err := netip.ParseAddrPort(address); err == nil && to.Addr().Unmap().IsLoopback() {
			return nil
		}
		strays.Add(1)
		return fmt.Errorf("dial %s: %w", address, errNotLocal)
	},
}

// stayLocal puts http.DefaultTransport and the resolver on that dialer. SDKs with a transport of their own get localTransport.
func stayLocal() {
	t := http.DefaultTransport.(*http.Transport)
	t.DialContext, t.Proxy = dialer.DialContext, nil
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(_ context.Context, _, address string) (net.Conn, error) {
		strays.Add(1)
		return nil, fmt.Errorf("resolve by %s: %w", address, errNotLocal)
	}}
}

// localTransport is http.DefaultTransport's twin, keeping up to idle connections to a host. Zero is net/http's default, 2.
func localTransport(idle int) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = idle
	return t
}
