#!/usr/bin/env bash
# Our sentence vectors and token ids beside those of sentence-transformers and transformers.
#   scripts/parity/minilm.sh FOLDER DATA [CHINESE]
# FOLDER   a published sentence encoder such as all-MiniLM-L6-v2, downloaded
# DATA     sentence pairs, JSON Lines with text_a and text_b (.zst too): the first 100 pairs
# CHINESE  texts, JSON Lines with text (.zst too): the first 2,000, with a vocabulary learned from them
# Needs torch, transformers and sentence-transformers; PYTHON names the interpreter, PROFILE=dev saves a build.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,7s/^# *//p' "$0" >&2
    exit 2
fi
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=$1 data=$2 chinese=${3:-}
export HF_HUB_OFFLINE=1
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT

python() { "${PYTHON:-python3}" scripts/parity/parity.py "$@"; }
ours() { cargo run --quiet --profile "${PROFILE:-release}" -p bert4rs-tasks --example embed_lines -- "$@"; }

python lines "$data" 100 >"$here/lines"
ours "$folder" <"$here/lines" >"$here/vectors"
python vectors "$folder" "$here/lines" "$here/vectors"
ours "$folder" --ids <"$here/lines" >"$here/ids"
python ids "$folder" "$here/lines" "$here/ids"
if [ -n "$chinese" ]; then
    python lines "$chinese" 2000 >"$here/chinese"
    for case in uncased cased; do
        python vocabulary "$case" "$here/chinese" "$here/$case"
        ours "$here/$case" --ids <"$here/chinese" >"$here/ids"
        python ids "$here/$case" "$here/chinese" "$here/ids"
    done
fi
