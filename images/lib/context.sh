# What goes into an image beside its base: compiled programs, models, start scripts.
# Sourced by images/build, which provides `say`, `die` and $images, $repository, $cache, $binaries.

# The list below images/base that an image stands on.
base_of() { if is_program "$1"; then echo runtime; else echo "$1"; fi; }

# compile NAME…: the programs of these images, in release mode, into $CARGO_TARGET_DIR.
compile() {
  command -v cargo >/dev/null || die "cargo is missing: install Rust with rustup, or name --binaries FOLDER"
  local name packages=()
  for name; do packages+=(--package "switchyard-$name"); done
  say "compiling $*"
  (cd "$repository" && cargo build --release --locked "${packages[@]}" >&2) || die "cargo build failed"
  binaries=$CARGO_TARGET_DIR/release
}

# stage NAME FOLDER: everything that the image's Containerfile copies.
# Programs lie below prebuilt/ as in the image, models below models/; a service has its own folder as it is.
stage() {
  local name=$1 folder=$2 program=switchyard-$1 models
  if ! is_program "$name"; then
    cp -a "$images/$name/." "$folder/"
    [[ $name != s3 ]] || cp "$("$repository/e2e/cluster/cluster" tool versitygw)" "$folder/versitygw"
    return
  fi
  [[ -x $binaries/$program ]] || { say "$binaries/$program is missing"; return 1; }
  mkdir -p "$folder/prebuilt/usr/local/bin"
  install -m 0755 "$binaries/$program" "$folder/prebuilt/usr/local/bin/$program"
  strip "$folder/prebuilt/usr/local/bin/$program"
  if [[ $name == ai ]]; then
    models=$("$repository/workloads/ai/models/build" | tail -n 1)
    [[ -d $models ]] || { say "workloads/ai/models/build did not name a folder"; return 1; }
    cp -rlL "$models" "$folder/models" 2>/dev/null || cp -rL "$models" "$folder/models"
  fi
}

# fingerprint FOLDER: path, mode and content of each file.
fingerprint() (
  cd "$1"
  find . -type f -printf '%m %p\n' | LC_ALL=C sort
  find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
)
