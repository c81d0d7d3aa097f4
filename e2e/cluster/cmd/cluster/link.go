package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
)

// ipBatch runs iproute2 on lines of commands, all or the first that fails.
func ipBatch(lines ...string) error {
	command := exec.Command("ip", "-batch", "-")
	command.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("ip: %s (of: %s)", bytes.TrimSpace(output), strings.Join(lines, "; "))
	}
	return nil
}

// hostLinkCommands joins the machine and the node's network namespace and routes
// the cluster's ranges into it. Nothing else of the machine's network changes.
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

// nodeLinkCommands is the other end, inside the node. There is no default route:
// nothing can leave the machine. The route of the Services lets the node's own
// programs get as far as kube-proxy's rules; it leads nowhere by itself.
func nodeLinkCommands(p Plan) []string {
	return []string{
		"link set lo up",
		"link set eth0 addrgenmode none",
		fmt.Sprintf("address add %s/%d dev eth0", p.NodeIP, linkBits),
		"link set eth0 up",
		fmt.Sprintf("route add %s dev lo src %s", p.Allocatable, p.NodeIP),
	}
}

// routeConflict looks for routes of others into the cluster's ranges.
func routeConflict(p Plan) error {
	output, err := exec.Command("ip", "-4", "route", "show", "root", testRange.String()).Output()
	if err != nil {
		return fmt.Errorf("ip route: %w", err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(output)), "\n") {
		if line != "" && !strings.Contains(line, " dev switchyard") {
			return fmt.Errorf("the route %q is in the way: clusters use %s; remove it first", strings.TrimSpace(line), testRange)
		}
	}
	return nil
}

// linkOwner tells whose a link is: the node's name, or "" where there is no such link.
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

// removeLink takes away both ends of a link, without waiting for the kernel to do it,
// which may take long after the node's last process has died.
func removeLink(index int) error {
	if err := ipBatch("link delete " + linkName(index)); err != nil {
		if _, gone := net.InterfaceByName(linkName(index)); gone == nil {
			return err
		}
	}
	return nil
}
