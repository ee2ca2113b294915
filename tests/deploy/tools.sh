#!/usr/bin/env bash
# tools.sh DIR: what the tests of deploy/ need beside Python packages, into DIR/bin. A second run finds all of it there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/bin" && cd "$1"
bin=$PWD/bin

HELM=v3.19.0
SCHEMAS=1.37.0 # kubernetes-validate: Kubernetes' own schemas, those of the last twelve versions

if ! command -v debootstrap >/dev/null || ! command -v systemd-analyze >/dev/null || ! command -v go >/dev/null; then
    apt-get update -qq
    apt-get install -y -qq debootstrap systemd >/dev/null
    command -v go >/dev/null || apt-get install -y -qq golang-go >/dev/null
fi
if ! command -v mvn >/dev/null || ! command -v java >/dev/null; then # for README's line for Java
    apt-get update -qq
    apt-get install -y -qq maven default-jdk-headless >/dev/null
fi
if [ ! -x "$bin/promtool" ]; then # from Debian's package, without its service
    work=$(mktemp -d)
    (cd "$work" && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; })
    dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -xO ./usr/bin/promtool >"$bin/promtool"
    chmod +x "$bin/promtool"
    rm -r "$work"
fi
[ -x "$bin/helm" ] || GOTOOLCHAIN=auto GOFLAGS=-buildvcs=false GOBIN="$bin" go install "helm.sh/helm/v3/cmd/helm@$HELM"
if [ "$bin/operator-kinds" -ot "$here/operator/go.sum" ]; then # the Prometheus Operator's own types
    (cd "$here/operator" && GOTOOLCHAIN=auto go build -buildvcs=false -o "$bin/operator-kinds" .)
    touch "$bin/operator-kinds"
fi
if [ ! -x "$bin/kubernetes-validate" ]; then
    python3 -m venv python
    python/bin/python -m pip --disable-pip-version-check --quiet install "kubernetes-validate==$SCHEMAS"
    ln -sf ../python/bin/kubernetes-validate "$bin/kubernetes-validate"
fi
# The root that the Dockerfile's lines run in: Debian with the image's Python, named as the image names it.
if [ ! -e trixie/usr/local/bin/python ]; then
    rm -rf trixie
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates trixie trixie >debootstrap.log || {
        tail debootstrap.log
        exit 1
    }
    ln -s ../../bin/python3 trixie/usr/local/bin/python
fi
