# What goes into an image beside its base: compiled programs, models, start scripts.
# Sourced by images/build, which provides `say`, `die` and $images, $repository, $cache, $binaries.

# The list below images/base that an image stands on.
base_of() { if is_program "$1"; then echo runtime; else echo "$1"; fi; }

# compile NAME…: the programs of these images, in release mode, into a folder of the cache that is named after their sources and the
# compiler: another checkout of the same sources compiles nothing.
compile() {
  command -v cargo >/dev/null || die "cargo is missing: install Rust with rustup, or name --binaries FOLDER"
  local name key missing=()
  key=$({ rustc --version; sources; } | sha256sum | cut -c1-16)
  binaries=$cache/programs/$key
  for name; do [[ -x $binaries/switchyard-$name ]] || missing+=("$name"); done
  if ((${#missing[@]})); then
    say "compiling ${missing[*]}"
    (cd "$repository" && cargo build --release --locked "${missing[@]/#/--package=switchyard-}" >&2) || die "cargo build failed"
    mkdir -p "$binaries"
    for name in "${missing[@]}"; do
      install -m 0755 "$CARGO_TARGET_DIR/release/switchyard-$name" "$binaries/switchyard-$name.part"
      strip "$binaries/switchyard-$name.part"
      mv "$binaries/switchyard-$name.part" "$binaries/switchyard-$name"
    done
  fi
  touch "$binaries"
  ls -td "$cache/programs"/*/ | tail -n +4 | xargs -r rm -rf
}

# Path and content of whatever may end up in a program.
sources() (
  cd "$repository"
  find Cargo.toml Cargo.lock operator workloads e2e/fixtures -type f -not -path '*/tests/*' -not -path '*/models/*.py' -not -name '*.md' \
    -not -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
)

# The path of the S3 server's static program.
versitygw() {
  if [[ -n $binaries && -x $binaries/versitygw ]]; then echo "$binaries/versitygw"; else
    "$repository/e2e/cluster/cluster" tool versitygw
  fi
}

# stage NAME FOLDER: everything that the image's Containerfile copies.
# Programs lie below prebuilt/ as in the image, models below models/; a service has its own folder as it is.
stage() {
  local name=$1 folder=$2 program=switchyard-$(kind_of "$1")
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

# stage_models FOLDER [cuda]: the model folder, ONNX Runtime in it.
stage_models() {
  local folder=$1 made
  made=$("$repository/workloads/ai/models/build" ${2:+"$2"} | tail -n 1)
  [[ -f $made/libonnxruntime.so ]] || die "workloads/ai/models/build did not name a folder with libonnxruntime.so"
  # Hard links where the cache is on one file system: nothing writes to a context.
  cp -rlL "$made" "$folder" 2>/dev/null || { rm -rf "$folder"; cp -rL "$made" "$folder"; }
}

# fingerprint FOLDER: path, mode and content of each file.
fingerprint() (
  cd "$1"
  find . -type f -printf '%m %p\n' | LC_ALL=C sort
  find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
)
