package main

import (
	"errors"
	"io"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// How long the loop waits for the rest of a request or message that has begun. A server for hostile networks would hand such a
// connection to a goroutine.
const patience = 5 * time.Second

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
