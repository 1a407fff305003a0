#!/bin/sh
# Make sure that the programs which the tests talk to are on this machine: comes from `make test` and `make bench-receive`,
# goes to tests/peer, tests/path and benchmarks. Without root it installs nothing: it names what lacks and fails. No
# service is started or needed.
set -eu

# program -> Debian package that brings it; whoever needs more than the tests do names it as an argument
needed="storescu:dcmtk dcmcjpeg:dcmtk dcmcjpls:dcmtk Orthanc:orthanc dciodvfy:dicom3tools initdb:postgresql $*"

# Looked up anew each time: Debian keeps PostgreSQL's server programs in a folder that is not there before they are.
found() {
    for folder in /usr/lib/postgresql/*/bin; do PATH="$PATH:$folder"; done
    command -v "$1" >/dev/null 2>&1
}

PATH="$PATH:/usr/sbin:/sbin"
missing=""
for pair in $needed; do
    program=${pair%%:*} package=${pair#*:}
    if found "$program"; then continue; fi
    echo "not found: $program (Debian package $package)"
    case " $missing " in *" $package "*) ;; *) missing="$missing $package" ;; esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "The tests need these programs. Install them with:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing" >&2
    exit 1
fi

# A package that starts its service would hold the peer's usual port: forbid that while we install, unless the
# machine has its own policy already.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086  # a list of package names, split on purpose
apt-get install -y -qq --no-install-recommends $missing >/dev/null
for servers in /usr/lib/postgresql/*/bin; do PATH="$PATH:$servers"; done
for pair in $needed; do
    program=${pair%%:*}
    found "$program" || { echo "still not found after the installation: $program" >&2; exit 1; }
done
