// Package gitops holds what GitOps pipelines see of Switchyard against the programs that they look with: kstatus, by which Flux waits; the
// Lua machine in which Argo CD judges health; and the API server's own rules for custom resources.
package gitops
