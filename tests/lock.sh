#!/bin/sh
# Write the exact versions that pip resolves for the runtime and the tools to the file named by the first argument.
# torch keeps the version of that file unless TORCH names another: its builds are gigabytes and are not everywhere.
# Run through `make constraints`; commit the result when `make check test demo` pass with it.
set -eu
target=$1
torch=${TORCH:-$(sed -n 's/^torch==//p' "$target")}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
pip="$scratch/venv/bin/python -m pip --disable-pip-version-check"
$pip install -qq --root-user-action ignore hatchling "torch==$torch"
$pip install -qq --root-user-action ignore --no-build-isolation -e '.[bench,dev]' "torch==$torch"
{
    echo "# Exact versions of the runtime and of the tools, resolved for $("$scratch/venv/bin/python" --version)."
    echo "# Made by \`make constraints\`; never edited by hand. The build of torch (CPU, CUDA) is left to the index, so what"
    echo "# only a CUDA build brings is not named."
    $pip freeze --all --exclude pip --exclude-editable | sed 's/^\(torch==[^+]*\)+.*/\1/' | grep -vE '^(nvidia|cuda)-|^triton='
} >"$scratch/constraints.txt"
cp "$scratch/constraints.txt" "$target"
