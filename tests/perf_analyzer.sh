#!/usr/bin/env bash
# Loads a running server with NVIDIA's perf_analyzer over HTTP and gRPC and prints what it measured.
#
#     tests/perf_analyzer.sh HOST:PORT [MODEL...] [-- OPTION...]
#     tests/perf_analyzer.sh 127.0.0.1:8080 digits language -- -b 4
#
# Every model runs with binary and with JSON tensors over HTTP, over gRPC, and as streams of gRPC (FORMATS=binary: only
# so); the options after `--` go to perf_analyzer. Without models: the four of models/. The exit code is 1 if a run or a
# request of it fails.
#
# What perf_analyzer itself asks of a model: a free dimension besides the batch needs `-- --shape NAME:8`; without
# batching its JSON is wrong unless the first dimension is 1; an input without a dimension besides the batch it refuses.
#
# The first run installs perf_analyzer into target/perf_analyzer with pip. It wants glibc 2.38: on an older system the
# libraries of Debian 13 are unpacked beside it, from the mirror of the system's own apt sources or DEBIAN_MIRROR.
set -euo pipefail

VERSION=2.60.0
SUITE=trixie
LIBRARIES=(libc6 libstdc++6 libgcc-s1 libssl3t64 zlib1g libzstd1)
HOME_FOLDER="$(cd "$(dirname "$0")/.." && pwd)/target/perf_analyzer"
PROGRAM="$HOME_FOLDER/$VERSION/perf_analyzer/bin/perf_analyzer"
ROOT="$HOME_FOLDER/$SUITE"
FORMATS="${FORMATS:-binary json grpc streaming}"
TEXT="The weather is nice today, let us go for a walk by the river."

main() {
  if [[ $# -eq 0 || $1 == -h || $1 == --help ]]; then
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
    exit 2
  fi
  local address="${1#http://}" models=() runs=0 failures=0 model format
  shift
  while [[ $# -gt 0 && $1 != -- ]]; do
    models+=("$1")
    shift
  done
  if [[ $# -gt 0 ]]; then shift; fi
  if [[ ${#models[@]} -eq 0 ]]; then models=(digits diabetes iris language); fi

  install_program
  choose_command
  for model in "${models[@]}"; do
    for format in $FORMATS; do
      runs=$((runs + 1))
      measure "$address" "$model" "$format" "$@" || failures=$((failures + 1))
    done
  done
  if [[ $failures -gt 0 ]]; then
    echo "$failures of $runs runs failed" >&2
    exit 1
  fi
}

# The wheel names glibc 2.38 as its platform, so that pip has to be told to take it on an older system.
install_program() {
  if [[ -e $PROGRAM ]]; then return; fi
  rm -rf "$HOME_FOLDER/part"
  python3 -m pip install --quiet --root-user-action=ignore --disable-pip-version-check --no-deps --only-binary=:all: \
    --platform "manylinux_2_38_$(uname -m)" --target "$HOME_FOLDER/part" "perf-analyzer==$VERSION"
  chmod +x "$HOME_FOLDER/part/perf_analyzer/bin/perf_analyzer"
  mv "$HOME_FOLDER/part" "$HOME_FOLDER/$VERSION"
}

# Sets COMMAND: the program itself where the system can start it, else through the loader of Debian 13.
choose_command() {
  COMMAND=("$PROGRAM")
  if "${COMMAND[@]}" --version >/dev/null 2>&1; then return; fi
  if [[ ! -e $ROOT/unpacked ]]; then unpack_libraries; fi
  local loaders=("$ROOT"/usr/lib/*/ld-linux-*.so.*)
  local folder="${loaders[0]%/*}"
  COMMAND=("${loaders[0]}" --library-path "$folder" "$PROGRAM")
  "${COMMAND[@]}" --version >/dev/null 2>&1 || "${COMMAND[@]}" --version
}

# Downloads and unpacks LIBRARIES with an apt whose lists, cache and sources are its own: the system's stay as they are.
unpack_libraries() {
  local mirror keys=/usr/share/keyrings/debian-archive-keyring.gpg
  mirror="${DEBIAN_MIRROR:-$(system_mirror)}"
  rm -rf "$ROOT"
  mkdir -p "$ROOT"/apt/{lists/partial,archives/partial,preferences}
  touch "$ROOT/apt/status"
  echo "deb [signed-by=$keys] $mirror $SUITE main" >"$ROOT/apt/sources.list"
  cat >"$ROOT/apt/apt.conf" <<END
Dir::Etc::sourcelist "$ROOT/apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "$ROOT/apt/preferences";
Dir::State::lists "$ROOT/apt/lists";
Dir::State::status "$ROOT/apt/status";
Dir::Cache "$ROOT/apt";
APT::Sandbox::User "";
END
  (
    export APT_CONFIG="$ROOT/apt/apt.conf"
    cd "$ROOT/apt/archives"
    apt-get --quiet=2 update
    apt-get --quiet=2 download "${LIBRARIES[@]}"
  )
  local package
  for package in "$ROOT"/apt/archives/*.deb; do
    dpkg-deb --extract "$package" "$ROOT"
  done
  touch "$ROOT/unpacked"
}

# The address from which this system gets its own Debian release.
system_mirror() {
  local release mirror
  release="$(. /etc/os-release && echo "${VERSION_CODENAME:-}")"
  mirror="$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' "Created-By: Packages" |
    awk -v release="$release" '$1 == release && $2 == "main" { print $3; exit }')"
  if [[ -z $mirror ]]; then
    echo "apt's sources name no mirror of this system: set DEBIAN_MIRROR to the address of one with $SUITE" >&2
    return 1
  fi
  echo "$mirror"
}

# Runs one model for a few seconds: few short windows and a wide tolerance, for a busy machine's numbers waver.
measure() {
  local address=$1 model=$2 format=$3 output status=0 result
  shift 3
  local protocol=()
  case $format in
    grpc) protocol=(-i grpc) ;;
    streaming) protocol=(-i grpc --streaming) ;;
    *) protocol=(-i http --input-tensor-format "$format" --output-tensor-format "$format") ;;
  esac
  output="$("${COMMAND[@]}" -v -m "$model" -u "$address" --concurrency-range 4 \
    "${protocol[@]}" --string-data "$TEXT" \
    --measurement-interval 2000 --max-trials 3 -s 80 "$@" 2>&1)" || status=$?
  # 2: every request was answered, but the numbers wavered even so. A failed request ends the run with 99.
  case $status in
    0) result="$(grep -E '^Concurrency: .*, throughput: ' <<<"$output" || true)" ;;
    2) result="$(grep -E '^ +Pass .* throughput: ' <<<"$output" | tail -n 1 || true)(not stable)" ;;
    *) result="" ;;
  esac
  if [[ $result != *throughput:* || $result == *"throughput: 0 "* ]]; then
    printf '%s, %s: FAILED (exit code %s)\n%s\n' "$model" "$format" "$status" "$output"
    return 1
  fi
  printf '%s, %s: %s\n' "$model" "$format" "$result"
}

main "$@"
