// Redigo.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/gomodule/redigo/redis"
)

func ensure(condition bool, what any) {
	if !condition {
		fmt.Fprintln(os.Stderr, "not so:", what)
		os.Exit(1)
	}
}

func main() {
	path, grant := os.Args[1], os.Args[2]
	client, err := redis.Dial("unix", path)
	ensure(err == nil, err)
	defer client.Close()
	pong, err := redis.String(client.Do("PING"))
	ensure(pong == "PONG", err)
	for call := 0; call < 10; call++ {
		reply, err := redis.Values(client.Do("CHECK", grant, "run"))
		ensure(err == nil, err)
		ensure(reply[0].(int64) == 1 && reply[2].(int64) == int64(9-call), reply)
	}
	denied, _ := redis.Values(client.Do("CHECK", grant, "run"))
	ensure(denied[0].(int64) == 0 && strings.HasPrefix(string(denied[8].([]byte)), "run is limited to 10 calls"), denied)
	peek, _ := redis.Values(client.Do("PEEK", grant, "run"))
	ensure(peek[0].(int64) == 0, peek)
	_, err = client.Do("CHECK", grant)
	ensure(err != nil && strings.Contains(err.Error(), "wrong number of arguments"), err)
	for call := 0; call < 1000; call++ {
		ensure(client.Send("CHECK", grant, "big") == nil, "send")
	}
	ensure(client.Flush() == nil, "flush")
	var first int64
	for call := 0; call < 1000; call++ {
		reply, err := redis.Values(client.Receive())
		ensure(err == nil, err)
		if call == 0 {
			first = reply[2].(int64)
		}
		ensure(reply[2].(int64) == first-int64(call), reply)
	}
	fmt.Println("ok redigo", os.Args[3])
}
