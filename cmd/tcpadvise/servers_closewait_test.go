package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// beyondTraffic is longer than an end of stream stays unnoticed in normal traffic: the rules say 2 s.
const beyondTraffic = 2300 * time.Millisecond

// A slow handler, and clients that give up: the socket stays with the program until its handler ends.
func TestSlowHandler(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	tomcat := startTomcat(t, "")
	left := leaving(t, 20, 8080, "/?seconds=60", 1500*time.Millisecond)
	time.Sleep(beyondTraffic)
	says := fmt.Sprintf("20 requests on :8080 (java %d) are still being worked on though their clients left %%t ago, after waiting %%t", tomcat.pid)

	once := check(t)
	n := once.only(t, "close-wait/handler-busy", "warning", "medium").says(t, says)
	once.age(t, "left", n[0], left)
	near(t, "waited", n[1], 1.4, 3)
	once.quiet(t, "close-wait/handler-busy")
	once.exits(t, 1)

	twice := check(t, "--sample", "2s")
	n = twice.only(t, "close-wait/handler-busy", "error", "high").says(t, says)
	twice.age(t, "left", n[0], left)
	twice.quiet(t, "close-wait/handler-busy")
	twice.exits(t, 1)
}

// proxyTo8080 is a server of nginx in front of Tomcat, with further directives for its location.
func proxyTo8080(directives string) string {
	return "server { listen 80; location / { proxy_pass http://127.0.0.1:8080; " + directives + " } }"
}

// nginx closes to a backend whose client has left, logs 499, and the backend's handler works on.
func TestClientsLeaveTheProxy(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	tomcat := startTomcat(t, "")
	nginx := startNginx(t, 80, proxyTo8080(""))
	left := leaving(t, 12, 80, "/?seconds=60", 1500*time.Millisecond)
	time.Sleep(beyondTraffic)
	r := check(t)
	n := r.only(t, "close-wait/handler-busy", "warning", "medium").says(t, fmt.Sprintf(
		"12 requests on :8080 (java %d) are still being worked on though their clients left %%t ago, after waiting %%t", tomcat.pid))
	r.age(t, "left", n[0], left)
	near(t, "waited", n[1], 1, 3) // nginx passes the request on when it comes to it
	r.quiet(t, "close-wait/handler-busy")
	if got := strings.Count(nginx.log(t, "access.log"), `" 499 0 `); got != 12 {
		t.Errorf("nginx logged 499 for %d requests", got)
	}
}

// What nginx waits is what the backend's finding shows: it names the setting.
func TestProxyReadTimeout(t *testing.T) {
	t.Parallel()
	if !inOwnNetns(t) {
		return
	}
	tomcat := startTomcat(t, "")
	nginx := startNginx(t, 80, proxyTo8080("proxy_read_timeout 2s;"))
	for range 6 {
		get(t, 80, "/?seconds=60")
	}
	eventually(t, "nginx gives up", func() bool { return strings.Count(nginx.log(t, "access.log"), `" 504 `) == 6 })
	gaveUp := span{time.Now().Add(-2 * time.Second), time.Now()}
	time.Sleep(beyondTraffic)
	r := check(t)
	n := r.only(t, "close-wait/handler-busy", "warning", "medium").says(t, fmt.Sprintf(
		"6 requests on :8080 (java %d) are still being worked on though their clients left %%t ago, after waiting %%t", tomcat.pid))
	r.age(t, "left", n[0], gaveUp)
	near(t, "waited", n[1], 2, 3)
	r.quiet(t, "close-wait/handler-busy")
}
