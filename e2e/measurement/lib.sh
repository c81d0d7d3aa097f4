# Functions of the scripts that publish figures: docs/measurements holds one page for each. Sourced
# by bash scripts, after e2e/lib.sh where they use a cluster. The caller sets `root`.
#
# A published page names revision, command, machine and load, and is of one clean run. A run of a
# tree with uncommitted changes therefore publishes nothing: its page goes to the cache.
#
# shellcheck shell=bash

: "${root:?the caller sets root}"

# begin_measurement COMMAND: records revision, load and time before the run.
begin_measurement() {
  measured_command=$1
  measured_at=$(date -u '+%Y-%m-%d %H:%M UTC')
  measured_from=$SECONDS
  measured_load=$(cut -d' ' -f1-3 /proc/loadavg)
  measured_revision=$(git -C "$root" rev-parse --short=10 HEAD)
  # The pages themselves may differ: one run after another writes them.
  measured_changes=$(git -C "$root" status --porcelain -- . ':!docs/measurements')
  [ -z "$measured_changes" ] ||
    echo "the tree has uncommitted changes: the figures will not be published" >&2
}

# provenance: what the figures are of, as a Markdown list.
provenance() {
  local model memory
  model=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
  memory=$(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)
  cat <<MD
- Revision: $measured_revision${measured_changes:+, with uncommitted changes}
- Command: \`$measured_command\`, one run
- Started: $measured_at; took $(((SECONDS - measured_from + 59) / 60)) min
- Machine: $(nproc) cores of ${model:-an unknown model}, $memory GiB of memory, Linux $(uname -r)
- Load average: $measured_load before the run, $(cut -d' ' -f1-3 /proc/loadavg) after it
MD
}

# publish NAME: wraps the page on standard input and writes it to docs/measurements/NAME.md.
publish() {
  local page=$root/docs/measurements/$1.md
  if [ -n "$measured_changes" ]; then
    page=${SWITCHYARD_CACHE:-$HOME/.cache/switchyard}/measurements/$1.md
    mkdir -p "$(dirname "$page")"
  fi
  python3 "$root/e2e/measurement/wrap.py" >"$page.new"
  mv "$page.new" "$page"
  echo "wrote ${page#"$root/"}"
}
