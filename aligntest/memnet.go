package aligntest

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// network is a net.Listener whose connections are net.Pipe pairs: no socket, no port, and whoever waits on it is durably
// blocked in the sense of testing/synctest, so that virtual time passes.
type network struct {
	conns  chan net.Conn // unbuffered: a connection dialled is a connection accepted
	closed chan struct{}
	close  func() // closes closed, once
}

func newNetwork() *network {
	closed := make(chan struct{})
	return &network{
		conns:  make(chan net.Conn),
		closed: closed,
		close:  sync.OnceFunc(func() { close(closed) }),
	}
}

// dial returns the client's end of a new connection once the server has accepted the other. There is but one server, so
// the address does not matter.
func (n *network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	left := make(chan struct{})
	select {
	case n.conns <- &serverConn{Conn: server, left: left}:
		return &clientConn{Conn: client, leave: sync.OnceFunc(func() { close(left) })}, nil
	case <-n.closed:
		return nil, fmt.Errorf("aligntest: dial: server is closed: %w", net.ErrClosed)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case conn := <-n.conns:
		return conn, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error {
	n.close()
	return nil
}

func (n *network) Addr() net.Addr { return memAddr{} }

type memAddr struct{}

func (memAddr) Network() string { return "mem" }
func (memAddr) String() string  { return address }

// clientConn tells the other end when it is closed.
type clientConn struct {
	net.Conn
	leave func()
}

func (c *clientConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// serverConn knows when the client has closed its end. A net/http.Server learns that only by reading, and so not at all
// while a request's body lies unread.
type serverConn struct {
	net.Conn
	left <-chan struct{}
}

type leftKey struct{}

// withLeft makes the connection's left channel known to the handlers that serve it.
func withLeft(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, leftKey{}, conn.(*serverConn).left)
}

// clientLeft returns a channel that is closed when the client leaves, nil where only reading would tell: over TCP.
func clientLeft(ctx context.Context) <-chan struct{} {
	left, _ := ctx.Value(leftKey{}).(<-chan struct{})
	return left
}
