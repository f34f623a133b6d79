#!/bin/sh
# Installs the system libraries that pip cannot: unixODBC (pyodbc needs it even to be imported) and what Microsoft's driver links to.
# Where that is not possible it says what to install and succeeds: the tests that need them are then skipped (an error where CI=true).
set -eu
venv=${VENV:-.venv}
packages="unixodbc libltdl7 libgssapi-krb5-2"
libraries="libodbc.so.2 libodbcinst.so.2 libltdl.so.7 libgssapi_krb5.so.2 libkrb5.so.3 libssl.so.3 libstdc++.so.6"

missing() {
  known=$( (ldconfig -p || /sbin/ldconfig -p) 2>/dev/null || true)
  for library in $libraries; do
    case "$known" in *"$library"*) ;; *) printf ' %s' "$library" ;; esac
  done
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install() {
  command -v apt-get >/dev/null 2>&1 || return 1
  DEBIAN_FRONTEND=noninteractive
  export DEBIAN_FRONTEND
  as_root apt-get update -qq >/dev/null 2>&1 || true
  # shellcheck disable=SC2086  # a list of words
  as_root apt-get install -y -qq --no-install-recommends $packages >/dev/null 2>&1
}

if [ -n "$(missing)" ]; then
  install || true
fi
lacking=$(missing)
if [ -z "$lacking" ]; then
  mkdir -p "$venv"
  touch "$venv/.installed-debian"
else
  cat >&2 <<TEXT
The tests of SQL Server will be skipped: these libraries are missing:$lacking
Install them as root, then run make again:
  apt-get install --no-install-recommends $packages     (Debian, Ubuntu)
  dnf install unixODBC libtool-ltdl krb5-libs openssl-libs               (Fedora, Red Hat)
TEXT
fi
