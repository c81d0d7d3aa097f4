# The build contexts: compiled programs, models, start scripts.
# Sourced by images/build, which provides `say`, `die`, `is_program`, `program_of`, `newest_first`
# and $images, $repository, $cache, $binaries. `programs_key` and `source_files` need only
# $repository; the runner of the documents and lint/containers use them.
#
# shellcheck shell=bash disable=SC2154 # those variables

# base_of NAME: the list below images/base that describes the base of an image.
base_of() { if is_program "$1"; then echo runtime; else echo "$1"; fi; }

# compile NAME…: compiles these programs in release mode and sets $binaries to a folder of the
# cache. The folder is named after a hash of the sources and the compiler, so a second checkout of
# the same sources compiles nothing.
compile() {
  command -v cargo >/dev/null || die "cargo is missing: install Rust with rustup, or use --binaries FOLDER"
  local name missing=()
  binaries=$cache/programs/$(programs_key)
  for name; do [[ -x $binaries/switchyard-$name ]] || missing+=("$name"); done
  if ((${#missing[@]})); then
    say "compiling ${missing[*]}"
    (cd "$repository" && cargo build --release --locked "${missing[@]/#/--package=switchyard-}" >&2) ||
      die "cargo build failed"
    mkdir -p "$binaries"
    for name in "${missing[@]}"; do
      install -m 0755 "$CARGO_TARGET_DIR/release/switchyard-$name" "$binaries/switchyard-$name.part"
      strip "$binaries/switchyard-$name.part"
      mv "$binaries/switchyard-$name.part" "$binaries/switchyard-$name"
    done
  fi
  touch "$binaries"
  newest_first "$cache/programs" -type d | tail -n +4 | xargs -d '\n' -r rm -rf
}

# programs_key: a hash of the sources and the compiler. rustc runs inside the tree, because
# rust-toolchain.toml chooses its version.
programs_key() (
  cd "$repository" || exit
  set -o pipefail
  {
    rustc --version && source_files | tr '\n' '\0' | xargs -0 sha256sum
  } | sha256sum | cut -c1-16
)

# source_files: every file that can be part of a program; lint/containers checks that what the
# sources include is listed. cargo also reads the manifests of the other members of the workspace,
# but no program depends on their content.
source_files() (
  cd "$repository" || exit
  find Cargo.toml Cargo.lock operator workloads e2e/fixtures monitoring/alerts.yaml -type f \
    -not -path '*/tests/*' -not -path '*/models/*.py' -not -name '*.md' \
    -not -path '*/__pycache__/*' | LC_ALL=C sort
)

# Prints the path of the S3 server, a static program.
versitygw() {
  if [[ -n $binaries && -x $binaries/versitygw ]]; then echo "$binaries/versitygw"; else
    "$repository/e2e/cluster/cluster" tool versitygw
  fi
}

# stage NAME FOLDER: fills FOLDER with the files that the image's Containerfile copies. For a
# program: prebuilt/ as in the image, and models/. For a service: the content of its own folder.
stage() {
  local name=$1 folder=$2 program
  program=switchyard-$(program_of "$name")
  if ! is_program "$name"; then
    cp -a "$images/$name/." "$folder/"
    [[ $name != s3 ]] || cp "$(versitygw)" "$folder/versitygw"
    return
  fi
  [[ -x $binaries/$program ]] || die "$binaries/$program is missing"
  mkdir -p "$folder/prebuilt/usr/local/bin"
  install -m 0755 "$binaries/$program" "$folder/prebuilt/usr/local/bin/$program"
  strip "$folder/prebuilt/usr/local/bin/$program"
  case $name in ai) stage_models "$folder/models" ;; ai-cuda) stage_models "$folder/models" cuda ;; esac
}

# stage_models FOLDER [cuda]: the model folder, which includes ONNX Runtime.
stage_models() {
  local folder=$1 made
  made=$("$repository/workloads/ai/models/build" ${2:+"$2"} | tail -n 1)
  [[ -f $made/libonnxruntime.so ]] || die "workloads/ai/models/build printed no folder with libonnxruntime.so"
  # Hard links if both are on one file system: nothing writes to a build context.
  cp -rlL "$made" "$folder" 2>/dev/null || {
    rm -rf "$folder"
    cp -rL "$made" "$folder"
  }
}

# fingerprint FOLDER: path, mode and hash of each file.
fingerprint() (
  cd "$1" || exit
  find . -type f -printf '%m %p\n' | LC_ALL=C sort
  find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
)
