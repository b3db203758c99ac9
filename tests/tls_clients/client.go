// Connects over TLS 1.3 with each curve in turn, has all that it sends come back, resumes, and is the second to close at last.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"os"
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// Sends this many bytes, and has them come back.
func echo(connection *tls.Conn, size int) {
	sent := make([]byte, size)
	for at := range sent {
		sent[at] = byte(at % 251)
	}
	_, err := connection.Write(sent)
	must(err)
	heard := make([]byte, size)
	_, err = io.ReadFull(connection, heard)
	must(err)
	if !bytes.Equal(sent, heard) {
		log.Fatalf("%d bytes came back as others", size)
	}
}

// Reads to the end, which is an error without a close_notify.
func end(connection *tls.Conn) {
	rest, err := io.ReadAll(connection)
	must(err)
	if len(rest) != 0 {
		log.Fatalf("%d bytes more than were sent", len(rest))
	}
	must(connection.Close())
}

func main() {
	root, err := os.ReadFile(os.Getenv("ROOT"))
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	config := &tls.Config{
		RootCAs:            roots,
		ServerName:         os.Getenv("NAME"),
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{"http/1.1"},
		ClientSessionCache: tls.NewLRUClientSessionCache(4),
	}
	dial := func() *tls.Conn {
		connection, err := tls.Dial("tcp", "127.0.0.1:"+os.Getenv("PORT"), config)
		must(err)
		return connection
	}
	for number := range 3 {
		connection := dial()
		if connection.ConnectionState().DidResume != (number > 0) {
			log.Fatalf("connection %d resumed: %v", number, number == 0)
		}
		for _, size := range []int{1, 100, 16384, 16385, 100000} {
			echo(connection, size)
		}
		if number == 2 {
			_, err := connection.Write([]byte("bye"))
			must(err)
		} else {
			must(connection.CloseWrite())
		}
		end(connection)
	}
	config.ClientSessionCache = nil
	for _, curve := range []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384} {
		config.CurvePreferences = []tls.CurveID{curve}
		connection := dial()
		echo(connection, 100)
		must(connection.CloseWrite())
		end(connection)
	}
}
