#!/usr/bin/env bash
# An exported encoder in ONNX Runtime beside transformers, on padded batches.
#   scripts/parity/onnx.sh [FOLDER]
# FOLDER is a BERT with config.json; without it a random tiny one, with each activation. PYTHON names an interpreter with torch,
# transformers and onnxruntime.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python=${PYTHON:-python3}
export HF_HUB_OFFLINE=1
profile=${PROFILE:-release}
cargo build --quiet --profile "$profile" -p bert4rs-cli
bert4rs=${CARGO_TARGET_DIR:-target}/${profile/#dev/debug}/bert4rs
check() {
    "$bert4rs" export "$1" "$here/model.onnx" >/dev/null
    "$python" scripts/parity/onnx_runtime.py "$1" "$here/model.onnx" 2>/dev/null
}

if [ $# -gt 0 ]; then
    check "$1"
    exit
fi
"$python" scripts/parity/tiny.py torch "$here/models"
folder=$here/models/bert
for activation in gelu gelu_new relu silu; do
    echo "$activation"
    sed "s/\"hidden_act\": .*/\"hidden_act\": \"$activation\",/" "$folder/config.json" >"$here/config.json"
    mv "$here/config.json" "$folder/config.json"
    check "$folder"
done
