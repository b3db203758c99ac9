// A gateway with gobwas/ws and epoll, as small as it can be while agents have tokens, names and heartbeats, and backends call them
// over HTTP: what one writes in Go in a day, to compare with. It understands as much of holdfast's protocol as the load client
// needs.
//
//	HOLDFAST_SECRET=... peer-gobwas AGENTS:PORT BACKENDS:PORT
//
// Descriptors are accepted and polled without Go's own poller, so that a connection at rest has no goroutine and no buffer. One
// goroutine reads, through one buffer.
package main

import (
	"bufio"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"golang.org/x/sys/unix"
)

const (
	// Largest message, in bytes.
	messageMax = 1 << 20
	// How often quiet connections are looked for, and when they are pinged and given up.
	sweepEvery = 5 * time.Second
	pingAfter  = 45 * time.Second
	giveUp     = 60 * time.Second
)

// connection is what a connection is known by; only the loop touches it.
type connection struct {
	agent    string
	heard    time.Time
	upgraded bool
}

type server struct {
	epoll       int
	listener    int
	secret      []byte
	connections map[socket]*connection
	// One for all connections, empty between events.
	input *bufio.Reader
	swept time.Time

	// Guards what follows, and writing and closing: backends write from goroutines of their own.
	mutex   sync.Mutex
	agents  map[string]socket
	waiters map[uint64]waiter
	calls   uint64
}

func (s *server) watch(fd int) error {
	return unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (s *server) accept(now time.Time) {
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
		s.connections[socket(fd)] = &connection{heard: now}
	}
}

// serve takes a request, or all messages that have come, off a connection.
func (s *server) serve(conn socket, known *connection, now time.Time) error {
	known.heard = now
	if !known.upgraded {
		return s.enter(conn, known)
	}
	s.input.Reset(conn)
	for {
		if err := s.message(conn, known); err != nil {
			return err
		}
		if s.input.Buffered() == 0 {
			return nil
		}
	}
}

// message takes one message, or answers one control frame.
func (s *server) message(conn socket, known *connection) error {
	control := wsutil.ControlFrameHandler(locked{s, conn}, ws.StateServerSide)
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
	if known.agent != "" {
		return s.reply(conn, data)
	}
	return s.send(conn, head.OpCode, data)
}

// send writes one message. It is compiled, so that head and payload leave in one system call.
func (s *server) send(conn socket, code ws.OpCode, data []byte) error {
	frame, err := ws.CompileFrame(ws.NewFrame(code, true, data))
	if err != nil {
		return err
	}
	_, err = locked{s, conn}.Write(frame)
	return err
}

// locked writes whole frames among those of other goroutines.
type locked struct {
	server *server
	conn   socket
}

func (l locked) Write(p []byte) (int, error) {
	l.server.mutex.Lock()
	defer l.server.mutex.Unlock()
	return l.conn.Write(p)
}

// leave forgets a connection. Its calls in flight end at their deadlines.
func (s *server) leave(conn socket, known *connection) {
	delete(s.connections, conn)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.agents[known.agent] == conn && known.agent != "" {
		delete(s.agents, known.agent)
	}
	unix.Close(int(conn))
}

// sweep pings quiet connections, and gives up those that do not answer.
func (s *server) sweep(now time.Time) {
	s.swept = now
	for conn, known := range s.connections {
		quiet := now.Sub(known.heard)
		if quiet > giveUp || (quiet > pingAfter && s.send(conn, ws.OpPing, nil) != nil) {
			s.leave(conn, known)
		}
	}
}

func (s *server) run() error {
	events := make([]unix.EpollEvent, 1024)
	for {
		n, err := unix.EpollWait(s.epoll, events, int(sweepEvery/time.Millisecond))
		if err != nil && err != unix.EINTR {
			return err
		}
		now := time.Now()
		for i := 0; i < n; i++ {
			conn := socket(events[i].Fd)
			if int(conn) == s.listener {
				s.accept(now)
			} else if known := s.connections[conn]; s.serve(conn, known, now) != nil {
				s.leave(conn, known)
			}
		}
		if now.Sub(s.swept) >= sweepEvery {
			s.sweep(now)
		}
	}
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: peer-gobwas AGENTS:PORT BACKENDS:PORT")
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		log.Fatal(err)
	}
	// First, so that who reaches the agents' port reaches both.
	backends, err := net.Listen("tcp", os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	listener, err := listen(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	s := &server{
		epoll: epoll, listener: listener, secret: []byte(os.Getenv("HOLDFAST_SECRET")),
		connections: map[socket]*connection{}, input: bufio.NewReaderSize(nil, 16<<10), swept: time.Now(),
		agents: map[string]socket{}, waiters: map[uint64]waiter{},
	}
	if err := s.watch(listener); err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/agents/{agent}/calls", s.call)
	go func() { log.Fatal(http.Serve(backends, mux)) }()
	log.Fatal(s.run())
}
