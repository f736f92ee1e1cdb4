"""Single images through the model: the masks that COCO's score is measured on."""

import json
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from ..data.decoding import open_frame
from ..data.labels import category_ids, label_names, match_labels
from ..model.masks import encode_rles
from .video_evaluation import own_rows


def predict_images(
    model: Any,
    processor: Any,
    rows: Any,
    part_file: Path,
    score_threshold: float = 0.0,
    process_index: int = 0,
    num_processes: int = 1,
    progress: bool = False,
) -> None:
    """Segments images as clips of one frame and writes what is found in COCO's format, one JSON object per line.

    Args:
        model: `IfcForVideoInstanceSegmentation`.
        processor: `IfcImageProcessor`.
        rows: Rows of `load_coco`.
        part_file: Where the predictions go.
        score_threshold: Instances are reported if their probability exceeds this.
        process_index: Rank of this process.
        num_processes: How many share the images.
        progress: Show a bar.

    Raises:
        ValueError: If the data has a class that the model doesn't know.
    """
    labels = match_labels(model.config.id2label, label_names(rows) or [], "evaluation data")
    ids = category_ids(rows)
    categories = {model_label: ids[data_label] for model_label, data_label in labels.items()}
    model.eval()
    own = own_rows(rows, process_index, num_processes)
    total = len(range(process_index, len(rows), num_processes))
    with open(part_file, "w", encoding="utf-8") as stream, torch.inference_mode():
        for _, row in tqdm(own, desc="Predicting", unit="image", total=total, disable=not progress):
            image = open_frame(row["image"], f"image {row['image_id']}")
            inputs = processor([image], return_tensors="pt").to(model.device)
            [found] = processor.post_process_instance_segmentation(
                model(**inputs), [(row["height"], row["width"])], score_threshold, inputs["pixel_mask"]
            )
            rles = encode_rles(found["masks"].cpu().numpy())
            for score, label, rle in zip(found["scores"].tolist(), found["labels"].tolist(), rles, strict=True):
                if label in categories:
                    line = {
                        "image_id": row["image_id"],
                        "category_id": categories[label],
                        "score": score,
                        "segmentation": rle,
                    }
                    stream.write(json.dumps(line) + "\n")
