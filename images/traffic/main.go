// Command traffic is both ends of a network measurement: the same program answers in a pod and in a
// guest, and asks from another pod.
//
//	traffic serve :7000             answers for ever
//	traffic measure 10.0.0.1:7000   prints a line of JSON for each round
//
// The first byte that a client sends says what it wants of a connection.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"
)

const (
	echo = 'e' // every byte comes back
	take = 't' // the server reads to the end, then answers with one byte
	give = 'g' // the server writes until the client closes
	get  = 'G' // of HTTP's GET: this program itself, for guests that have no other way to get it

	rounds  = 4 // the first one only warms up
	long    = 3 * time.Second
	most    = 2000 // connections and exchanges of a round
	message = 64   // bytes of an exchange
	piece   = 128 << 10
)

// Round is what one round found: MB/s in both directions, connections a second, and the seconds that
// a message of 64 bytes took there and back.
type Round struct {
	In       float64 `json:"in"`
	Out      float64 `json:"out"`
	Connects float64 `json:"connects"`
	Median   float64 `json:"median"`
	P99      float64 `json:"p99"`
}

func main() {
	if len(os.Args) != 3 || (os.Args[1] != "serve" && os.Args[1] != "measure") {
		fail(errors.New("usage: traffic serve ADDRESS | traffic measure ADDRESS"))
	}
	act := serve
	if os.Args[1] == "measure" {
		act = measure
	}
	if err := act(os.Args[2]); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "traffic:", err)
	os.Exit(1)
}

func serve(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		go answer(client)
	}
}

// answer ends with its connection; what goes wrong on it is the client's to tell.
func answer(client net.Conn) {
	defer client.Close()
	wanted := make([]byte, 1)
	if _, err := io.ReadFull(client, wanted); err != nil {
		return
	}
	buffer := make([]byte, piece)
	switch wanted[0] {
	case echo:
		for {
			count, err := client.Read(buffer)
			if err != nil {
				return
			}
			if _, err := client.Write(buffer[:count]); err != nil {
				return
			}
		}
	case take:
		for {
			if _, err := client.Read(buffer); err != nil {
				break
			}
		}
		client.Write(wanted)
	case give:
		for {
			if _, err := client.Write(buffer); err != nil {
				return
			}
		}
	case get:
		program, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			return
		}
		client.Read(buffer) // the rest of the request
		fmt.Fprintf(client, "HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n", len(program))
		client.Write(program)
	}
}

func measure(address string) error {
	lines := json.NewEncoder(os.Stdout)
	for number := range rounds {
		var found Round
		for _, part := range []func(string, *Round) error{into, outOf, connects, exchanges} {
			if err := part(address, &found); err != nil {
				return err
			}
		}
		if number == 0 {
			continue
		}
		if err := lines.Encode(found); err != nil {
			return err
		}
	}
	return nil
}

func dial(address string, wanted byte) (*net.TCPConn, error) {
	made, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return nil, err
	}
	made.SetDeadline(time.Now().Add(6 * long))
	if _, err := made.Write([]byte{wanted}); err != nil {
		made.Close()
		return nil, err
	}
	return made.(*net.TCPConn), nil
}

// into counts until the last byte has arrived, not until it has left.
func into(address string, found *Round) error {
	server, err := dial(address, take)
	if err != nil {
		return err
	}
	defer server.Close()
	buffer := make([]byte, piece)
	begun, sent := time.Now(), 0
	for time.Since(begun) < long {
		count, err := server.Write(buffer)
		if err != nil {
			return err
		}
		sent += count
	}
	if err := server.CloseWrite(); err != nil {
		return err
	}
	if _, err := io.ReadFull(server, buffer[:1]); err != nil {
		return err
	}
	found.In = megabytes(sent, begun)
	return nil
}

func outOf(address string, found *Round) error {
	server, err := dial(address, give)
	if err != nil {
		return err
	}
	defer server.Close()
	buffer := make([]byte, piece)
	begun, got := time.Now(), 0
	for time.Since(begun) < long {
		count, err := server.Read(buffer)
		if err != nil {
			return err
		}
		got += count
	}
	found.Out = megabytes(got, begun)
	return nil
}

// connects counts connections over which a byte came back: some bindings answer before the guest.
func connects(address string, found *Round) error {
	begun, count := time.Now(), 0
	for ; count < most && time.Since(begun) < long; count++ {
		server, err := dial(address, echo)
		if err != nil {
			return err
		}
		err = exchange(server, make([]byte, 1))
		server.Close()
		if err != nil {
			return err
		}
	}
	found.Connects = float64(count) / time.Since(begun).Seconds()
	return nil
}

func exchanges(address string, found *Round) error {
	server, err := dial(address, echo)
	if err != nil {
		return err
	}
	defer server.Close()
	buffer := make([]byte, message)
	var took []float64
	for begun := time.Now(); len(took) < most && time.Since(begun) < long; {
		sent := time.Now()
		if err := exchange(server, buffer); err != nil {
			return err
		}
		took = append(took, time.Since(sent).Seconds())
	}
	slices.Sort(took)
	found.Median, found.P99 = took[len(took)/2], took[len(took)*99/100]
	return nil
}

func exchange(server net.Conn, buffer []byte) error {
	if _, err := server.Write(buffer); err != nil {
		return err
	}
	_, err := io.ReadFull(server, buffer)
	return err
}

func megabytes(count int, since time.Time) float64 {
	return float64(count) / 1e6 / time.Since(since).Seconds()
}
