"""Write the compact part of the goldens, ``tests/goldens``, from the full set.

Usage: python tests/make_compact_goldens.py FULL_FOLDER

Values are never rounded: a tensor is kept exactly or left out. ``tests/goldens/README.md`` says what is left out.
"""

import argparse
import gzip
import json
import os
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from golden import COMPACT_FOLDER

# Per case, the endings of the tensor names that are left out; other cases are not part of the compact set.
LEFT_OUT: dict[str, tuple[str, ...]] = {
    "clip_r50": ("pixel_values", "res5", "pos_embed", "input_proj", "mask_embed", "decoder_hidden"),
    "clip_r101": ("pos_embed", "input_proj", "encoder_out", "decoder_hidden", "mask_embed", "pred_masks"),
    "padded_batch_train": ("padded_pixel_values", "pos_embed", "aux0_pred_masks", "aux1_pred_masks"),
    "train_no_targets_all": ("pred_masks", "padded_pixel_values", "pos_embed", "grad:detr.query_embed.weight"),
    "unit_losses_resized": (),
    "video_T5_s1": (),
    "video_e2e_r101": (),
    "coco_image": (),
    "preprocess": ("image0_rgb", "image0_resized_chw_as_fed", "image1_rgb", "image1_resized_chw_as_fed"),
    "tracker_births_deaths": (),
    "tracker_crossing_stride3": (),
    "tracker_empty_clips": (),
    "tracker_limit_50_errors": (),
    "tracker_limit_50_silent": (),
    "tracker_nothing": (),
    "tracker_short_video": (),
    "tracker_stride_gt_window": (),
    "optimizer_groups": (),
}
VARIANTS = ("r50_ytvis", "r101_ytvis", "r50_coco")


def main() -> None:
    """Write the cases, their index, the manifests and the weight checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("full_folder", type=Path)
    full_folder = parser.parse_args().full_folder
    COMPACT_FOLDER.mkdir(exist_ok=True)
    rows = [json.loads(line) for line in (full_folder / "index.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["case"] in LEFT_OUT]
    for row in rows:
        if (full_folder / f"{row['case']}.safetensors").is_file():
            tensors = load_file(full_folder / f"{row['case']}.safetensors")
            left_out = LEFT_OUT[row["case"]]
            kept = {name: array for name, array in tensors.items() if not name.endswith(left_out)}
            np.savez_compressed(COMPACT_FOLDER / f"{row['case']}.npz", **kept)
            row["shapes"] = {name: shape for name, shape in row["shapes"].items() if name in kept}
    names = [row["case"] for row in rows if f"{row['case']}.json" in row["files"]]
    names += [f"{kind}_{variant}" for kind in ("manifest", "weights_check") for variant in VARIANTS]
    for name in names:
        content = (full_folder / f"{name}.json").read_bytes()
        # Without a time stamp every run gives the same bytes.
        write_atomically(COMPACT_FOLDER / f"{name}.json.gz", gzip.compress(content, mtime=0))
    index = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomically(COMPACT_FOLDER / "index.jsonl", index.encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Write through a neighbour file, so that `path` is never half written."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)


if __name__ == "__main__":
    main()
