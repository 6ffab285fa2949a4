#!/usr/bin/env bash
# Exports the starter model and small encoders and opens them in Transformers.js. Prints a line per check that begins with PASS or FAIL.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1

cache=$("$here/install.sh")
cp "$here"/*.mjs "$cache/"

dotnet build "$root/src/MLNetMultimodal.ModelBuilder" -v q -clp:ErrorsOnly > "$scratch/build.log" || { cat "$scratch/build.log"; exit 1; }
tool() { dotnet run --no-build --project "$root/src/MLNetMultimodal.ModelBuilder" -- "$@"; }

model=$root/src/MLNetMultimodal.Starter/model
texts=("a photo of a bag" "ankle boots" "A Dress, with   spaces & symbols!" "naïve café" "it's the sneaker's" "12 — 👟")
long=$(printf 'a very long text about coats %.0s' {1..20}) # beyond the context: only its tokens are compared
mkdir -p "$scratch/pictures" "$scratch/models"
find "$root/samples/QuickStart/pictures" -name '*.png' -print0 | sort -z | xargs -0 node "$cache/frame.mjs" "$scratch/pictures" 32

tool export --model "$model" --output "$scratch/models/starter" --dtype fp32 q8
tool tokenize --model "$model" --format json --text "${texts[@]}" "$long" > "$scratch/tokens.json"
tool embed --model "$model" --image "$scratch/pictures" --text "${texts[@]}" > "$scratch/embeddings.json"
tool classify --model "$model" --labels "bag,dress,sneaker,ankle boot" --template "a photo of a {}." --format json \
  "$scratch/pictures" > "$scratch/classes.json"
status=0
node "$cache/check.mjs" "$scratch/models" starter "$scratch" || status=1

node "$cache/encoder-folders.mjs" "$scratch/encoders"
for encoder in text image; do
  tool export --model "$scratch/encoders/$encoder" --output "$scratch/models/$encoder" --dtype fp32 q8 int8
done
tool tokenize --model "$scratch/encoders/text" --format json --text "${texts[@]}" > "$scratch/text-tokens.json"
tool embed --model "$scratch/encoders/text" --text "${texts[@]}" > "$scratch/text-embeddings.json"
tool embed --model "$scratch/encoders/image" --image "$scratch/pictures" > "$scratch/image-embeddings.json"
node "$cache/encoders.mjs" "$scratch/models" "$scratch" || status=1
exit $status
