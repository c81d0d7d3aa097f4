# Puts the toolchains that e2e/prepare installs on the PATH. Sourced by bash scripts; the Makefile
# does the same.
#
# shellcheck shell=bash
_go=${SWITCHYARD_CACHE:-${HOME:-/root}/.cache/switchyard}/go/bin
_cargo=${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
# This Go goes first: it is there only if the machine's own is missing or too old. So does rustup's
# cargo, because only it has the version of rust-toolchain.toml; Debian's is too old.
[[ :$PATH: == *":$_go:"* ]] || PATH=$_go:$PATH
if [[ ! -x $_cargo/rustup ]]; then
  # e2e/prepare may install it later.
  [[ :$PATH: == *":$_cargo:"* ]] || PATH=$PATH:$_cargo
elif [[ $(type -P cargo) != "$_cargo/cargo" ]]; then
  PATH=$_cargo:$PATH
fi
unset _go _cargo
export PATH
