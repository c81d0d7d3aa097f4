package main

import (
	"fmt"
	"path/filepath"
)

// A program is one of the node's daemons.
type program struct {
	// Name is also the name of the log.
	Name string
	// Path is the executable, Args are its arguments without argv[0].
	Path string
	Args []string
	// Ready is an optional URL that answers 200 when the next program may start.
	Ready string
}

// programs lists the node's daemons in starting order. A daemon waits only for those
// that it cannot start without; all others are retried by their clients.
func programs(p Plan) []program {
	kube := func(name string) string { return filepath.Join(nodeBin, name) }
	pki := func(name string) string { return filepath.Join(nodePKI, name) }
	config := func(name string) string { return filepath.Join(nodeConfig, name) }
	return []program{
		{
			Name: "containerd",
			Path: "containerd",
			Args: []string{"--config", config("containerd.toml"), "--log-level", "warn"},
		},
		{
			// Without fsync, because a cluster does not outlive its node.
			Name: "etcd",
			Path: "etcd",
			Args: []string{
				"--data-dir=/var/lib/etcd", "--unsafe-no-fsync", "--log-level=warn", "--logger=zap",
				"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
				"--listen-peer-urls=http://127.0.0.1:2380", "--auto-compaction-retention=0",
			},
		},
		{
			Name: "kube-apiserver",
			Path: kube("kube-apiserver"),
			Args: []string{
				"--etcd-servers=http://127.0.0.1:2379",
				"--advertise-address=" + p.NodeIP.String(), fmt.Sprintf("--secure-port=%d", apiPort),
				"--service-cluster-ip-range=" + p.Allocatable.String(),
				"--tls-cert-file=" + pki("apiserver.crt"), "--tls-private-key-file=" + pki("apiserver.key"),
				"--client-ca-file=" + pki("ca.crt"), "--authorization-mode=Node,RBAC",
				"--kubelet-client-certificate=" + pki("apiserver-kubelet-client.crt"),
				"--kubelet-client-key=" + pki("apiserver-kubelet-client.key"),
				"--kubelet-certificate-authority=" + pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
				"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
				"--service-account-key-file=" + pki("service-accounts.key"),
				"--service-account-signing-key-file=" + pki("service-accounts.key"),
				// For the aggregated APIs of metrics-server and external metrics.
				"--requestheader-client-ca-file=" + pki("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
				"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
				"--requestheader-extra-headers-prefix=X-Remote-Extra-",
				"--proxy-client-cert-file=" + pki("front-proxy-client.crt"), "--proxy-client-key-file=" + pki("front-proxy-client.key"),
				"--enable-aggregator-routing=true",
				// Debian's etcd reports no progress of watches, so a list by watch fails.
				// Without the feature clients use a list.
				"--feature-gates=WatchList=false",
				"--profiling=false", "--v=1",
			},
			Ready: fmt.Sprintf("https://%s:%d/readyz", p.NodeIP, apiPort),
		},
		{
			Name: "kubelet",
			Path: kube("kubelet"),
			Args: []string{
				"--config=" + config("kubelet.yaml"), "--kubeconfig=" + pki("kubelet.kubeconfig"),
				"--hostname-override=" + p.NodeName(), "--node-ip=" + p.NodeIP.String(), "--v=1",
			},
		},
		{
			Name: "kube-controller-manager",
			Path: kube("kube-controller-manager"),
			Args: []string{
				"--kubeconfig=" + pki("kube-controller-manager.kubeconfig"), "--use-service-account-credentials=true",
				"--service-account-private-key-file=" + pki("service-accounts.key"), "--root-ca-file=" + pki("ca.crt"),
				"--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false",
				// The default rate adds five seconds to the start, and makes a thousand
				// Deployments take half an hour.
				"--kube-api-qps=1000", "--kube-api-burst=2000", "--concurrent-deployment-syncs=20", "--concurrent-replicaset-syncs=20",
				"--flex-volume-plugin-dir=/var/lib/kubelet/volume-plugins",
				"--controllers=*,-node-ipam-controller,-node-route-controller,-cloud-node-lifecycle-controller,-service-lb-controller",
				// Tests should not wait for the default period of 15 s.
				"--horizontal-pod-autoscaler-sync-period=5s", "--horizontal-pod-autoscaler-cpu-initialization-period=30s",
				"--horizontal-pod-autoscaler-initial-readiness-delay=5s",
				"--v=1",
			},
		},
		{
			Name: "kube-scheduler",
			Path: kube("kube-scheduler"),
			Args: []string{
				"--kubeconfig=" + pki("kube-scheduler.kubeconfig"), "--leader-elect=false",
				"--bind-address=127.0.0.1", "--profiling=false", "--v=1",
				"--kube-api-qps=1000", "--kube-api-burst=2000",
			},
		},
		{
			Name: "kube-proxy",
			Path: kube("kube-proxy"),
			Args: []string{"--config=" + config("kube-proxy.yaml"), "--hostname-override=" + p.NodeName(), "--v=1"},
		},
		{
			Name: "volume-provisioner",
			Path: kube("switchyard-cluster"),
			Args: []string{"provisioner", "--kubeconfig=" + pki("provisioner.kubeconfig"), "--node=" + p.NodeName(), "--folder=" + nodeVolumes},
		},
	}
}
