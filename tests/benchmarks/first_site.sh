#!/usr/bin/env bash
# The first `make site` of a new machine, and where its time goes: a clone of this checkout at a
# revision, with empty caches and a Docker engine of its own that holds nothing yet.
# Needs root, dockerd and the packages that scripts/setup installs; removes all that it made.
# usage: tests/benchmarks/first_site.sh [REVISION]
set -euo pipefail

revision=${1:-HEAD}
checkout=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
work=$(mktemp -d /var/tmp/first-site.XXXXXX)
bridge=first-site
subnet=10.199.0

variables=(-e deployment_name=first-site -e local_cloud_port=4977 -e load_balancer_port=8977)

clean() {
  ansible-playbook playbooks/destroy.yml "${variables[@]}" >/dev/null || true
  [ ! -e "$work/engine.pid" ] || kill "$(cat "$work/engine.pid")" && wait || true
  iptables -t nat -D POSTROUTING -s "$subnet.0/24" ! -o "$bridge" -j MASQUERADE || true
  iptables -D FORWARD -i "$bridge" -j ACCEPT || true
  iptables -D FORWARD -o "$bridge" -j ACCEPT || true
  ip link delete "$bridge" || true
  rm -rf "$work"
}
trap clean EXIT

# An engine beside the machine's: it leaves the packet filter alone, so the way out is opened here.
ip link add "$bridge" type bridge
ip address add "$subnet.1/24" dev "$bridge"
ip link set "$bridge" up
iptables -t nat -A POSTROUTING -s "$subnet.0/24" ! -o "$bridge" -j MASQUERADE
iptables -I FORWARD -i "$bridge" -j ACCEPT
iptables -I FORWARD -o "$bridge" -j ACCEPT
export DOCKER_HOST=unix://$work/engine.sock
mtu=$(cat "/sys/class/net/$(awk '$2 == "00000000" {print $1; exit}' /proc/net/route)/mtu")
dockerd --bridge "$bridge" --iptables=false --ip-masq=false --mtu "$mtu" --host "$DOCKER_HOST" \
  --default-address-pool base=10.200.0.0/16,size=24 --data-root "$work/engine" \
  --cgroup-parent first-site \
  --exec-root "$work/run" --pidfile "$work/engine.pid" >"$work/engine.log" 2>&1 &
timeout 60 sh -c 'until docker version >/dev/null 2>&1; do sleep 0.2; done'

git clone --quiet "$checkout" "$work/checkout"
cd "$work/checkout"
git checkout --quiet "$revision"
export HOME=$work/home XDG_CACHE_HOME=$work/cache UV_CACHE_DIR=$work/cache/uv PIP_NO_CACHE_DIR=1
mkdir "$HOME"
export ANSIBLE_CALLBACKS_ENABLED=multicompute.spin.result_screen,ansible.posix.profile_tasks
export PROFILE_TASKS_TASK_OUTPUT_LIMIT=25
site() {
  ansible-playbook site.yml "${variables[@]}" >"$work/$1.log" || {
    cat "$work/$1.log"
    exit 1
  }
}
recap() { sed -n '/^TASKS RECAP/,/^endpoint/p' "$work/$1.log"; }
export PATH=$PWD/.venv/bin:$PATH

start=$(date +%s.%N)
scripts/setup
ready=$(date +%s.%N)
site first
served=$(date +%s.%N)
recap first
site again
ended=$(date +%s.%N)
awk -v a="$start" -v b="$ready" -v c="$served" -v d="$ended" 'BEGIN {
  printf "setup %.1f s, site %.1f s, together %.1f s; site again %.1f s\n", b - a, c - b, c - a, d - c }'
