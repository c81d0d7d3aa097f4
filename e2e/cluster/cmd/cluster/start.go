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

// startTimeout suffices for a cold cache on a busy machine.
const startTimeout = 4 * time.Minute

// artifacts are the programs that the script has built.
type artifacts struct {
	Kube, CoreDNS, MetricsServer, Pause string
}

// artifactsFrom reads their paths from the environment that the script sets.
func artifactsFrom(lookup func(string) string) (artifacts, error) {
	found := artifacts{
		Kube:          lookup("SWITCHYARD_KUBE"),
		CoreDNS:       lookup("SWITCHYARD_COREDNS"),
		MetricsServer: lookup("SWITCHYARD_METRICS_SERVER"),
		Pause:         lookup("SWITCHYARD_PAUSE"),
	}
	if found.Kube == "" || found.CoreDNS == "" || found.MetricsServer == "" || found.Pause == "" {
		return found, errors.New("run the script e2e/cluster/cluster, which builds the programs")
	}
	return found, nil
}

// start starts a cluster unless it runs, and waits until its node is Ready and its
// add-ons are Available.
func start(ctx context.Context, clusters, name string, with artifacts) error {
	began := time.Now()
	say := func(format string, arguments ...any) {
		fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, arguments...))
	}
	if err := checkMachine(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()

	plan, err := startNode(clusters, name, with, say)
	if err != nil {
		return err
	}
	say("node started (pods %s, services %s, API %s)", plan.Pods, plan.Services, plan.Server())
	err = installAddons(ctx, plan, with, say)
	if err != nil {
		return fmt.Errorf("%w\nsee the logs in %s, then run `cluster stop --name %s`", err, plan.Logs(), name)
	}
	say("ready; KUBECONFIG=%s", plan.Kubeconfig())
	return nil
}

// startNode removes remains of an earlier run and starts the node's process, unless it
// runs.
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
		say("removed remains of an earlier run: %s", strings.Join(found, ", "))
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
		return Plan{}, fmt.Errorf("%s and %s must be in the same folder", executable, with.Kube)
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

// forkNode starts process 1 of the node in new namespaces, and opens its gate when the
// link and the control groups exist. The node outlives this process.
func forkNode(p Plan, executable string) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	if err := createCgroups(all, p.Cgroup()); err != nil {
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
	go func() { _ = node.Wait() }() // avoids a zombie if the node ends while this process runs
	if err := enterCgroups(all, p.Cgroup(), node.Process.Pid); err != nil {
		return err
	}
	if err := ipBatch(hostLinkCommands(p, node.Process.Pid)...); err != nil {
		return err
	}
	// Without IPv6 the machine sends no unsolicited packets on the link.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+p.Link()+"/disable_ipv6", []byte("1"), 0o644)
	_, err = open.Write([]byte{1})
	return err
}

// installAddons loads the images of the add-ons, applies their manifests and waits for
// them.
func installAddons(ctx context.Context, p Plan, with artifacts, say func(string, ...any)) error {
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

// applyManifests applies the manifests of all add-ons with kubectl.
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

// kubectlEnv returns an environment for kubectl with the cluster's kubeconfig, and a
// cache outside of the user's home.
func kubectlEnv(p Plan) []string {
	return append(os.Environ(), "KUBECONFIG="+p.Kubeconfig(), "KUBECACHEDIR="+filepath.Join(p.State, "kubectl-cache"))
}
