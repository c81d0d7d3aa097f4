# Base images: root file systems of selected files from Debian packages.
#
# A list below images/base describes each. Its lines are
#   packages NAME…   packages to unpack, with dependencies; no maintainer script runs
#   keep GLOB…       files of the image; the shared libraries that they link to are added
#   drop GLOB…       exceptions from keep
#   shell            adds BusyBox as /bin/sh, with all its applets
#   user NAME        the name of user and group 65532
# Sourced by images/build, which provides `say`, `die`, `image` (buildah) and $images, $cache.
#
# shellcheck shell=bash disable=SC2154 # those variables

debian_suite=bookworm

# The Debian sources that this machine uses, so that a local mirror applies; empty on other systems.
debian_sources() {
  apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
    'Created-By: Packages' 'Origin: Debian' 2>/dev/null | grep -E " ${debian_suite}[a-z-]* " || true
}

# unpack FOLDER PACKAGE…: extracts the packages and their dependencies, without configuring them.
unpack() {
  local folder=$1 sources proxy options=()
  shift
  proxy=$(apt-config dump --format '%v' Acquire::http::Proxy)
  [[ -z $proxy ]] || options+=(--aptopt="Acquire::http::Proxy \"$proxy\"")
  sources=$(debian_sources)
  local include
  include=$(
    IFS=,
    echo "$*"
  )
  mmdebstrap --quiet --mode=root --variant=extract --format=directory "${options[@]}" \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --include="$include" \
    "$debian_suite" "$folder" ${sources:+-} <<<"$sources" >"$cache/unpack.log" 2>&1 ||
    die "mmdebstrap failed: $(tail -n 3 "$cache/unpack.log")"
}

# words LIST WORD: the arguments of all lines of LIST that start with WORD.
words() { awk -v word="$2" '$1 == word { for (i = 2; i <= NF; i++) print $i }' "$1"; }

# expand ROOT GLOB…: matching paths below ROOT, relative to it. A glob without a match is an error.
expand() (
  cd "$1" || exit
  shift
  local glob pattern braces paths
  for glob; do
    eval "braces=(${glob//\*/\\*})" # expands braces only; the loop below expands the stars
    for pattern in "${braces[@]}"; do
      mapfile -t paths < <(compgen -G "$pattern")
      ((${#paths[@]})) || die "no file matches '$pattern'"
      printf '%s\n' "${paths[@]}"
    done
  done
)

# copy_paths FROM TO <PATHS: copies each path with its parents and the targets of its links.
copy_paths() {
  local from=$1 to=$2 path target
  while read -r path; do
    [[ -e $to/$path || -L $to/$path ]] && continue
    (cd "$from" && cp -a --parents -- "$path" "$to/")
    [[ -L $from/$path ]] || continue
    target=$(readlink "$from/$path")
    [[ $target == /* ]] || target=/$(dirname "$path")/$target
    realpath -ms --relative-to=/ -- "$target" | copy_paths "$from" "$to"
  done
}

# linked_libraries ROOT SUBSET: the libraries that the loader of ROOT finds for programs of SUBSET.
linked_libraries() {
  local root=$1 subset=$2 loader file
  loader=$(cd "$root" && echo usr/lib*/ld-linux*.so.*)
  loader=/${loader%% *}
  echo "${loader#/}"
  (cd "$subset" && find . -type f -size +3 \( -perm /111 -o -name '*.so*' \) -print) | while read -r file; do
    head -c4 "$subset/$file" | grep -aq $'^\x7fELF' || continue
    { chroot "$root" "$loader" --list "/${file#./}" || true; } 2>/dev/null # fails for a static program
  done | awk '$2 == "=>" && $3 ~ "^/" { print $3 }' | sort -u | while read -r file; do
    # The loader names /lib, which is a link to /usr/lib.
    echo "usr${file#/usr}"
  done
}

# select_files LIST FROM TO: the root file system of the image, from the unpacked packages.
select_files() {
  local list=$1 from=$2 to=$3 user link
  mkdir -p "$to"/usr/{bin,sbin,lib,lib64} "$to"/{dev,proc,sys,run,tmp,etc/ssl/certs}
  for link in bin sbin lib lib64; do ln -s "usr/$link" "$to/$link"; done
  chmod 1777 "$to/tmp"
  local keep=() drop=()
  mapfile -t keep < <(words "$list" keep)
  mapfile -t drop < <(words "$list" drop)
  expand "$from" "${keep[@]}" | copy_paths "$from" "$to"
  ((${#drop[@]} == 0)) || expand "$to" "${drop[@]}" | (cd "$to" && xargs -r rm -rf --)
  if grep -qx shell "$list"; then
    cp "$from/bin/busybox" "$to/usr/bin/busybox"
    chroot "$to" /usr/bin/busybox --install -s /usr/bin
  fi
  linked_libraries "$from" "$to" | copy_paths "$from" "$to"
  if [[ -d $from/usr/share/ca-certificates ]]; then
    find "$from/usr/share/ca-certificates" -name '*.crt' | LC_ALL=C sort |
      xargs cat >"$to/etc/ssl/certs/ca-certificates.crt"
  fi
  user=$(words "$list" user)
  printf '%s\n' 'root:x:0:0:root:/:/sbin/nologin' "$user:x:65532:65532:$user:/tmp:/sbin/nologin" >"$to/etc/passwd"
  printf '%s\n' 'root:x:0:' "$user:x:65532:" >"$to/etc/group"
  printf '%s\n' 'passwd: files' 'group: files' 'hosts: files dns' >"$to/etc/nsswitch.conf"
  : >"$to/etc/hosts"
  find "$to" -depth -type d \( -path '*/share/doc' -o -path '*/share/man' \) -exec rm -rf {} +
}

# base_image LIST: prints the reference of the base image of that list; builds it if it is missing.
base_image() {
  local list=$images/base/$1 hash reference work container older
  hash=$(cat "$list" "$images/lib/base.sh" | sha256sum | cut -c1-16)
  reference=localhost/switchyard/base-$1:$hash
  if ! image images --quiet "$reference" >/dev/null 2>&1; then
    say "base $1: unpacking Debian packages"
    work=$(mktemp -d "$cache/base.XXXXXX")
    local packages=()
    mapfile -t packages < <(words "$list" packages)
    unpack "$work/from" "${packages[@]}"
    select_files "$list" "$work/from" "$work/to"
    container=$(image from scratch)
    image add --quiet "$container" "$work/to" / >/dev/null
    image commit --quiet --timestamp 0 --rm "$container" "$reference" >/dev/null
    rm -rf "$work"
    image images --format '{{.Name}}:{{.Tag}}' --filter "reference=localhost/switchyard/base-$1" |
      while read -r older; do [[ $older == "$reference" ]] || image rmi "$older" >/dev/null; done
  fi
  echo "$reference"
}
