package network

import (
	"fmt"

	"github.com/google/nftables"
	mdnetlink "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// nftConn is a connection to the rules of one network namespace.
type nftConn struct {
	*nftables.Conn
	// port is the socket's number, by which notices tell who changed something.
	port uint32
}

// dialNFT opens a connection in the network namespace of the calling thread.
func dialNFT() (*nftConn, error) {
	c := &nftConn{}
	var err error
	c.Conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(s *mdnetlink.Conn) error {
		raw, err := s.SyscallConn()
		if err != nil {
			return err
		}
		var name unix.Sockaddr
		var failed error
		if err := raw.Control(func(fd uintptr) { name, failed = unix.Getsockname(int(fd)) }); err != nil {
			return err
		}
		if a, ok := name.(*unix.SockaddrNetlink); ok {
			c.port = a.Pid
		}
		return failed
	}))
	if err != nil {
		return nil, fmt.Errorf("speak to the kernel's packet filter: %w", err)
	}
	return c, nil
}
