// Package gitops tests how GitOps controllers see Switchyard, with their own libraries: kstatus, by
// which Flux waits; the Lua interpreter in which Argo CD computes health; and the validation of
// custom resources in the API server.
package gitops
