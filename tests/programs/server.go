// Serves HTTP or HTTPS with what Go brings: server ADDRESS [CERTIFICATE KEY [UPSTREAM]].
// With an upstream it passes every request on to it.
package main

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
)

var statuses = map[string]int{"missing": 404, "created": 201, "moved": 302}

func answer(writer http.ResponseWriter, request *http.Request) {
	hash := sha256.New()
	if _, err := io.Copy(hash, request.Body); err != nil {
		log.Fatal(err)
	}
	status := 200
	if parts := strings.Split(request.URL.Path, "/"); len(parts) > 2 && statuses[parts[2]] != 0 {
		status = statuses[parts[2]]
	}
	writer.Header().Set("Content-Type", "application/json")
	writer.WriteHeader(status)
	// Two writes, one flushed before the other: the body is chunked.
	first, _ := json.Marshal(map[string]string{"method": request.Method, "target": request.RequestURI})
	writer.Write(first)
	writer.(http.Flusher).Flush()
	second, _ := json.Marshal(map[string]string{"body": fmt.Sprintf("%x", hash.Sum(nil))})
	writer.Write(second)
}

func main() {
	handler := http.Handler(http.HandlerFunc(answer))
	if len(os.Args) > 4 {
		upstream, err := url.Parse(os.Args[4])
		if err != nil {
			log.Fatal(err)
		}
		proxy := httputil.NewSingleHostReverseProxy(upstream)
		proxy.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		handler = proxy
	}
	if len(os.Args) > 3 {
		log.Fatal(http.ListenAndServeTLS(os.Args[1], os.Args[2], os.Args[3], handler))
	}
	log.Fatal(http.ListenAndServe(os.Args[1], handler))
}
