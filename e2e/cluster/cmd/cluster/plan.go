package main

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
)

// maxClusters limits the clusters on one machine. Each uses a quarter of
// 198.18.0.0/15, the range for benchmarking (RFC 2544).
const maxClusters = 4

var nameRule = regexp.MustCompile(`^[a-z][a-z0-9-]{0,19}$`)

// A Plan contains the names and addresses of a cluster. They depend only on the
// cluster's name, its index and the folder of all clusters.
type Plan struct {
	// Name is the user's name of the cluster.
	Name string
	// Index selects the address range, 0 to maxClusters-1.
	Index int
	// State is the folder on the machine with all files of the cluster.
	State string

	// Pods and Services are the ranges that are routed to the node.
	Pods, Services netip.Prefix
	// Allocatable is the part of Services that the API server assigns. The
	// addresses of the link are in the rest.
	Allocatable netip.Prefix
	// HostIP and NodeIP are the two ends of the link between machine and node.
	HostIP, NodeIP netip.Addr
	// APIServiceIP and DNSIP are the Services kubernetes and kube-dns.
	APIServiceIP, DNSIP netip.Addr
}

// linkBits is the length of the prefix of the link between machine and node.
const linkBits = 30

// apiPort is the port of the API server on the node's address.
const apiPort = 6443

// testRange contains all addresses of clusters.
var testRange = netip.MustParsePrefix("198.18.0.0/15")

// newPlan returns an error for a name that cannot be part of a host name, a control
// group or a link alias, and for an index without a range.
func newPlan(clusters, name string, index int) (Plan, error) {
	if err := checkName(name); err != nil {
		return Plan{}, err
	}
	if index < 0 || index >= maxClusters {
		return Plan{}, fmt.Errorf("cluster index %d is not between 0 and %d", index, maxClusters-1)
	}
	quarter := byte(64 * index)
	ip := func(second, third, fourth byte) netip.Addr {
		return netip.AddrFrom4([4]byte{198, second, third, fourth})
	}
	return Plan{
		Name:         name,
		Index:        index,
		State:        filepath.Join(clusters, name),
		Pods:         netip.PrefixFrom(ip(18, quarter, 0), 18),
		Services:     netip.PrefixFrom(ip(19, quarter, 0), 18),
		Allocatable:  netip.PrefixFrom(ip(19, quarter, 0), 19),
		APIServiceIP: ip(19, quarter, 1),
		DNSIP:        ip(19, quarter, 10),
		HostIP:       ip(19, quarter+63, 253),
		NodeIP:       ip(19, quarter+63, 254),
	}, nil
}

func checkName(name string) error {
	if !nameRule.MatchString(name) {
		return fmt.Errorf("%q is no valid name for a cluster: use up to 20 lower-case letters, digits and hyphens, starting with a letter", name)
	}
	return nil
}

// Link is the name of the machine's end of the link.
func (p Plan) Link() string { return linkName(p.Index) }

func linkName(index int) string { return fmt.Sprintf("switchyard%d", index) }

// NodeName is the node's host name and its name in Kubernetes.
func (p Plan) NodeName() string { return "switchyard-" + p.Name }

// Cgroup is the cluster's control group, from the root of every hierarchy.
func (p Plan) Cgroup() string { return "/switchyard/" + p.Name }

// Server is the URL of the API server, the same for machine, node and pods.
func (p Plan) Server() string { return fmt.Sprintf("https://%s:%d", p.NodeIP, apiPort) }

// Kubeconfig is the path of the administrator's kubeconfig.
func (p Plan) Kubeconfig() string { return filepath.Join(p.State, "kubeconfig") }

// Logs is the folder with a log for each program of the node.
func (p Plan) Logs() string { return filepath.Join(p.State, "logs") }

// Var is the folder that the node mounts as /var.
func (p Plan) Var() string { return filepath.Join(p.State, "var") }

// Tmp is the folder that the node mounts as /tmp.
func (p Plan) Tmp() string { return filepath.Join(p.State, "tmp") }

// Outside converts a path below the node's /var to the machine's path.
func (p Plan) Outside(inside string) string {
	relative, err := filepath.Rel("/var", inside)
	if err != nil {
		panic(err) // callers pass only constants
	}
	return filepath.Join(p.Var(), relative)
}

// Paths inside the node. All are below /var, which each cluster has of its own.
const (
	nodeBin        = "/var/lib/switchyard/bin"      // links by the names of programs
	nodePrograms   = "/var/lib/switchyard/programs" // the machine's folder with the programs
	nodeConfig     = "/var/lib/switchyard/config"
	nodePKI        = "/var/lib/switchyard/pki"
	nodeLogs       = "/var/lib/switchyard/logs"
	nodeVolumes    = "/var/lib/switchyard/volumes"
	nodeSysctls    = "/var/lib/switchyard/sysctls"
	containerdSock = "/var/lib/containerd/containerd.sock"
	netConfig      = "/var/lib/switchyard/net.d"
)
