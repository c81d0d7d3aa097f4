package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// poll is the polling interval of a start.
const poll = 200 * time.Millisecond

// A connection is a client of one cluster with the administrator's rights.
type connection struct {
	client kubernetes.Interface
}

func connect(p Plan) (connection, error) {
	config, err := clientcmd.BuildConfigFromFlags("", p.Kubeconfig())
	if err != nil {
		return connection{}, err
	}
	config.Timeout = 5 * time.Second
	config.QPS, config.Burst = 50, 100
	client, err := kubernetes.NewForConfig(config)
	return connection{client}, err
}

// until polls until done. Its error contains the last state.
func until(ctx context.Context, what string, probe func() (done bool, state string)) error {
	for {
		done, state := probe()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %s", what, state)
		case <-time.After(poll):
		}
	}
}

func (c connection) awaitAPI(ctx context.Context) error {
	return until(ctx, "the API server is not ready", func() (bool, string) {
		err := c.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
		return err == nil, fmt.Sprint(err)
	})
}

// addons are the Deployments of every cluster.
var addons = []string{"coredns", "metrics-server"}

// awaitReady waits until the node is Ready and every add-on is Available.
func (c connection) awaitReady(ctx context.Context, say func(string, ...any)) error {
	said := map[string]bool{}
	return until(ctx, "the cluster is not ready", func() (bool, string) {
		parts, err := c.parts(ctx)
		if err != nil {
			return false, err.Error()
		}
		var waiting []string
		for _, part := range parts {
			if !part.Ready {
				waiting = append(waiting, part.String())
			} else if !said[part.Name] {
				said[part.Name] = true
				say("%s", part)
			}
		}
		return len(waiting) == 0, strings.Join(waiting, "; ")
	})
}

// A part is a component of a cluster with its state.
type part struct {
	Name  string
	Ready bool
	State string
}

func (p part) String() string { return p.Name + ": " + p.State }

func (c connection) parts(ctx context.Context) ([]part, error) {
	nodes, err := c.client.CoreV1().Nodes().List(ctx, meta.ListOptions{})
	if err != nil {
		return nil, err
	}
	parts := []part{nodePart(nodes.Items)}
	for _, name := range addons {
		one := part{Name: name, State: "not there yet"}
		deployment, err := c.client.AppsV1().Deployments("kube-system").Get(ctx, name, meta.GetOptions{})
		if err == nil {
			one.Ready = deployment.Status.ObservedGeneration == deployment.Generation && deployment.Status.AvailableReplicas > 0
			one.State = fmt.Sprintf("%d of %d available", deployment.Status.AvailableReplicas, deployment.Status.Replicas)
		}
		parts = append(parts, one)
	}
	return parts, nil
}

func nodePart(nodes []core.Node) part {
	one := part{Name: "node", State: "not registered yet"}
	for _, node := range nodes {
		for _, condition := range node.Status.Conditions {
			if condition.Type == core.NodeReady {
				one.Ready = condition.Status == core.ConditionTrue
				one.State = condition.Message
			}
		}
		if one.Ready {
			one.State = "Ready, " + node.Status.NodeInfo.KubeletVersion
		}
	}
	return one
}

// status prints the parts of a cluster. Its error names those that are not ready.
func status(ctx context.Context, clusters, name string) error {
	plan, err := find(clusters, name)
	if err != nil {
		return err
	}
	fmt.Printf("cluster     %s\nkubeconfig  %s\nAPI server  %s\npods        %s\nservices    %s\nlogs        %s\n",
		name, plan.Kubeconfig(), plan.Server(), plan.Pods, plan.Services, plan.Logs())
	cluster, err := connect(plan)
	if err != nil {
		return err
	}
	parts, err := cluster.parts(ctx)
	if err != nil {
		return fmt.Errorf("the API server does not answer: %w", err)
	}
	var broken []string
	for _, part := range parts {
		fmt.Printf("%-14s %s\n", part.Name, part.State)
		if !part.Ready {
			broken = append(broken, part.Name)
		}
	}
	if len(broken) > 0 {
		return fmt.Errorf("not ready: %s", strings.Join(broken, ", "))
	}
	return nil
}

// find returns the plan of a running cluster.
func find(clusters, name string) (Plan, error) {
	if err := checkName(name); err != nil {
		return Plan{}, err
	}
	nodes, err := nodeProcesses()
	if err != nil {
		return Plan{}, err
	}
	for _, node := range nodes {
		if node.Name == name {
			return planOf(clusters, node)
		}
	}
	return Plan{}, fmt.Errorf("cluster %q is not running: cluster start --name %s", name, name)
}

func planOf(clusters string, node nodeProcess) (Plan, error) {
	plan, err := newPlan(clusters, node.Name, node.Index)
	if err != nil {
		return Plan{}, err
	}
	if _, err := os.Stat(plan.Kubeconfig()); err != nil {
		return Plan{}, fmt.Errorf("cluster %q runs from another folder than %s: set SWITCHYARD_STATE as for its start", node.Name, clusters)
	}
	return plan, nil
}
