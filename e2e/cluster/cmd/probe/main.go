// Command probe is the program of the pods in the script check: it serves and calls
// HTTP, writes files and prints its identity.
package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		arguments = []string{"id"}
	}
	command, rest := arguments[0], arguments[1:]
	switch {
	case command == "serve" && len(rest) == 1:
		return serve(rest[0])
	case command == "get" && len(rest) == 1:
		status, body, err := get(rest[0])
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		fmt.Println(body)
		return err
	case command == "status" && len(rest) == 1:
		status, _, err := get(rest[0])
		fmt.Println(status)
		return err
	case command == "id" && len(rest) == 0:
		fmt.Printf("%d:%d\n", os.Getuid(), os.Getgid())
		return nil
	case command == "write" && len(rest) == 1:
		return os.WriteFile(rest[0], []byte("written\n"), 0o640)
	case command == "group" && len(rest) == 1:
		info, err := os.Stat(rest[0])
		if err == nil {
			fmt.Println(info.Sys().(*syscall.Stat_t).Gid)
		}
		return err
	}
	return errors.New("serve ADDRESS | get URL | status URL | id | write FILE | group FILE")
}

func serve(address string) error {
	go func() {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		<-signals
		os.Exit(0)
	}()
	fmt.Println("serving", address)
	return http.ListenAndServe(address, http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(answer, "hello")
	}))
}

func get(url string) (int, string, error) {
	client := http.Client{
		Timeout: 5 * time.Second,
		// It checks the connection, not the identity of the server.
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	}
	answer, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<16))
	if len(body) > 0 && body[len(body)-1] == '\n' {
		body = body[:len(body)-1]
	}
	return answer.StatusCode, string(body), err
}
