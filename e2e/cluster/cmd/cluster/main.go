// Command cluster starts a single-node Kubernetes cluster on this machine, without a
// container engine or an image registry. Run it with the script e2e/cluster/cluster,
// which builds it and its programs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const usage = `cluster COMMAND [--name NAME] [ARGUMENTS]   (the default name is demo)

  start         start the cluster and wait until its node, DNS and metrics are ready
  stop          remove the cluster completely
  status        print the status; the exit status is 0 only if everything is ready
  kubeconfig    print the path of the administrator's kubeconfig
  load FILE...  load missing images from docker-archive files
  archive PROGRAM TAG
                write a docker-archive of an image with one static program next to
                the program, unless it exists, and print its path
  kubectl ...   run kubectl for the cluster with the remaining arguments
`

func main() {
	var err error
	if filepath.Base(os.Args[0]) == nodeTitle {
		err = runNode(os.Args)
	} else {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		err = run(ctx, os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("no command\n" + usage)
	}
	command := arguments[0]
	if command == "help" || command == "--help" || command == "-h" {
		fmt.Print(usage)
		return nil
	}
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	if command == "provisioner" {
		return runProvisioner(ctx, flags, arguments[1:])
	}
	name := flags.String("name", "demo", "")
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	clusters, err := clustersFolder()
	if err != nil {
		return err
	}
	if err := checkName(*name); err != nil {
		return err
	}
	rest := flags.Args()
	if len(rest) > 0 && command != "load" && command != "archive" && command != "kubectl" {
		return fmt.Errorf("%s takes no argument %q", command, rest)
	}
	switch command {
	case "start":
		with, err := artifactsFrom(os.Getenv)
		if err != nil {
			return err
		}
		return start(ctx, clusters, *name, with)
	case "stop":
		return stop(clusters, *name)
	case "status":
		return status(ctx, clusters, *name)
	case "kubeconfig":
		plan, err := find(clusters, *name)
		if err == nil {
			fmt.Println(plan.Kubeconfig())
		}
		return err
	case "load":
		return load(ctx, clusters, *name, rest)
	case "archive":
		if len(rest) != 2 {
			return errors.New("archive takes a program and a tag")
		}
		path, err := archiveOf(rest[0], rest[1])
		if err == nil {
			fmt.Println(path)
		}
		return err
	case "kubectl":
		return kubectl(clusters, *name, rest)
	}
	return fmt.Errorf("unknown command %q\n%s", command, usage)
}

// clustersFolder is the parent of the folders of all clusters.
func clustersFolder() (string, error) {
	state := os.Getenv("SWITCHYARD_STATE")
	if state == "" {
		state = "/var/lib/switchyard"
	}
	absolute, err := filepath.Abs(filepath.Join(state, "clusters"))
	if err != nil {
		return "", err
	}
	// The path of a Unix socket has at most 107 bytes.
	if longest := len(absolute) + 20 + len(containerdSock) + 1; longest > 107 {
		return "", fmt.Errorf("the path %s is too long for the sockets in it: set SWITCHYARD_STATE to a shorter one", absolute)
	}
	return absolute, nil
}

func stop(clusters, name string) error {
	if os.Geteuid() != 0 {
		return errors.New("stopping a cluster needs root: run it with sudo")
	}
	registry, err := openRegistry(clusters)
	if err != nil {
		return err
	}
	defer registry.close()
	found, err := removeNode(clusters, name)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		fmt.Fprintf(os.Stderr, "no cluster %q\n", name)
	} else {
		fmt.Fprintf(os.Stderr, "cluster %q removed: %s\n", name, strings.Join(found, ", "))
	}
	return nil
}

func load(ctx context.Context, clusters, name string, files []string) error {
	if len(files) == 0 {
		return errors.New("load takes one or more files")
	}
	plan, err := find(clusters, name)
	if err != nil {
		return err
	}
	runtime, err := openRuntime(plan)
	if err != nil {
		return err
	}
	defer runtime.close()
	for _, file := range files {
		fresh, err := runtime.load(ctx, file)
		if err != nil {
			return err
		}
		if fresh {
			fmt.Fprintf(os.Stderr, "loaded %s\n", file)
		} else {
			fmt.Fprintf(os.Stderr, "already loaded: %s\n", file)
		}
	}
	return nil
}

func kubectl(clusters, name string, arguments []string) error {
	kube := os.Getenv("SWITCHYARD_KUBE")
	if kube == "" {
		return errors.New("run the script e2e/cluster/cluster, which builds kubectl")
	}
	plan, err := find(clusters, name)
	if err != nil {
		return err
	}
	return syscall.Exec(kube, append([]string{"kubectl"}, arguments...), kubectlEnv(plan))
}

func runProvisioner(ctx context.Context, flags *flag.FlagSet, arguments []string) error {
	kubeconfig := flags.String("kubeconfig", "", "")
	node := flags.String("node", "", "")
	folder := flags.String("folder", "", "")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	return provisioner{client: client, node: *node, folder: *folder}.run(ctx)
}
