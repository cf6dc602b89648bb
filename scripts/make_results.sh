#!/usr/bin/env bash
# Measures everything under results/ anew: bottle and grid of MVTec AD (the folder $1) through EfficientNet-Lite0.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
images=("dataset=mvtec" "dataset.root=$1" "dataset.categories=[bottle,grid]" "backbone=efficientnet_lite0")
common=("results=results" "heatmaps=0")

adbench run -m "${images[@]}" "${common[@]}" method=patchcore,padim,padim_jl,spade,crd seed=0,1,2
adbench run -m "${images[@]}" "${common[@]}" method=padim,padim_jl seed=3,4
for table in configs/table/*.yaml; do
    adbench reproduce "$(basename "$table" .yaml)" "${images[@]}" "${common[@]}"
done
rm -rf results/sweeps results/tables
adbench table all results=results >/dev/null
adbench claims results=results >/dev/null
settings=()
for method in patchcore padim padim_jl spade crd; do
    settings+=("method=$method backbone=efficientnet_lite0")
done
adbench plot "${settings[@]}" --results results
adbench compare "${settings[1]}" "${settings[2]}" results=results >results/padim_against_padim_jl.md
