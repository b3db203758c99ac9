// Connects twice over TLS 1.3, has all that it sends come back, and resumes the second time.
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
	for _, resumed := range []bool{false, true} {
		connection, err := tls.Dial("tcp", "127.0.0.1:"+os.Getenv("PORT"), config)
		must(err)
		if connection.ConnectionState().DidResume != resumed {
			log.Fatalf("resumed: %v", !resumed)
		}
		for _, size := range []int{1, 100, 16384, 16385, 100000} {
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
		must(connection.CloseWrite())
		rest, err := io.ReadAll(connection)
		must(err)
		if len(rest) != 0 {
			log.Fatalf("%d bytes more than were sent", len(rest))
		}
		must(connection.Close())
	}
}
