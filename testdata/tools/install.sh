#!/usr/bin/env bash
# install.sh DIR: makes DIR a virtual environment that holds exactly the pinned
# Python tools, each checked by its hash. Does nothing when DIR is so already.
# PYTHON names the interpreter to build on.
set -euo pipefail

dir=${1:?usage: install.sh DIR}
python=${PYTHON:-python3}
requirements=$(cd "$(dirname "$0")" && pwd)/requirements.txt
stamp=$dir/requirements.sha256

fail() {
  echo "tools: $*" >&2
  exit 1
}

command -v "$python" >/dev/null || fail "no $python in PATH: install Python 3.11 or later, or set PYTHON"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case $version in
  3.1[1-4]) ;;
  *) fail "$python is Python $version, the pinned tools need 3.11 to 3.14: set PYTHON to another one" ;;
esac
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  fail "$python has no venv or ensurepip module: on Debian and Ubuntu apt-get install python3-venv"

mkdir -p "$(dirname "$dir")"
exec 9>"$dir.lock"
flock 9

want="$(sha256sum <"$requirements") python $version"
if [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && "$dir/bin/python" -c '' 2>/dev/null; then
  exit 0
fi

# uv does the work. It is in the list itself, so pip checks the same hash.
if [ "$("$dir/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" != "$version" ] ||
  ! "$dir/bin/uv" --version >/dev/null 2>&1; then
  echo "tools: making $dir with Python $version" >&2
  "$python" -m venv --clear "$dir"
  "$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
    -r <(sed -n '/^uv==/,/[^\\]$/p' "$requirements")
fi
rm -f "$stamp"
"$dir/bin/uv" pip sync --quiet --python "$dir/bin/python" --require-hashes "$requirements"
echo "$want" >"$stamp"
echo "tools: $dir is ready, Python $version" >&2
