# Puts the toolchains that e2e/prepare installs on the PATH. Sourced by bash and sh scripts; the
# Makefile does the same.
#
# shellcheck shell=sh
_bin=${SWITCHYARD_CACHE:-${HOME:-/root}/.cache/switchyard}/go/bin
# Go is in the cache only where the machine has none, or one that is too old: it goes first.
case :$PATH: in
  *:"$_bin":*) ;;
  *) [ ! -x "$_bin/go" ] || PATH=$_bin:$PATH ;;
esac
_bin=${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
case :$PATH: in
  *:"$_bin":*) ;;
  *) PATH=$PATH:$_bin ;;
esac
unset _bin
export PATH
