# Functions of the scripts that publish figures: docs/measurements holds one page for each. Sourced
# by bash scripts, after e2e/lib.sh where they use a cluster. The caller sets `root`.
#
# A published page names revision, command, machine and load, and is of one clean run at the default
# settings. Any other run publishes nothing: its page goes to the cache.
#
# shellcheck shell=bash

: "${root:?the caller sets root}"

# begin_measurement TARGET [NAME=DEFAULT…]: call it first. Exports these settings of the make target
# with their defaults, and records revision, changes and command.
begin_measurement() {
  local target=$1 setting name default
  shift
  measured_command='' measured_changes='' measured_settings=''
  for setting; do
    name=${setting%%=*} default=${setting#*=}
    [ -n "${!name:-}" ] || declare -g "$name=$default"
    [ "${!name}" = "$default" ] || measured_settings+="${measured_settings:+ }$name"
    if [ -z "${!name}" ]; then
      unset "$name"
    else
      export "${name?}"
      case ${!name} in
        *[!A-Za-z0-9_.,:/-]*) measured_command+="$name='${!name}' " ;;
        *) measured_command+="$name=${!name} " ;;
      esac
    fi
  done
  measured_command+="make $target"
  measured_revision=$(git -C "$root" rev-parse --short=10 HEAD)
  # The pages themselves may differ: one run after another writes them.
  measured_changes=$(git -C "$root" status --porcelain -- . ':!docs/measurements')
  [ -z "$measured_changes" ] ||
    echo "the tree has uncommitted changes: the figures will not be published" >&2
  [ -z "$measured_settings" ] ||
    echo "not the default of $measured_settings: the figures will not be published" >&2
}

# start_clock: call it when everything is built. Records time and load before the run.
start_clock() {
  measured_at=$(date -u '+%Y-%m-%d %H:%M UTC')
  measured_from=$SECONDS
  measured_load=$(cut -d' ' -f1-3 /proc/loadavg)
}

# provenance: what the figures are of, as a Markdown list.
provenance() {
  local model memory
  model=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | sed -n 1p)
  memory=$(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)
  cat <<MD
- Revision: $measured_revision${measured_changes:+, with uncommitted changes}
- Command: \`$measured_command\`, one run
- Started: $measured_at; took $(((SECONDS - measured_from + 59) / 60)) min
- Machine: $(nproc) cores of ${model:-an unknown model}, $memory GiB of memory, Linux $(uname -r)
- Load average: $measured_load before the run, $(cut -d' ' -f1-3 /proc/loadavg) after it
MD
}

# filled FILE…: ends the script unless each of these results has content.
filled() {
  local file
  for file; do
    [ -s "$file" ] || {
      echo "the measurement wrote no ${file##*/}: nothing is published" >&2
      exit 1
    }
  done
}

# publish NAME FILE: wraps the page in FILE and writes it to docs/measurements/NAME.md.
publish() {
  local page=$root/docs/measurements/$1.md
  filled "$2"
  if [ -n "$measured_changes$measured_settings" ]; then
    page=${SWITCHYARD_CACHE:-$HOME/.cache/switchyard}/measurements/$1.md
    mkdir -p "$(dirname "$page")"
  fi
  python3 "$root/e2e/measurement/wrap.py" <"$2" >"$page.new"
  mv "$page.new" "$page"
  echo "wrote ${page#"$root/"}"
}
