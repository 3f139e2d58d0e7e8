// The interop scenarios with nats.go. Environment: NATS_URL, RESTART (a shell command).
// `interop rolling` is the client of the scene `rolling`.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	limit   = 65536
	timeout = 5 * time.Second
)

var scenarios = []struct {
	name string
	run  func(nc *nats.Conn)
}{
	{"pub_sub", pubSub},
	{"wildcard", wildcard},
	{"queue_group", queueGroup},
	{"request_reply", requestReply},
	{"no_responders", noResponders},
	{"headers", headers},
	{"max_payload", maxPayload},
	{"reconnect", reconnect},
	{"drain", drain},
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "rolling" {
		rolling()
	}
	for _, scenario := range scenarios {
		if err := attempt(scenario.run); err != nil {
			fmt.Printf("FAILED go %s: %v\n", scenario.name, err)
			os.Exit(1)
		}
		fmt.Printf("ok go %s\n", scenario.name)
	}
}

// attempt runs one scenario on its own connection; a scenario fails by panicking.
func attempt(run func(nc *nats.Conn)) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if reason := recover(); reason != nil {
				done <- fmt.Errorf("%v", reason)
			}
		}()
		nc := must(nats.Connect(os.Getenv("NATS_URL")))
		defer nc.Close()
		run(nc)
		done <- nil
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		return errors.New("30 s passed")
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func must2[A, B any](a A, b B, err error) (A, B) {
	check(err)
	return a, b
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func equal(got, want any) {
	if !reflect.DeepEqual(got, want) {
		panic(fmt.Sprintf("got %v, want %v", got, want))
	}
}

func pubSub(nc *nats.Conn) {
	sub := must(nc.SubscribeSync("go.plain"))
	check(nc.Publish("go.plain", []byte("hello")))
	check(nc.Publish("go.plain", nil))
	equal(string(must(sub.NextMsg(timeout)).Data), "hello")
	equal(len(must(sub.NextMsg(timeout)).Data), 0)
}

func wildcard(nc *nats.Conn) {
	star := must(nc.SubscribeSync("go.wild.*.end"))
	rest := must(nc.SubscribeSync("go.wild.>"))
	for _, subject := range []string{"go.wild.a.end", "go.wild.a.b.end", "go.wild"} {
		check(nc.Publish(subject, nil))
	}
	check(nc.FlushTimeout(timeout))
	equal(must(star.NextMsg(timeout)).Subject, "go.wild.a.end")
	equal(must(rest.NextMsg(timeout)).Subject, "go.wild.a.end")
	equal(must(rest.NextMsg(timeout)).Subject, "go.wild.a.b.end")
	left, _ := must2(star.Pending())
	equal(left, 0)
	left, _ = must2(rest.Pending())
	equal(left, 0)
}

func queueGroup(nc *nats.Conn) {
	var members []*nats.Subscription
	for range 3 {
		members = append(members, must(nc.QueueSubscribeSync("go.queue", "workers")))
	}
	for range 300 {
		check(nc.Publish("go.queue", nil))
	}
	check(nc.FlushTimeout(timeout))
	total := 0
	for _, member := range members {
		share, _ := must2(member.Pending())
		if share < 30 {
			panic(fmt.Sprintf("one member of three got %d of 300", share))
		}
		total += share
	}
	equal(total, 300)
}

func requestReply(nc *nats.Conn) {
	must(nc.Subscribe("go.service", func(m *nats.Msg) {
		check(m.Respond([]byte(strings.ToUpper(string(m.Data)))))
	}))
	var callers sync.WaitGroup
	var wrong atomic.Int32
	for i := range 50 {
		callers.Go(func() {
			reply, err := nc.Request("go.service", fmt.Appendf(nil, "r%d", i), timeout)
			if err != nil || string(reply.Data) != fmt.Sprintf("R%d", i) {
				wrong.Add(1)
			}
		})
	}
	callers.Wait()
	equal(wrong.Load(), int32(0))
}

func noResponders(nc *nats.Conn) {
	_, err := nc.Request("go.nobody", nil, timeout)
	if !errors.Is(err, nats.ErrNoResponders) {
		panic(fmt.Sprintf("a request nobody listens to ended with %v", err))
	}
}

func headers(nc *nats.Conn) {
	sub := must(nc.SubscribeSync("go.headers"))
	sent := nats.NewMsg("go.headers")
	sent.Header = nats.Header{"Trace": {"a b", "c"}, "lower": {"kept"}}
	sent.Data = []byte("body")
	check(nc.PublishMsg(sent))
	got := must(sub.NextMsg(timeout))
	equal(got.Header, sent.Header)
	equal(string(got.Data), "body")
}

func maxPayload(nc *nats.Conn) {
	equal(nc.MaxPayload(), int64(limit))
	sub := must(nc.SubscribeSync("go.large"))
	check(nc.Publish("go.large", make([]byte, limit)))
	equal(len(must(sub.NextMsg(timeout)).Data), limit)
	if err := nc.Publish("go.large", make([]byte, limit+1)); !errors.Is(err, nats.ErrMaxPayload) {
		panic(fmt.Sprintf("a payload above the limit ended with %v", err))
	}
}

func reconnect(*nats.Conn) {
	back := make(chan struct{}, 1)
	nc := must(nats.Connect(os.Getenv("NATS_URL"), nats.MaxReconnects(-1),
		nats.ReconnectWait(100*time.Millisecond),
		nats.ReconnectHandler(func(*nats.Conn) { back <- struct{}{} })))
	defer nc.Close()
	sub := must(nc.SubscribeSync("go.again"))
	check(nc.FlushTimeout(timeout))
	restart := exec.Command("sh", "-c", os.Getenv("RESTART"))
	restart.Stderr = os.Stderr
	check(restart.Run())
	<-back
	check(nc.Publish("go.again", []byte("still here")))
	equal(string(must(sub.NextMsg(timeout)).Data), "still here")
}

func drain(nc *nats.Conn) {
	closed := make(chan struct{})
	other := must(nats.Connect(os.Getenv("NATS_URL"),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) })))
	seen := 0
	must(other.Subscribe("go.drain", func(*nats.Msg) {
		time.Sleep(time.Millisecond)
		seen++
	}))
	check(other.FlushTimeout(timeout))
	for range 100 {
		check(nc.Publish("go.drain", nil))
	}
	check(nc.FlushTimeout(timeout))
	check(other.Drain())
	<-closed
	equal(seen, 100)
}
