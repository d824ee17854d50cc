#!/bin/bash
# A small shop of real programs on loopback ports, with customers: nginx (18700) before gunicorn + Flask (18701), which asks
# Node + express (18702, 18705) and Go (18703, 18706) and keeps its stock in Redis (18704), by which a Celery worker gets its jobs.
# Says "open" on stdout when it serves; ends when its stdin is closed. Needs what tests/victims/setup.sh builds, redis-server and curl.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
victims=${SUTURE_VICTIMS:-$HOME/.cache/suture/victims}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/suture/demo
export PATH="$PATH:/usr/sbin:/usr/local/go/bin"
mkdir -p "$cache"
for port in {18700..18706}; do
  if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    echo "shop: port $port is taken; is another demo running?" >&2; exit 1
  fi
done

if [ "$here/requirements.txt" -nt "$cache/python.stamp" ]; then
  echo "shop: fetching Celery and redis for Python (pip)" >&2
  rm -rf "$cache/python"
  "$victims/venv/bin/pip" install --quiet --disable-pip-version-check --target "$cache/python" -r "$here/requirements.txt"
  touch "$cache/python.stamp"
fi
for program in price outside; do
  if [ "$here/$program.go" -nt "$cache/$program" ]; then
    (cd "$here" && CGO_ENABLED=0 GO111MODULE=off go build -o "$cache/$program" "$program.go")
  fi
done

run=$(mktemp -d /tmp/suture-shop.XXXXXX)
children=()
close() {
  for pid in "${children[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait
  rm -rf "$run"
}
trap close EXIT
start() {
  local name=$1; shift
  "$@" </dev/null >"$run/$name.log" 2>&1 & children+=($!)
}

mkdir "$run/nginx"
{
  [ "$(id -u)" != 0 ] || echo 'user root;'
  cat "$here/nginx.conf"
} >"$run/nginx.conf"
start redis redis-server --bind 127.0.0.1 --port 18704 --save '' --appendonly no
start price "$cache/price" 127.0.0.1:18703
start catalogue env NODE_PATH="$victims/node/node_modules" node "$here/catalogue.js" 18702
start accounts env NODE_PATH="$victims/node/node_modules" node "$here/accounts.js" 18705
start outside "$cache/outside" 127.0.0.1:18706 http://127.0.0.1:18700/webhooks/card
start jobs env PYTHONPATH="$cache/python:$here" "$victims/venv/bin/python" -m celery --app jobs worker --concurrency 2 --loglevel warning
start shop env PYTHONPATH="$cache/python:$here" "$victims/venv/bin/gunicorn" --workers 2 --bind 127.0.0.1:18701 shop:app
start front nginx -p "$run/nginx" -e "$run/front.log" -c "$run/nginx.conf" -g 'daemon off;'

for service in 18706/mails 18705/tenants/nobody 18703/price/1 18702/products/1 18701/health 18700/health; do
  tries=0
  until curl -sS -o "$run/answer" "http://127.0.0.1:$service" 2>"$run/curl.log"; do
    tries=$((tries + 1))
    if [ "$tries" -gt 150 ]; then
      echo "shop: http://127.0.0.1:$service does not answer" >&2; tail -n 5 "$run"/*.log >&2; exit 1
    fi
    sleep 0.1
  done
done
echo open

# Customers: two requests a second, of which some must fail. A sign-up's welcome mail comes too early; a card is charged twice.
(
  n=0
  while sleep 0.5; do
    n=$((n + 1))
    method=GET
    case $((n % 8)) in
      0) url=/orders/404 ;;
      2) method=POST url=/signup/tenant-$n ;;
      4) url="/search?q=thread" ;;
      6) method=POST url=/checkout/order-$n ;;
      *) url=/orders/$((n % 40 + 1)) ;;
    esac
    curl -s -o /dev/null -X "$method" "http://127.0.0.1:18700$url" || true
  done
) </dev/null >/dev/null 2>&1 & children+=($!)

cat >/dev/null
