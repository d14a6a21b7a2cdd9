package network

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// Limits of the forwarder: what it does at once for all sandboxes, and how long.
const (
	forwardAtOnce  = 128
	forwardShare   = 16 // of them for one sandbox
	forwardTimeout = 5 * time.Second
	streamTimeout  = 10 * time.Second
	maxQuestion    = 4096
	maxAnswer      = 64 << 10
)

// forwarder carries questions for names to resolvers that only the host
// reaches. It reads nothing in them but the header's number; both sides may
// send what they like.
type forwarder struct {
	servers []netip.Addr
	log     *slog.Logger
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	mu      sync.Mutex
	busy    map[netip.Addr]int // slots in use, by who asks
	total   int
	udp     *net.UDPConn
	tcp     net.Listener
	dial    net.Dialer
}

// newForwarder listens in the gate.
func newForwarder(gate *os.File, servers []netip.Addr, log *slog.Logger) (*forwarder, error) {
	f := &forwarder{servers: servers, log: log, busy: map[netip.Addr]int{}}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	at := netip.AddrPortFrom(resolver4(), dnsPort)
	err := inNS(gate, func() (err error) {
		if f.udp, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at)); err != nil {
			return err
		}
		f.tcp, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
		return err
	})
	if err != nil {
		f.close()
		return nil, err
	}
	f.wg.Go(f.serveUDP)
	f.wg.Go(f.serveTCP)
	return f, nil
}

func (f *forwarder) close() {
	f.cancel()
	if f.udp != nil {
		_ = f.udp.Close()
	}
	if f.tcp != nil {
		_ = f.tcp.Close()
	}
	f.wg.Wait()
}

// slot takes one of the slots; false when all are in use, or who has its share.
// The address is a sandbox's own: the gate drops others (chain spoof).
func (f *forwarder) slot(who netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.total == forwardAtOnce || f.busy[who] == forwardShare {
		return false
	}
	f.total++
	f.busy[who]++
	return true
}

func (f *forwarder) free(who netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total--
	if f.busy[who]--; f.busy[who] == 0 {
		delete(f.busy, who)
	}
}

func (f *forwarder) serveUDP() {
	buf := make([]byte, maxQuestion)
	for {
		n, who, err := f.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// A question has a header, and is none that is marked as an answer (RFC 1035, 4.1.1).
		if err != nil || n < 12 || buf[2]&0x80 != 0 || !f.slot(who.Addr().Unmap()) {
			continue
		}
		question := append([]byte(nil), buf[:n]...)
		f.wg.Go(func() {
			defer f.free(who.Addr().Unmap())
			answer, err := f.ask(question)
			if err != nil {
				f.log.Debug("no answer for a name", "error", err)
				return // as the resolver itself would have it
			}
			_, _ = f.udp.WriteToUDPAddrPort(answer, who)
		})
	}
}

// ask puts one question to each resolver until one answers.
func (f *forwarder) ask(question []byte) ([]byte, error) {
	var errs []error
	for _, s := range f.servers {
		answer, err := f.askUDP(s, question)
		if err == nil {
			return answer, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (f *forwarder) askUDP(server netip.Addr, question []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(f.ctx, forwardTimeout)
	defer cancel()
	conn, err := f.dial.DialContext(ctx, "udp", netip.AddrPortFrom(server, dnsPort).String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := conn.Write(question); err != nil {
		return nil, err
	}
	buf := make([]byte, maxAnswer)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if n >= 12 && buf[0] == question[0] && buf[1] == question[1] && buf[2]&0x80 != 0 {
			return buf[:n], nil
		}
	}
}

func (f *forwarder) serveTCP() {
	for {
		conn, err := f.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		var who netip.Addr
		if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
			who = a.AddrPort().Addr().Unmap()
		}
		if !f.slot(who) {
			_ = conn.Close()
			continue
		}
		f.wg.Go(func() {
			defer f.free(who)
			defer conn.Close()
			if err := f.stream(conn); err != nil {
				f.log.Debug("no answer for a name", "error", err)
			}
		})
	}
}

// stream carries one question and its answer (RFC 1035, 4.2.2).
func (f *forwarder) stream(conn net.Conn) error {
	ctx, cancel := context.WithTimeout(f.ctx, streamTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	question, err := readMessage(conn, maxQuestion)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range f.servers {
		answer, err := f.askTCP(ctx, s, question)
		if err == nil {
			return writeMessage(conn, answer)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (f *forwarder) askTCP(ctx context.Context, server netip.Addr, question []byte) ([]byte, error) {
	conn, err := f.dial.DialContext(ctx, "tcp", netip.AddrPortFrom(server, dnsPort).String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if err := writeMessage(conn, question); err != nil {
		return nil, err
	}
	return readMessage(conn, maxAnswer)
}

func readMessage(r io.Reader, most int) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	if n < 12 || n > most {
		return nil, fmt.Errorf("a message of %d bytes", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

func writeMessage(w io.Writer, b []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	return err
}
