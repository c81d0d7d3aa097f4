package main

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
)

// maxClusters is how many clusters can run on one machine at a time: each owns a
// quarter of 198.18.0.0/15, the range that is set aside for tests (RFC 2544).
const maxClusters = 4

var nameRule = regexp.MustCompile(`^[a-z][a-z0-9-]{0,19}$`)

// A Plan is every name and address of one cluster. It follows from the
// cluster's name, its index and the folder of all clusters alone.
type Plan struct {
	// Name is what the user calls the cluster.
	Name string
	// Index picks the cluster's share of the addresses, 0 to maxClusters-1.
	Index int
	// State is the folder on the machine that holds everything the cluster writes.
	State string

	// Pods and Services are the cluster's ranges; they are routed to the node.
	Pods, Services netip.Prefix
	// Allocatable is the part of Services that the API server hands out. The
	// link's addresses lie in the rest.
	Allocatable netip.Prefix
	// HostIP and NodeIP are the two ends of the link between machine and node.
	HostIP, NodeIP netip.Addr
	// APIServiceIP and DNSIP are the Services kubernetes and kube-dns.
	APIServiceIP, DNSIP netip.Addr
}

// linkBits is the length of the prefix of the link between machine and node.
const linkBits = 30

// apiPort is where the API server listens, on the node's address.
const apiPort = 6443

// testRange is all that a packet of a cluster may ever be addressed to.
var testRange = netip.MustParsePrefix("198.18.0.0/15")

// newPlan refuses names that would not do as a part of a host name, a control
// group and a link's alias, and indices that have no range.
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
		return fmt.Errorf("%q cannot be a cluster's name: use up to 20 lower-case letters, digits and hyphens, a letter first", name)
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

// Server is the API server's address, the same for the machine, node and pods.
func (p Plan) Server() string { return fmt.Sprintf("https://%s:%d", p.NodeIP, apiPort) }

// Kubeconfig is the administrator's kubeconfig.
func (p Plan) Kubeconfig() string { return filepath.Join(p.State, "kubeconfig") }

// Logs holds a file for each program of the node.
func (p Plan) Logs() string { return filepath.Join(p.State, "logs") }

// Var is the folder that the node has for its /var.
func (p Plan) Var() string { return filepath.Join(p.State, "var") }

// Tmp is the folder that the node has for its /tmp.
func (p Plan) Tmp() string { return filepath.Join(p.State, "tmp") }

// Outside translates a path below the node's /var into the machine's.
func (p Plan) Outside(inside string) string {
	relative, err := filepath.Rel("/var", inside)
	if err != nil {
		panic(err) // only constants come here
	}
	return filepath.Join(p.Var(), relative)
}

// Paths as the node sees them. All lie below /var, which is the cluster's own.
const (
	nodeBin        = "/var/lib/switchyard/bin"      // the names that programs are called by
	nodePrograms   = "/var/lib/switchyard/programs" // the machine's folder of the programs themselves
	nodeConfig     = "/var/lib/switchyard/config"
	nodePKI        = "/var/lib/switchyard/pki"
	nodeLogs       = "/var/lib/switchyard/logs"
	nodeVolumes    = "/var/lib/switchyard/volumes"
	nodeSysctls    = "/var/lib/switchyard/sysctls"
	containerdSock = "/var/lib/containerd/containerd.sock"
	netConfig      = "/var/lib/switchyard/net.d"
)
