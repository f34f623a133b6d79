#!/bin/sh
# Makes $VENV/peers, an environment of its own for clients that nobody here wrote (requirements/tap.in), from pinned wheels. Where they
# cannot be installed it says so and succeeds: the tests that run them are then skipped (an error where CI=true).
set -eu
venv=${VENV:-.venv}
peers=$venv/peers
python=${PYTHON:-$venv/bin/python}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

install() {
  rm -rf "$peers"
  "$python" -m venv "$peers" >/dev/null 2>&1 || { rm -rf "$peers"; "$python" -m venv --without-pip "$peers"; }
  if "$peers/bin/python" -m pip --version >/dev/null 2>&1; then
    pip="$peers/bin/python -m pip"
  else
    pip="${PIP_PYTHON:-python3} -m pip --python $peers/bin/python"
  fi
  $pip install -qq --no-deps --only-binary :all: --require-hashes --requirement requirements/tap.lock &&
    $pip install -qq --no-deps --no-build-isolation --require-hashes --requirement requirements/tap-source.lock
}

if install; then
  touch "$venv/.installed-peers"
else
  echo "The tests with independent clients will be skipped: requirements/tap.lock could not be installed." >&2
fi
