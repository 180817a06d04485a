// Asks as deploy/go says, whatever each line of standard input says: COUNT GRANT TOOL. Answers each with a line of JSON: the
// decisions, and how long all of them took together, in ms. `open` is a block of deploy/go/README.md.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"example.com/gateway/sluice"
)

type answer struct {
	Allowed bool              `json:"allowed"`
	Verdict string            `json:"verdict"`
	Rule    string            `json:"rule"`
	Source  string            `json:"source"`
	Message string            `json:"message"`
	Left    int64             `json:"remaining"`
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
}

func main() {
	ms, _ := strconv.Atoi(os.Args[3])
	sluice.Timeout = time.Duration(ms) * time.Millisecond
	limits := sluice.New(open(os.Args[1]))
	limits.FailOpen = os.Args[2] == "open"
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var count int
		var grant, tool string
		fmt.Sscan(lines.Text(), &count, &grant, &tool)
		answers := make([]answer, count)
		var all sync.WaitGroup
		start := time.Now()
		for index := range answers {
			all.Add(1)
			go func(index int) {
				defer all.Done()
				d := limits.Check(context.Background(), grant, tool)
				answers[index] = answer{
					d.Allowed, d.Verdict, d.Rule, d.Source, d.Message, d.Remaining, d.Status(), d.Headers(),
				}
			}(index)
		}
		all.Wait()
		took := float64(time.Since(start).Microseconds()) / 1000
		text, _ := json.Marshal(answers)
		fmt.Printf("{\"ms\": %s, \"decisions\": %s}\n", strconv.FormatFloat(took, 'f', 3, 64), text)
	}
}
