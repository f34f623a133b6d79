#!/bin/sh
# Makes .venv and installs one of the pinned sets (run, test) into it. Needs Python 3.11 or newer with pip; python3-venv is optional.
set -eu
set_name=$1
python=${PYTHON:-python3}
venv=${VENV:-.venv}

"$python" - <<'PY' || { echo "Python 3.11 or newer is needed (set PYTHON=...)" >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 11))
PY

if [ ! -x "$venv/bin/python" ]; then
  # Debian without python3-venv has no ensurepip: the environment is made bare, and the system's pip installs into it.
  "$python" -m venv "$venv" >/dev/null 2>&1 || { rm -rf "$venv"; "$python" -m venv --without-pip "$venv"; }
fi
if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  pip="$venv/bin/python -m pip"
else
  pip="$python -m pip --python $venv/bin/python"
fi
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
$pip install -qq --require-hashes --requirement "requirements/$set_name.lock"
$pip install -qq --no-deps --no-build-isolation --editable .
touch "$venv/.installed-$set_name"
