#!/usr/bin/env bash
# Makes one virtual environment for each peer framework under benchmarks/.venvs/.
#   benchmarks/peers/setup.sh [pfl] [flower] [byzfl]     (the first two without arguments)
# torch is installed first and pinned by a constraints file: without it a peer may pull another
# torch, which would make the comparison worthless. Takes minutes and about 1 GB each.
set -euo pipefail

here="$(cd "$(dirname "$0")" && pwd)"
venvs="$here/../.venvs"
python="${PYTHON:-python3}"
torch_version="${TORCH_VERSION:-2.13.0}"

declare -A packages=(
  [pfl]="pfl==0.6.0"
  [flower]="flwr[simulation]>=1.41,<1.43"
  [byzfl]="scipy"  # byzfl itself comes without its dependencies: only its aggregators are read
)

for peer in "${@:-pfl flower}"; do
  for name in $peer; do
    [ -n "${packages[$name]:-}" ] || { echo "unknown peer $name: pfl, flower or byzfl" >&2; exit 2; }
    echo "== $name"
    "$python" -m venv "$venvs/$name"
    pip=("$venvs/$name/bin/python" -m pip install --quiet --disable-pip-version-check)
    echo "torch==$torch_version" > "$venvs/$name/constraints.txt"
    "${pip[@]}" "torch==$torch_version" numpy
    "${pip[@]}" -c "$venvs/$name/constraints.txt" numpy "${packages[$name]}"
    [ "$name" != byzfl ] || "${pip[@]}" --no-deps byzfl==0.0.11
    "$venvs/$name/bin/python" -m pip freeze > "$venvs/$name/installed.txt"
  done
done
