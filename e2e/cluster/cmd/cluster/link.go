package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
)

// ipBatch runs commands of iproute2 and stops at the first that fails.
func ipBatch(lines ...string) error {
	command := exec.Command("ip", "-batch", "-")
	command.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %s (of: %s)", bytes.TrimSpace(output), strings.Join(lines, "; "))
	}
	return nil
}

// hostLinkCommands connects the machine with the node's network namespace and routes
// the cluster's ranges to it. They change nothing else in the machine's network.
func hostLinkCommands(p Plan, nodePID int) []string {
	return []string{
		fmt.Sprintf("link add %s type veth peer name eth0 netns %d", p.Link(), nodePID),
		fmt.Sprintf("link set %s alias %s addrgenmode none", p.Link(), p.NodeName()),
		fmt.Sprintf("address add %s/%d dev %s", p.HostIP, linkBits, p.Link()),
		fmt.Sprintf("link set %s up", p.Link()),
		fmt.Sprintf("route add %s via %s dev %s", p.Pods, p.NodeIP, p.Link()),
		fmt.Sprintf("route add %s via %s dev %s", p.Services, p.NodeIP, p.Link()),
	}
}

// nodeLinkCommands configure the end inside the node. Without a default route no packet
// leaves the machine. The route of the Services leads to no host: it lets packets of
// the node's programs reach the rules of kube-proxy.
func nodeLinkCommands(p Plan) []string {
	return []string{
		"link set lo up",
		"link set eth0 addrgenmode none",
		fmt.Sprintf("address add %s/%d dev eth0", p.NodeIP, linkBits),
		"link set eth0 up",
		fmt.Sprintf("route add %s dev lo src %s", p.Allocatable, p.NodeIP),
	}
}

// routeConflict returns an error if a foreign route covers the cluster's ranges.
func routeConflict(p Plan) error {
	output, err := exec.Command("ip", "-4", "route", "show", "root", testRange.String()).Output()
	if err != nil {
		return fmt.Errorf("ip route: %w", err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(output)), "\n") {
		if line != "" && !strings.Contains(line, " dev switchyard") {
			return fmt.Errorf("the route %q conflicts with the range of clusters, %s; remove it first", strings.TrimSpace(line), testRange)
		}
	}
	return nil
}

// linkOwner returns the name of the node that owns a link, or "" if the link does not
// exist.
func linkOwner(index int) string {
	alias, err := os.ReadFile("/sys/class/net/" + linkName(index) + "/ifalias")
	if err != nil {
		return ""
	}
	if owner := strings.TrimSpace(string(alias)); owner != "" {
		return owner
	}
	return "unknown"
}

// removeLink removes both ends of a link. The kernel itself may take long to do it after
// the node's last process has ended.
func removeLink(index int) error {
	if err := ipBatch("link delete " + linkName(index)); err != nil {
		if _, gone := net.InterfaceByName(linkName(index)); gone == nil {
			return err
		}
	}
	return nil
}
