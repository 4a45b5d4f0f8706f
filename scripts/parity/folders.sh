#!/usr/bin/env bash
# The weight files of other libraries and ours, both ways: random tiny models written by transformers, torch
# and TensorFlow open here with transformers' hidden states; folders that we write open there with the same, whether
# converted or written from a model in memory.
#   scripts/parity/folders.sh
# PYTHON names an interpreter with torch and transformers, TENSORFLOW one with tensorflow; without TENSORFLOW
# its part is skipped. If TENSORFLOW has torch and transformers before 5 too, their own readers check the files.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python=${PYTHON:-python3}
export HF_HUB_OFFLINE=1 TF_CPP_MIN_LOG_LEVEL=3

"$python" scripts/parity/tiny.py torch "$here/theirs"
if [ -n "${TENSORFLOW:-}" ]; then
    "$TENSORFLOW" scripts/parity/tiny.py tensorflow "$here/theirs" 2>/dev/null
    if "$TENSORFLOW" -c 'import torch, transformers.models.bert.modeling_bert as m; m.load_tf_weights_in_bert' 2>/dev/null; then
        "$TENSORFLOW" scripts/parity/tensorflow_reader.py "$here/theirs"
    fi
else
    echo "skipped: TENSORFLOW names no interpreter" >&2
fi
cargo build --quiet --profile "${PROFILE:-release}" -p bert4rs-cli
folder=${PROFILE:-release}
bert4rs=${CARGO_TARGET_DIR:-target}/${folder/#dev/debug}/bert4rs
mkdir "$here/ours"
for theirs in "$here"/theirs/*/; do
    name=$(basename "$theirs")
    model=${name%-torch}
    model=${model%-tensorflow}
    "$bert4rs" convert "$theirs" "$here/ours/$name" --json >/dev/null
    "$bert4rs" verify "$here/ours/$name" "$here/theirs/$model" --json >"$here/verified" ||
        echo "$name: not verified here" >&2
done
# Once more through the model: read into parameters, computed with, and written anew.
for theirs in "$here"/theirs/*/; do
    if [ -f "$theirs/expected.json" ]; then
        cargo run --quiet --profile "${PROFILE:-release}" -p bert4rs-nn --example rewrite -- \
            "$theirs" "$here/ours/$(basename "$theirs")-rewritten"
    fi
done
"$python" scripts/parity/folders.py "$here/theirs" "$here/ours"
