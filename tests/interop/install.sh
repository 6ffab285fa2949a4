#!/usr/bin/env bash
# Installs the packages of package-lock.json into the user's cache and prints that folder. With --check, installs nothing and fails where that is to be done.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${MULTIMODAL_INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mlnet-multimodal-interop}

if ! cmp -s "$here/package-lock.json" "$cache/installed.json"; then
  if [ "${1:-}" = --check ]; then exit 1; fi
  mkdir -p "$cache"
  cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$cache/"
  (cd "$cache" && npm ci --ignore-scripts --no-progress --loglevel=error) >&2 # the packages hold their binaries
  cp "$here/package-lock.json" "$cache/installed.json"
fi
echo "$cache"
