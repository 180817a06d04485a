// Package sluice asks Sluice, the rate-limiter sidecar, with the Redis client that a program has already: README.md beside
// this file sets up go-redis and redigo. It needs the standard library alone.
//
//	limits := sluice.New(ask)
//	if decision := limits.Check(ctx, "alice-laptop", "opencode_run"); !decision.Allowed {
//		http.Error(w, decision.Message, decision.Status())
//	}
package sluice

import (
	"context"
	"errors"
	"log"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Timeout is the longest wait for an answer. The sidecar answers within its own budget, 20 ms unless set otherwise. Set another
// before anything is opened.
var Timeout = 250 * time.Millisecond

// What a denial says if there was no answer, in ms.
const unavailableRetryMs = 1000

// Ask sends one command, once, and returns its reply: numbers as int64, texts as string or []byte, lists as []any.
// A Redis client that repeats commands by itself must be told not to: a check would be charged each time.
type Ask func(ctx context.Context, words ...any) (any, error)

// Decision is the sidecar's answer, or this package's if there was none.
type Decision struct {
	// Allowed says whether the call may pass.
	Allowed bool
	// Limit is the maximum of the binding limit, and Remaining what is left of it; -1 if none applied.
	Limit, Remaining int64
	// RetryAfterMs is how long until the same check could pass, in ms: 0 if allowed, -1 if it never can.
	RetryAfterMs int64
	// ResetMs is how long until the binding window resets, in ms; -1 if there is none.
	ResetMs int64
	// Verdict is allow, limit, deny, approve or unavailable.
	Verdict string
	// Rule is what decided, as a path into the policy; without an answer the reason in parentheses, such as (timeout).
	Rule string
	// Source is shared, local, cache or policy; client if this package decided.
	Source string
	// Message is one sentence fit to show an agent, when denied.
	Message string
}

// Status is 200, or the HTTP status of a denial.
func (d Decision) Status() int {
	switch {
	case d.Allowed:
		return 200
	case d.Verdict == "limit":
		return 429
	case d.Verdict == "unavailable":
		return 503
	default:
		return 403
	}
}

// Headers has RateLimit headers if a limit applied, and Retry-After if waiting helps.
func (d Decision) Headers() map[string]string {
	headers := map[string]string{}
	if d.Limit >= 0 {
		headers["RateLimit-Limit"] = strconv.FormatInt(d.Limit, 10)
		headers["RateLimit-Remaining"] = strconv.FormatInt(d.Remaining, 10)
	}
	if !d.Allowed && d.RetryAfterMs >= 0 {
		headers["Retry-After"] = strconv.FormatInt((d.RetryAfterMs+999)/1000, 10)
	}
	return headers
}

// Client asks. Safe for use by many goroutines, if Ask is.
type Client struct {
	ask Ask
	// FailOpen lets calls pass while the sidecar does not answer; otherwise they are denied. Set it before the first check.
	FailOpen bool
	// Timeout bounds each check, its wait for a connection included. Set it before the first check.
	Timeout time.Duration
	// Log has a line when something begins to be wrong, and one when it ends. Set it before the first check.
	Log func(format string, words ...any)

	lock    sync.Mutex
	trouble string
}

// New makes a client that fails closed.
func New(ask Ask) *Client {
	return &Client{ask: ask, Timeout: Timeout, Log: log.Printf}
}

// Check asks whether this grant may call this tool; if so, the call is charged. Options are words of CHECK, such as
// "COST", "5", "ID", "call-17".
func (c *Client) Check(ctx context.Context, grant, tool string, options ...string) Decision {
	words := []any{"CHECK", grant, tool}
	for _, option := range options {
		words = append(words, option)
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	reply, err := c.ask(ctx, words...)
	if err != nil {
		return c.withoutReply(err)
	}
	decision, ok := decisionOf(reply)
	if !ok {
		return c.noAnswer("garbled", errors.New("no answer to a check"))
	}
	c.note("", "the sidecar answers again")
	return decision
}

// Error replies of the sidecar: BUSY, and what is the caller's fault.
var errorReply = regexp.MustCompile(`^(BUSY|ERR|BADARG|TOOBIG|NOPERM) `)

func (c *Client) withoutReply(err error) Decision {
	if match := errorReply.FindStringSubmatch(err.Error()); match != nil {
		if match[1] == "BUSY" {
			return c.noAnswer("busy", err)
		}
		// Names come from callers, so a request that is wrong is a denial.
		c.note("wrong", "a check was rejected: "+err.Error())
		return Decision{
			Limit: -1, Remaining: -1, RetryAfterMs: -1, ResetMs: -1, Verdict: "deny", Rule: "(" + match[1] + ")",
			Source: "client", Message: "This call cannot be checked.",
		}
	}
	return c.noAnswer(reasonOf(err), err)
}

func reasonOf(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EACCES):
		return "missing"
	case strings.Contains(err.Error(), "pool"):
		return "pool"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	default:
		return "lost"
	}
}

func (c *Client) noAnswer(reason string, err error) Decision {
	c.note(reason, "the sidecar does not answer ("+reason+"): "+err.Error())
	decision := Decision{
		Allowed: c.FailOpen, Limit: -1, Remaining: -1, ResetMs: -1, Verdict: "unavailable", Rule: "(" + reason + ")",
		Source: "client",
	}
	if !c.FailOpen {
		decision.RetryAfterMs = unavailableRetryMs
		decision.Message = "The rate limiter does not answer. Try again in 1 second."
	}
	return decision
}

func (c *Client) note(trouble, text string) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.trouble == trouble {
		return
	}
	c.trouble = trouble
	c.Log("sluice: %s", text)
}

// IsOpen says whether an idle connection is still open: between requests there is nothing to read, so anything to read is its
// end. For pools that do not look by themselves, so that a sidecar that was restarted is noticed before a check is lost.
func IsOpen(conn syscall.Conn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	isOpen := false
	err = raw.Read(func(descriptor uintptr) bool {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(descriptor), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		isOpen = err == syscall.EAGAIN
		return true
	})
	return err == nil && isOpen
}

func decisionOf(reply any) (Decision, bool) {
	list, ok := reply.([]any)
	if !ok || len(list) < 9 {
		return Decision{}, false
	}
	var numbers [5]int64
	var texts [4]string
	for index := range numbers {
		if numbers[index], ok = list[index].(int64); !ok {
			return Decision{}, false
		}
	}
	for index := range texts {
		switch text := list[5+index].(type) {
		case string:
			texts[index] = text
		case []byte:
			texts[index] = string(text)
		default:
			return Decision{}, false
		}
	}
	return Decision{
		Allowed: numbers[0] == 1, Limit: numbers[1], Remaining: numbers[2], RetryAfterMs: numbers[3], ResetMs: numbers[4],
		Verdict: texts[0], Rule: texts[1], Source: texts[2], Message: texts[3],
	}, true
}
