// Makes requests over keep-alive connections and writes down what it did, a JSON object
// per request: client URL COUNT CONNECTIONS OUT [--close] [--http2]
//
// With --http2 all requests go over one connection, so many at a time.
package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

var methods = []string{"GET", "POST", "PUT", "DELETE"}
var names = map[int]string{7: "missing", 11: "created", 13: "moved"}

// The version of HTTP that is asked for.
var version = 1

const readyWithin = time.Minute

// A program that was just started is observed from some tens of milliseconds on.
const observedAfter = 2 * time.Second

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func exchange(client *http.Client, target string, number int) map[string]any {
	method := methods[number%4]
	name := names[number%20]
	if name == "" {
		name = "items"
	}
	path := fmt.Sprintf("/api/%s/%d", name, number)
	var body []byte
	if method == "POST" || method == "PUT" {
		note := "secret-" + strings.Repeat("x", number*37%3000)
		body = must(json.Marshal(map[string]any{"number": number, "note": note}))
	}
	address := fmt.Sprintf("%s%s?q=secret-%d&page=2", target, path, number)
	request := must(http.NewRequest(method, address, bytes.NewReader(body)))
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	var port int
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		port = info.Conn.LocalAddr().(*net.TCPAddr).Port
	}}
	response := must(client.Do(request.WithContext(httptrace.WithClientTrace(request.Context(), trace))))
	if response.ProtoMajor != version {
		log.Fatalf("the server speaks %s", response.Proto)
	}
	content := must(io.ReadAll(response.Body))
	response.Body.Close()
	return map[string]any{
		"method":          method,
		"path":            path,
		"status":          response.StatusCode,
		"request_size":    len(body),
		"request_sha256":  fmt.Sprintf("%x", sha256.Sum256(body)),
		"response_size":   len(content),
		"response_sha256": fmt.Sprintf("%x", sha256.Sum256(content)),
		"port":            port,
	}
}

func main() {
	target, out := os.Args[1], os.Args[4]
	count, connections := must(strconv.Atoi(os.Args[2])), must(strconv.Atoi(os.Args[3]))
	address := must(url.Parse(target)).Host
	for started := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			connection.Close()
			break
		}
		if time.Since(started) > readyWithin {
			log.Fatal(err)
		}
	}
	time.Sleep(observedAfter)
	options := strings.Join(os.Args[5:], " ")
	if strings.Contains(options, "--http2") {
		version = 2
	}
	client := &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
			MaxConnsPerHost:     connections,
			MaxIdleConnsPerHost: connections,
			DisableKeepAlives:   strings.Contains(options, "--close"),
			ForceAttemptHTTP2:   version == 2,
			DisableCompression:  true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	lines := make([]map[string]any, count)
	var group sync.WaitGroup
	for worker := 0; worker < connections; worker++ {
		group.Add(1)
		go func(worker int) {
			defer group.Done()
			for number := worker; number < count; number += connections {
				lines[number] = exchange(client, target, number)
			}
		}(worker)
	}
	group.Wait()
	file := must(os.OpenFile(out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600))
	encoder := json.NewEncoder(file)
	for _, line := range lines {
		if err := encoder.Encode(line); err != nil {
			log.Fatal(err)
		}
	}
	if err := file.Close(); err != nil {
		log.Fatal(err)
	}
}
