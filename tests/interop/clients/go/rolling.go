package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// rolling is the client of the scene `rolling`, whose head says what it prints.
func rolling() {
	listener := connected("listener")
	must(listener.Subscribe("rolling.go", func(msg *nats.Msg) { fmt.Printf("got %s\n", msg.Data) }))
	check(listener.Flush())
	publisher := connected("publisher")
	for number := 1; ; number++ {
		_ = publisher.Publish("rolling.go", []byte(strconv.Itoa(number)))
		_, err := publisher.Request("rolling.nobody", nil, time.Second)
		if errors.Is(err, nats.ErrNoResponders) {
			fmt.Println("sent", number)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func connected(who string) *nats.Conn {
	say := func(what string) { fmt.Println(what, who) }
	return must(nats.Connect(os.Getenv(strings.ToUpper(who)+"_URL"), nats.MaxReconnects(-1),
		nats.ReconnectWait(100*time.Millisecond),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { say("down") }),
		nats.ReconnectHandler(func(*nats.Conn) { say("up") }),
		nats.ClosedHandler(func(*nats.Conn) { say("closed") })))
}
