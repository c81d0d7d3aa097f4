package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// nodeGate is the descriptor on which the machine reports that the link and the control
// groups exist: a byte, or end of file after a failure.
const nodeGate = 3

// runNode is the node: process 1 of its namespaces. When it ends, the kernel kills every
// process of the node and removes its mounts and network. argv is what nodeProcesses
// searches: title, name, index, folder.
func runNode(argv []string) error {
	if len(argv) != 4 || os.Getpid() != 1 {
		return errors.New("only `cluster start` starts the node")
	}
	index, err := strconv.Atoi(argv[2])
	if err != nil {
		return err
	}
	plan, err := newPlan(argv[3], argv[1], index)
	if err != nil {
		return err
	}
	gate := os.NewFile(nodeGate, "gate")
	if _, err := io.ReadFull(gate, make([]byte, 1)); err != nil {
		return errors.New("the machine could not create the link and control groups of the node")
	}
	gate.Close()
	if err := mountNode(plan); err != nil {
		return err
	}
	if err := syscall.Sethostname([]byte(plan.NodeName())); err != nil {
		return fmt.Errorf("cannot set the node's host name: %w", err)
	}
	os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	if err := connectNode(plan); err != nil {
		return err
	}
	if err := raiseFileLimit(); err != nil {
		return err
	}
	family := newFamily()
	go family.reap()
	for _, one := range programs(plan) {
		go family.keep(one)
		if one.Ready != "" {
			awaitURL(one.Ready)
		}
	}
	select {} // until it is killed
}

// connectNode configures the node's end of the link, and rules that reject packets to
// Services that do not exist.
func connectNode(p Plan) error {
	for name, value := range map[string]string{
		"net/ipv4/ip_forward":                "1",
		"net/ipv4/conf/all/rp_filter":        "0",
		"net/ipv4/conf/default/rp_filter":    "0",
		"net/ipv4/conf/all/send_redirects":   "0",
		"net/ipv6/conf/all/disable_ipv6":     "1",
		"net/ipv6/conf/default/disable_ipv6": "1",
	} {
		err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6 has no such setting
			return fmt.Errorf("cannot set %s: %w", name, err)
		}
	}
	if err := ipBatch(nodeLinkCommands(p)...); err != nil {
		return err
	}
	for _, chain := range []string{"FORWARD", "OUTPUT"} {
		output, err := exec.Command("iptables", "-w", "-A", chain, "-d", p.Allocatable.String(),
			"-j", "REJECT", "--reject-with", "icmp-host-unreachable").CombinedOutput()
		if err != nil {
			return fmt.Errorf("iptables: %s: the kernel lacks nf_tables or REJECT", output)
		}
	}
	return nil
}

// raiseFileLimit raises the limit of open files to the hard limit. Programs and pods
// inherit it; the usual 1024 of a shell are too few for servers.
func raiseFileLimit() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// awaitURL waits until a URL of this node answers 200.
func awaitURL(url string) {
	client := http.Client{
		Timeout: 2 * time.Second,
		// Only a readiness check.
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
	}
	for {
		if response, err := client.Get(url); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// A family is all processes below process 1: those that it started, and orphans, which
// it must reap.
type family struct {
	lock    sync.Mutex
	signals chan os.Signal
	waiting map[int]chan syscall.WaitStatus
}

func newFamily() *family {
	f := &family{signals: make(chan os.Signal, 1), waiting: map[int]chan syscall.WaitStatus{}}
	signal.Notify(f.signals, syscall.SIGCHLD)
	return f
}

func (f *family) reap() {
	for range f.signals {
		for {
			var status syscall.WaitStatus
			// The lock prevents that a child is reaped before start has recorded it.
			f.lock.Lock()
			pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
			if ended, ours := f.waiting[pid]; ours && pid > 0 {
				delete(f.waiting, pid)
				ended <- status
			}
			f.lock.Unlock()
			if pid <= 0 && err != syscall.EINTR {
				break
			}
		}
	}
}

// start runs a program and writes its output to a log.
func (f *family) start(one program, log *os.File) (<-chan syscall.WaitStatus, error) {
	path, err := exec.LookPath(one.Path)
	if err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	f.lock.Lock()
	defer f.lock.Unlock()
	pid, err := syscall.ForkExec(path, append([]string{filepath.Base(path)}, one.Args...), &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=" + os.Getenv("PATH"), "HOME=/var/lib/switchyard", "TMPDIR=/tmp"},
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot run %s: %w", path, err)
	}
	ended := make(chan syscall.WaitStatus, 1)
	f.waiting[pid] = ended
	return ended, nil
}

// keep restarts a program whenever it ends, with an increasing delay.
func (f *family) keep(one program) {
	log, err := os.OpenFile(filepath.Join(nodeLogs, one.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	const shortest, longest = 200 * time.Millisecond, 5 * time.Second
	pause := shortest
	for {
		began := time.Now()
		ended, err := f.start(one, log)
		if err != nil {
			fmt.Fprintf(log, "node: %v\n", err)
		} else {
			status := <-ended
			fmt.Fprintf(log, "node: %s ended (%s) and is started again\n", one.Name, describe(status))
		}
		if time.Since(began) > time.Minute {
			pause = shortest
		}
		time.Sleep(pause)
		pause = min(2*pause, longest)
	}
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "killed by " + status.Signal().String()
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}
