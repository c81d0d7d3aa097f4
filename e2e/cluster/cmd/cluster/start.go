package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// startPatience is how long a cold and busy machine may take.
const startPatience = 4 * time.Minute

// artifacts are the files that the wrapper script has built.
type artifacts struct {
	Kube, CoreDNS, MetricsServer, Pause string
}

// artifactsFrom reads their paths from the environment, where the script leaves them.
func artifactsFrom(lookup func(string) string) (artifacts, error) {
	found := artifacts{
		Kube:          lookup("SWITCHYARD_KUBE"),
		CoreDNS:       lookup("SWITCHYARD_COREDNS"),
		MetricsServer: lookup("SWITCHYARD_METRICS_SERVER"),
		Pause:         lookup("SWITCHYARD_PAUSE"),
	}
	if found.Kube == "" || found.CoreDNS == "" || found.MetricsServer == "" || found.Pause == "" {
		return found, errors.New("run this by the script e2e/cluster/cluster, which builds what it needs")
	}
	return found, nil
}

// start makes a cluster and returns when its node is Ready and its add-ons are
// Available. A cluster that runs already is only waited for.
func start(ctx context.Context, clusters, name string, with artifacts) error {
	began := time.Now()
	say := func(format string, arguments ...any) {
		fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, arguments...))
	}
	if err := checkMachine(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()

	plan, err := startNode(clusters, name, with, say)
	if err != nil {
		return err
	}
	say("node runs (pods %s, services %s, API %s)", plan.Pods, plan.Services, plan.Server())
	err = furnish(ctx, plan, with, say)
	if err != nil {
		return fmt.Errorf("%w\nlook at %s, then `cluster stop --name %s`", err, plan.Logs(), name)
	}
	say("ready; KUBECONFIG=%s", plan.Kubeconfig())
	return nil
}

// startNode clears away what an earlier run has left and starts the node's process,
// unless it runs.
func startNode(clusters, name string, with artifacts, say func(string, ...any)) (Plan, error) {
	registry, err := openRegistry(clusters)
	if err != nil {
		return Plan{}, err
	}
	defer registry.close()
	nodes, err := nodeProcesses()
	if err != nil {
		return Plan{}, err
	}
	for _, node := range nodes {
		if node.Name != name {
			continue
		}
		dying, err := node.dying()
		if err != nil {
			return Plan{}, err
		}
		if !dying {
			return planOf(clusters, node)
		}
	}
	found, err := removeNode(clusters, name)
	if err != nil {
		return Plan{}, err
	}
	if len(found) > 0 {
		say("cleared away what an earlier run had left: %s", strings.Join(found, ", "))
	}
	index, err := freeIndex(linkOwner, "switchyard-"+name)
	if err != nil {
		return Plan{}, err
	}
	plan, err := newPlan(clusters, name, index)
	if err != nil {
		return Plan{}, err
	}
	if err := routeConflict(plan); err != nil {
		return Plan{}, err
	}
	snapshotter, err := snapshotterFor(clusters)
	if err != nil {
		return Plan{}, err
	}
	executable, err := os.Executable()
	if err != nil {
		return Plan{}, err
	}
	if filepath.Dir(executable) != filepath.Dir(with.Kube) {
		return Plan{}, fmt.Errorf("%s and %s must lie in one folder", executable, with.Kube)
	}
	if err := writeState(settings{Plan: plan, Kube: filepath.Base(with.Kube), Cluster: filepath.Base(executable), Snapshotter: snapshotter}); err != nil {
		return Plan{}, err
	}
	if err := forkNode(plan, executable); err != nil {
		_, clearErr := removeNode(clusters, name)
		return Plan{}, errors.Join(err, clearErr)
	}
	return plan, nil
}

// forkNode starts process 1 of the node in namespaces of its own, and opens its gate
// when the machine's side is made. The node outlives this process.
func forkNode(p Plan, executable string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	if err := makeCgroups(all, p.Cgroup()); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(p.Logs(), "node.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	gate, open, err := os.Pipe()
	if err != nil {
		return err
	}
	defer open.Close()
	node := exec.Command(executable)
	node.Args = []string{nodeTitle, p.Name, fmt.Sprint(p.Index), filepath.Dir(p.State)}
	node.Env = []string{"PATH=" + os.Getenv("PATH"), "GOMEMLIMIT=32MiB"}
	node.Dir = "/"
	node.Stdout, node.Stderr = log, log
	node.ExtraFiles = []*os.File{gate}
	node.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET |
			syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	err = node.Start()
	gate.Close()
	if err != nil {
		return explainFork(err)
	}
	go func() { _ = node.Wait() }() // so that its death does not leave a zombie while this runs
	if err := enterCgroups(all, p.Cgroup(), node.Process.Pid); err != nil {
		return err
	}
	if err := ipBatch(hostLinkCommands(p, node.Process.Pid)...); err != nil {
		return err
	}
	// Without IPv6 on the link the machine sends nothing into it by itself.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+p.Link()+"/disable_ipv6", []byte("1"), 0o644)
	_, err = open.Write([]byte{1})
	return err
}

// furnish loads the add-ons' images, applies their manifests and waits for them.
func furnish(ctx context.Context, p Plan, with artifacts, say func(string, ...any)) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		runtime, err := openRuntime(p)
		if err != nil {
			return err
		}
		defer runtime.close()
		if err := runtime.await(ctx); err != nil {
			return err
		}
		for _, image := range []struct{ program, tag string }{
			{with.Pause, pauseImage},
			{with.MetricsServer, metricsServerImage},
			{with.CoreDNS, corednsImage},
		} {
			path, err := archiveOf(image.program, image.tag)
			if err != nil {
				return err
			}
			if _, err := runtime.load(ctx, path); err != nil {
				return err
			}
		}
		say("add-on images loaded")
		return nil
	})
	group.Go(func() error {
		cluster, err := connect(p)
		if err != nil {
			return err
		}
		if err := cluster.awaitAPI(ctx); err != nil {
			return err
		}
		say("API server answers")
		if err := applyManifests(ctx, p, with.Kube); err != nil {
			return err
		}
		say("add-ons applied")
		return cluster.awaitReady(ctx, say)
	})
	return group.Wait()
}

// applyManifests hands the add-ons to kubectl, all in one.
func applyManifests(ctx context.Context, p Plan, kube string) error {
	rendered, err := render(manifestFiles, "manifests", settings{Plan: p})
	if err != nil {
		return err
	}
	var all bytes.Buffer
	for _, manifest := range rendered {
		all.Write(manifest)
		all.WriteString("\n---\n")
	}
	kubectl := exec.CommandContext(ctx, kube, "apply", "--server-side", "--validate=ignore", "-f", "-")
	kubectl.Args[0] = "kubectl"
	kubectl.Env = kubectlEnv(p)
	kubectl.Stdin = &all
	if output, err := kubectl.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot apply the add-ons: %s", bytes.TrimSpace(output))
	}
	return nil
}

// kubectlEnv points kubectl at a cluster, and keeps its cache out of the user's home.
func kubectlEnv(p Plan) []string {
	return append(os.Environ(), "KUBECONFIG="+p.Kubeconfig(), "KUBECACHEDIR="+filepath.Join(p.State, "kubectl-cache"))
}
