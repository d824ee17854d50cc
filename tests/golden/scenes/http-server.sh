#!/bin/bash
# Python's http.server answers curl: found, not found, HEAD, and two requests on one connection.
set -euo pipefail
folder=$(mktemp -d); trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
echo hello >"$folder/hello.txt"
python3 -m http.server --bind 127.0.0.1 --protocol HTTP/1.1 --directory "$folder" "$PORT" </dev/null >/dev/null 2>&1 & server=$!
until ss -ltnH "sport = :$PORT" | grep -q .; do sleep 0.1; done
url=http://127.0.0.1:$PORT
curl -fsS -o /dev/null "$url/hello.txt"
curl -s -o /dev/null "$url/absent.txt"
curl -s -I -o /dev/null "$url/hello.txt"
curl -fsS -o /dev/null "$url/hello.txt?token=secret" -o /dev/null "$url/hello.txt"
