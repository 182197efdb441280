#!/bin/sh
# Fills the corpus with the golden directories, from which the fuzzer starts. Run it once before `cargo fuzz run`.
set -eu
cd "$(dirname "$0")"
mkdir -p corpus/onnx corpus/config corpus/reference corpus/load
find ../tests/data -name '*.onnx' | while read -r graph; do
    name=$(echo "${graph#../tests/data/}" | tr / -)
    cp "$graph" "corpus/onnx/$name"
    cp "$graph" "corpus/load/$name"
done
find ../tests/data -name 'genai_config.json' -o -name 'config.json' | while read -r config; do
    name=$(echo "${config#../tests/data/}" | tr / -)
    directory=$(dirname "$config")
    for file in genai_config.json config.json generation_config.json; do
        if [ -f "$directory/$file" ]; then cat "$directory/$file"; fi
        if [ "$file" != generation_config.json ]; then printf '\000'; fi
    done > "corpus/config/$name"
done
for file in ../tests/data/models/*/reference.safetensors; do
    cp "$file" "corpus/reference/$(basename "$(dirname "$file")")"
done
