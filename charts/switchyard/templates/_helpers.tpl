{{/* Name of everything: the release's, with the chart's where the release does not say it. */}}
{{- define "switchyard.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "switchyard.selector" -}}
app.kubernetes.io/name: switchyard-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "switchyard.labels" -}}
{{ include "switchyard.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: switchyard
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* Whether the operator answers the cluster's autoscalers. There is one external-metrics API a cluster, so it takes one that watches all of it. */}}
{{- define "switchyard.externalMetrics" -}}
{{- if and .Values.externalMetrics.enabled (eq .Values.watchNamespace "") -}}true{{- end -}}
{{- end -}}

{{/* Whether there are PriorityClasses of ours; they belong to the whole cluster, so an operator of one namespace brings none. */}}
{{- define "switchyard.priorityClasses" -}}
{{- if and .Values.priorityClasses.create (eq .Values.watchNamespace "") -}}true{{- end -}}
{{- end -}}

{{/* What the operator does in the namespaces of platforms, and nothing else. */}}
{{- define "switchyard.rules" -}}
- apiGroups: [switchyard.dev]
  resources: [analyticsplatforms]
  verbs: [get, list, watch]
# It makes the default pools; those of others it reads.
- apiGroups: [switchyard.dev]
  resources: [workerpools]
  verbs: [get, list, watch, create, patch]
- apiGroups: [switchyard.dev]
  resources: [analyticsplatforms/status, workerpools/status]
  verbs: [patch]
# Owner references with blockOwnerDeletion need this where the API server checks them.
- apiGroups: [switchyard.dev]
  resources: [analyticsplatforms/finalizers, workerpools/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch]
# What goes with the workloads, and away again when the spec no longer asks for it.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, watch, create, patch, delete]
# Where KEDA is installed, its ScaledObjects in place of autoscalers.
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, watch, create, patch, delete]
# Where the Prometheus operator is installed.
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors, prometheusrules]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [resourcequotas, limitranges]
  verbs: [get, list, watch, create, patch, delete]
# Reads those that a platform names and creates those that it generates; changes and deletes none.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create]
{{- if eq .Values.watchNamespace "" }}
# How many GPUs there are.
- apiGroups: [""]
  resources: [nodes]
  verbs: [list]
{{- end }}
# What a set-up Job said at its end, and what keeps pods from starting.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
# Pods that do not get ready are evicted, one in ten minutes of a workload.
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
