#!/bin/sh
# See to the programs that the tests run: an SSH server, network namespaces, PostgreSQL, S3 (Ceph), podman, a browser.
# Installs them with apt-get as root or through sudo; otherwise says what to install, and fails.
set -eu
PATH=$PATH:/usr/sbin:/sbin

missing=
need() { # COMMAND PACKAGE
    if ! command -v "$1" >/dev/null 2>&1; then missing="$missing $2"; fi
}
need sshd openssh-server
need ssh openssh-client
need ssh-keygen openssh-client
need ip iproute2
need tc iproute2
need nft nftables
need unshare util-linux
need nsenter util-linux
need setpriv util-linux
need zsh zsh
need fish fish
need tcsh tcsh
need ps procps
need git git
need git-lfs git-lfs
need podman podman
need crun crun
[ -x /usr/lib/podman/netavark ] || [ -x /usr/libexec/podman/netavark ] || need netavark netavark
need radosgw radosgw
need ceph-mon ceph-mon
need ceph-osd ceph-osd
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || need initdb postgresql
command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 || need chromium chromium
missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
missing=${missing% }
if [ -z "$missing" ]; then exit 0; fi

if [ "$(uname -s)" != Linux ]; then
    echo "The tests make hosts in Linux network namespaces; on this system run them in a Linux virtual machine or container." >&2
    echo "Missing here: $missing" >&2
    exit 1
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "The tests need these programs, named as Debian's packages: $missing" >&2
    echo "Install them with this system's package manager, then run this again." >&2
    exit 1
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1 && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        as_root=sudo
    else
        echo "The tests need packages that only root may install. Run this, then try again:" >&2
        echo "    apt-get install --no-install-recommends $missing" >&2
        exit 1
    fi
fi
echo "Installing $missing"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get -o DPkg::Lock::Timeout=300 update --quiet
$as_root apt-get -o DPkg::Lock::Timeout=300 install --yes --quiet --no-install-recommends $missing
