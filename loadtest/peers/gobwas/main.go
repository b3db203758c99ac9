// An echo server with gobwas/ws and epoll: no goroutine and no buffer for a connection at rest.
//
//	peer-gobwas ADDRESS:PORT
//
// Descriptors are accepted and polled without Go's own poller, so that a connection is a descriptor and an entry in a map.
// One goroutine reads, through one buffer.
package main

import (
	"bufio"
	"errors"
	"io"
	"log"
	"net/netip"
	"os"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"golang.org/x/sys/unix"
)

// How long the loop waits for the rest of a request or message that has begun. A server for hostile networks would hand such a
// connection to a goroutine.
const patience = 5 * time.Second

// Largest message, in bytes.
const messageMax = 1 << 20

// socket is a descriptor that does not block, read and written as if it did.
type socket int

var errSlow = errors.New("the peer is too slow")

func (s socket) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(int(s), p)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			if err := s.wait(unix.POLLIN); err != nil {
				return 0, err
			}
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

func (s socket) Write(p []byte) (int, error) {
	sent := 0
	for sent < len(p) {
		n, err := unix.Write(int(s), p[sent:])
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			if err := s.wait(unix.POLLOUT); err != nil {
				return sent, err
			}
		case err != nil:
			return sent, err
		default:
			sent += n
		}
	}
	return sent, nil
}

func (s socket) wait(events int16) error {
	poll := []unix.PollFd{{Fd: int32(s), Events: events}}
	n, err := unix.Poll(poll, int(patience/time.Millisecond))
	if err == unix.EINTR {
		return nil
	}
	if err == nil && n == 0 {
		return errSlow
	}
	return err
}

func listen(address string) (int, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return 0, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}); err != nil {
		return 0, err
	}
	return fd, unix.Listen(fd, 4096)
}

type server struct {
	epoll    int
	listener int
	// Whether a connection has been upgraded.
	upgraded map[socket]bool
	// One for all connections, empty between events.
	input *bufio.Reader
}

func (s *server) watch(fd int) error {
	return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (s *server) accept() {
	for {
		fd, _, err := unix.Accept4(s.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			// EAGAIN: all are in. What else may happen is over with the next event.
			return
		}
		if unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) != nil || s.watch(fd) != nil {
			unix.Close(fd)
			continue
		}
		s.upgraded[socket(fd)] = false
	}
}

// serve takes a request, or all messages that have come, off a connection.
func (s *server) serve(conn socket) error {
	if !s.upgraded[conn] {
		_, err := ws.Upgrade(conn)
		s.upgraded[conn] = err == nil
		return err
	}
	s.input.Reset(conn)
	for {
		if err := s.message(conn); err != nil {
			return err
		}
		if s.input.Buffered() == 0 {
			return nil
		}
	}
}

// message echoes one message, or answers one control frame.
func (s *server) message(conn socket) error {
	control := wsutil.ControlFrameHandler(conn, ws.StateServerSide)
	reader := wsutil.Reader{
		Source: s.input, State: ws.StateServerSide, CheckUTF8: true, MaxFrameSize: messageMax, OnIntermediate: control,
	}
	head, err := reader.NextFrame()
	if err != nil {
		return err
	}
	if head.OpCode.IsControl() {
		return control(head, &reader)
	}
	var data []byte
	if head.Fin {
		data = make([]byte, head.Length)
		_, err = io.ReadFull(&reader, data)
	} else {
		data, err = io.ReadAll(io.LimitReader(&reader, messageMax))
	}
	if err != nil {
		return err
	}
	// Compiled, so that head and payload leave in one system call.
	frame, err := ws.CompileFrame(ws.NewFrame(head.OpCode, true, data))
	if err != nil {
		return err
	}
	_, err = conn.Write(frame)
	return err
}

func (s *server) run() error {
	events := make([]unix.EpollEvent, 1024)
	for {
		n, err := unix.EpollWait(s.epoll, events, -1)
		if err != nil && err != unix.EINTR {
			return err
		}
		for i := 0; i < n; i++ {
			if fd := int(events[i].Fd); fd == s.listener {
				s.accept()
			} else if s.serve(socket(fd)) != nil {
				delete(s.upgraded, socket(fd))
				unix.Close(fd)
			}
		}
	}
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: peer-gobwas ADDRESS:PORT")
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := listen(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	s := &server{epoll: epoll, listener: listener, upgraded: map[socket]bool{}, input: bufio.NewReaderSize(nil, 16<<10)}
	if err := s.watch(listener); err != nil {
		log.Fatal(err)
	}
	log.Fatal(s.run())
}
