#!/usr/bin/env bash
# Measures the records, tables, figures and claims under results/ anew: bottle and grid of MVTec AD
# (the folder $1) through EfficientNet-Lite0, and times and sizes of the WideResNet50 that the
# reports used, with random weights.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
common=("dataset=mvtec" "dataset.root=$1" "dataset.categories=[bottle,grid]")
common+=("results=results" "heatmaps=0")
lite=("${common[@]}" "backbone=efficientnet_lite0")
random=("${common[@]}" "backbone=wide_resnet50" "backbone.weights=random")

adbench run -m "${lite[@]}" method=patchcore,padim,padim_jl,spade,crd seed=0,1,2
adbench run -m "${lite[@]}" method=padim,padim_jl seed=3,4
adbench run -m "${lite[@]}" backbone.precision=bf16 method=patchcore,padim,padim_jl,spade,crd
for table in configs/table/*.yaml; do
    adbench reproduce "$(basename "$table" .yaml)" "${lite[@]}"
done
adbench reproduce han2024_figure3 "${random[@]}"
for side in "method.dims=150" "method=padim"; do # the claims on memory and speed of PaDiM-JL
    adbench run experiment=zhang2021 "${random[@]}" method.solver=primal "$side"
done
rm -rf results/sweeps results/tables
demo=$(mktemp -d)
adbench run threshold=folds "results=$demo" # the picture of the README
cp "$demo"/heatmaps/*/flange/*_test_scratch_003.png results/demo.png
rm -rf "$demo"
adbench table all results=results >/dev/null
adbench claims results=results >/dev/null
settings=()
for method in patchcore padim padim_jl spade crd; do
    settings+=("method=$method backbone=efficientnet_lite0")
done
adbench plot "${settings[@]}" results=results
adbench compare "${settings[1]}" "${settings[2]}" results=results >results/padim_against_padim_jl.md
for side in "${settings[@]}"; do
    adbench compare "$side" "${side/ / backbone.precision=bf16 }" results=results
done >results/bf16.md
