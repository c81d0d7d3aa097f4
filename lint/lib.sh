# Functions of the linters. Sourced by the scripts of this folder, which take the files to check as
# arguments, relative to the root of the repository. Without arguments they check the whole tree.
#
# shellcheck shell=bash
set -euo pipefail
shopt -s inherit_errexit

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Also sets PATH, if `make prepare` has installed Go or Rust.
# shellcheck source=e2e/toolchains.sh
. "$root/e2e/toolchains.sh"
cd "$root"
given=("$@")

die() {
  printf '%s\n' "$*" >&2
  exit 1
}

tool() { lint/tools/tool "$1"; }

# tree PATTERN…: lists the files of the tree that match, also those that are not committed yet.
tree() {
  git -c core.quotePath=false ls-files --cached --others --exclude-standard --deduplicate -- "$@" | while IFS= read -r file; do
    [ ! -f "$file" ] || printf '%s\n' "$file"
  done
}

# with_interpreter WORD PATTERN…: lists the files of the tree that start with `#!` and name WORD,
# and those that match a pattern.
with_interpreter() {
  local word=$1
  shift
  {
    tree | xargs -d '\n' awk -v word="$word" \
      'FNR == 1 { if (/^#!/ && $0 ~ word) print FILENAME; nextfile }'
    tree "$@"
  } | LC_ALL=C sort -u
}

# Scripts that others source have no interpreter's line.
shell_scripts() { with_interpreter '(bash|[/ ]sh)' '*.sh' images/rabbitmq/environment; }
python_files() { with_interpreter python '*.py'; }
# Cargo's workspaces. The last two are not part of the first.
# shellcheck disable=SC2034 # scripts that source this file use it
workspaces=(Cargo.toml workloads/ai/fuzz/Cargo.toml workloads/ai/eval/language/Cargo.toml)

# check_files COMMAND…: sets `files` to the lines that the command prints, or to those of them that
# the caller of the linter names. A linter without files would never fail, so that is a fault.
check_files() {
  mapfile -t files < <("$@")
  [ ${#files[@]} -gt 0 ] || die "found no file to check"
  if [ ${#given[@]} -gt 0 ]; then
    mapfile -t files < <(printf '%s\n' "${files[@]}" | grep -xF -f <(printf '%s\n' "${given[@]}"))
    [ ${#files[@]} -gt 0 ] || exit 0
  fi
  count "${#files[@]}"
}

# count NUMBER: reports to lint/run how many files are checked.
count() { [ -z "${LINT_COUNT:-}" ] || echo "$1" >"$LINT_COUNT"; }

# all COMMAND…: runs the command; the linter fails at its end if any of these commands failed.
failed=0
all() { "$@" || failed=1; }
finish() { exit "$failed"; }
