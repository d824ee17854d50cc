#!/bin/bash
# curl asks gunicorn + Flask, which asks a Go server: two requests at a time, eight in all, one of them with a traceparent.
set -euo pipefail
victims=${SUTURE_VICTIMS:-$HOME/.cache/suture/victims}
tests=$(cd "$(dirname "$0")/../.." && pwd)
leaf=$((PORT + 1))
"$victims/go-victim" "$leaf" </dev/null >/dev/null 2>&1 & go=$!
env LEAF_URL="http://127.0.0.1:$leaf" PYTHONPATH="$tests/victims/python" "$victims/venv/bin/gunicorn" --workers 1 --threads 2 \
  --bind "127.0.0.1:$PORT" flask_app:app </dev/null >/dev/null 2>&1 & flask=$!
trap 'kill "$go" "$flask" 2>/dev/null || true; wait' EXIT
for port in "$PORT" "$leaf"; do
  until ss -ltnH "sport = :$port" | grep -q .; do sleep 0.1; done
done
url=http://127.0.0.1:$PORT
curl -fsS -o /dev/null "$url/work/0"
curl -fsS -o /dev/null -H 'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' "$url/work/1"
for round in 1 2 3; do
  curl -fsS -o /dev/null "$url/work/$((round * 2))" & one=$!
  curl -fsS -o /dev/null "$url/work/$((round * 2 + 1))" & two=$!
  wait "$one" "$two"
done
