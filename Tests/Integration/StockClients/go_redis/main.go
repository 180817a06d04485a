// go-redis: it says HELLO 3, so decisions come as maps.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/redis/go-redis/v9"
)

func ensure(condition bool, what any) {
	if !condition {
		fmt.Fprintln(os.Stderr, "not so:", what)
		os.Exit(1)
	}
}

func field(reply any, name string) any {
	fields, isMap := reply.(map[any]any)
	ensure(isMap, reply)
	return fields[name]
}

func main() {
	path, grant := os.Args[1], os.Args[2]
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: path})
	defer client.Close()
	pong, err := client.Ping(ctx).Result()
	ensure(pong == "PONG", err)
	for call := 0; call < 10; call++ {
		reply, err := client.Do(ctx, "CHECK", grant, "run").Result()
		ensure(err == nil, err)
		ensure(field(reply, "allowed") == int64(1) && field(reply, "remaining") == int64(9-call), reply)
	}
	denied, err := client.Do(ctx, "CHECK", grant, "run").Result()
	ensure(err == nil && field(denied, "allowed") == int64(0), denied)
	ensure(strings.HasPrefix(field(denied, "message").(string), "run is limited to 10 calls"), denied)
	peek, _ := client.Do(ctx, "PEEK", grant, "run").Result()
	ensure(field(peek, "allowed") == int64(0), peek)
	_, err = client.Do(ctx, "CHECK", grant).Result()
	ensure(err != nil && strings.Contains(err.Error(), "wrong number of arguments"), err)
	pipeline := client.Pipeline()
	for call := 0; call < 1000; call++ {
		pipeline.Do(ctx, "CHECK", grant, "big")
	}
	replies, err := pipeline.Exec(ctx)
	ensure(err == nil && len(replies) == 1000, err)
	var first int64
	for call, reply := range replies {
		left := field(reply.(*redis.Cmd).Val(), "remaining").(int64)
		if call == 0 {
			first = left
		}
		ensure(left == first-int64(call), left)
	}
	fmt.Println("ok go-redis", redis.Version())
}
