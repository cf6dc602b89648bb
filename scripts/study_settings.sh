#!/usr/bin/env bash
# The runs of results/settings.md: PaDiM's and CRD's settings on bottle and grid of MVTec AD (the
# folder $1), on two harder versions of them and on the demo. Records go to the folder $2.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$1 out=$2
python scripts/harder_sets.py "$root" "$out" grid bottle
for set in "$root" "$out/turned" "$out/few" demo; do
    data=("dataset=mvtec" "dataset.root=$set" "dataset.categories=[bottle,grid]")
    [ "$set" = demo ] && data=("dataset=demo")
    run=(adbench run -m "${data[@]}" "results=$out/$(basename "$set")" "heatmaps=0" "timing.enabled=false")
    "${run[@]}" method=padim_full method.ridge=0.01,0.1,1,10 method.image_score=blurred,raw
    "${run[@]}" method=padim_full method.ridge_scale=trace method.ridge=0.01,0.1,1
    "${run[@]}" method=padim_full method.anomaly_map.sigma=0
    "${run[@]}" method=crd method.lambda_=5,1e3,1e4,1e5,1e6,1e7
    "${run[@]}" method=crd method.lambda_mode=per_sample method.lambda_=0.01,0.1,1,10
    "${run[@]}" method=crd method.lambda_mode=trace method.lambda_=0.001,0.01,0.1,1
done
