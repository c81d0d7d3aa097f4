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

// nodeGate is the descriptor on which the machine's side says that the link and
// the control groups are there: a byte, or nothing but the end if they failed.
const nodeGate = 3

// runNode is the node: process 1 of its own namespaces. When it dies, in whatever
// way, the kernel ends every process of the node and drops its mounts and its
// network. argv is as nodeProcesses looks for it: title, name, index, folder.
func runNode(argv []string) error {
	if len(argv) != 4 || os.Getpid() != 1 {
		return errors.New("the node is started by `cluster start` only")
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
		return errors.New("the machine's side of the node could not be made")
	}
	gate.Close()
	if err := mountNode(plan); err != nil {
		return err
	}
	if err := syscall.Sethostname([]byte(plan.NodeName())); err != nil {
		return fmt.Errorf("cannot name the node: %w", err)
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

// connectNode sets up the node's end of the link, and its rules: what is addressed to a
// Service that does not exist is refused at once.
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
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6 has no switch for it
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

// raiseFileLimit lets the node's programs, and with them the pods, have as many open
// files as this process may: a shell's usual 1024 are too few for servers.
func raiseFileLimit() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// awaitURL returns when a program of this node answers 200 there.
func awaitURL(url string) {
	client := http.Client{
		Timeout: 2 * time.Second,
		// It is asked for nothing but its readiness.
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
	}
	for {
		if answer, err := client.Get(url); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// A family is every process below process 1: those that it started, and the
// orphans, which it must reap.
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
			// The lock keeps a child from being reaped before start has entered it.
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

// start runs a program with its output in its log.
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

// keep runs a program for ever, again a little later each time that it ends.
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
