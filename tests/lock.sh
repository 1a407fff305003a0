#!/bin/sh
# Write the exact versions that pip resolves for the runtime and the tools to the file named by the first argument.
# Run through `make constraints`; commit the result when `make check test demo` pass with it.
set -eu
target=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
pip="$scratch/venv/bin/python -m pip --disable-pip-version-check"
$pip install -qq --root-user-action ignore hatchling
$pip install -qq --root-user-action ignore --no-build-isolation -e '.[dev]'
{
    echo "# Exact versions of the runtime and of the tools, resolved for $("$scratch/venv/bin/python" --version)."
    echo "# Made by \`make constraints\`; never edited by hand. The build of torch (CPU, CUDA) is left to the index."
    $pip freeze --all --exclude pip --exclude-editable | sed 's/^\(torch==[^+]*\)+.*/\1/'
} >"$scratch/constraints.txt"
cp "$scratch/constraints.txt" "$target"
