{{/* Name of all objects: the release's, with the chart's appended unless it contains that. */}}
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

{{/* Whether the operator serves the external-metrics API. A cluster has one such API, so an
     operator that watches one namespace does not. */}}
{{- define "switchyard.externalMetrics" -}}
{{- if and .Values.externalMetrics.enabled (eq .Values.watchNamespace "") -}}true{{- end -}}
{{- end -}}

{{/* Whether the chart creates PriorityClasses. They are cluster-scoped, so an operator that watches
     one namespace has none. */}}
{{- define "switchyard.priorityClasses" -}}
{{- if and .Values.priorityClasses.create (eq .Values.watchNamespace "") -}}true{{- end -}}
{{- end -}}

{{/* RBAC rules of the operator in the namespaces of platforms. */}}
{{- define "switchyard.rules" -}}
- apiGroups: [switchyard.dev]
  resources: [analyticsplatforms]
  verbs: [get, list, watch]
# It creates the default pools and reads those of users.
- apiGroups: [switchyard.dev]
  resources: [workerpools]
  verbs: [get, list, watch, create, patch]
- apiGroups: [switchyard.dev]
  resources: [analyticsplatforms/status, workerpools/status]
  verbs: [patch]
# With OwnerReferencesPermissionEnforcement, owner references with blockOwnerDeletion need this.
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
# Objects around the workloads. The operator deletes them when the spec no longer asks for them.
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
# With KEDA in the cluster, ScaledObjects instead of autoscalers.
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [get, list, watch, create, patch, delete]
# With the Prometheus operator in the cluster.
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors, prometheusrules]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [resourcequotas, limitranges]
  verbs: [get, list, watch, create, patch, delete]
# It reads Secrets that a platform names and creates generated ones. It changes and deletes none.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create]
{{- if eq .Values.watchNamespace "" }}
# The GPU capacity of the cluster.
- apiGroups: [""]
  resources: [nodes]
  verbs: [list]
{{- end }}
# The result of the setup Job, and the reasons why pods do not start.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
# Automatic recovery evicts unhealthy pods, at most one in ten minutes for each workload.
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
