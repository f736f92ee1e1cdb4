"""The model card of a converted checkpoint."""

from .class_names import CLASS_NAMES

# (backbone, data set) -> rows of the authors' Table: window, FPS, AP, AP50, AP75, AR1, AR10.
PUBLISHED = {
    ("resnet50", "ytvis_2019"): (
        ("T=5", 46.5, 41.6, 63.2, 45.6, 43.6, 53.0),
        ("T=36", 107.1, 42.8, 65.8, 46.8, 43.8, 51.2),
    ),
    ("resnet101", "ytvis_2019"): (("T=36", 89.4, 44.6, 69.2, 49.5, 44.0, 52.1),),
}
BACKBONE_TITLES = {"resnet50": "ResNet-50", "resnet101": "ResNet-101"}
DATASET_TITLES = {"ytvis_2019": "YouTube-VIS 2019", "ytvis_2021": "YouTube-VIS 2021", "coco": "COCO"}

TEMPLATE = """---
library_name: transformers
tags:
- video-instance-segmentation
- ifc
---

# IFC, {backbone}{dataset}

Weights of *Video Instance Segmentation using Inter-Frame Communication Transformers* (Hwang, Heo, Oh, Kim;
NeurIPS 2021, [arXiv 2106.03299](https://arxiv.org/abs/2106.03299)), converted by `ifc_hf` from the checkpoint
`{source_name}` (SHA-256 `{sha256}`). The values of the weights are unchanged; licence and conditions are those under
which the checkpoint was published.

```python
from ifc_hf import IfcForVideoInstanceSegmentation, IfcImageProcessor, IfcVideoSegmenter

model = IfcForVideoInstanceSegmentation.from_pretrained("path/to/this/folder")
processor = IfcImageProcessor.from_pretrained("path/to/this/folder")
segmenter = IfcVideoSegmenter(model, processor)
tracks = segmenter(frames)  # any iterable of RGB frames
```

## Results

{results}

## Classes

{classes}
"""


def model_card(backbone: str, dataset: str | None, source_name: str, sha256: str) -> str:
    """Text of the card.

    Args:
        backbone: "resnet50" or "resnet101".
        dataset: A key of `CLASS_NAMES`, or None.
        source_name: File name of the checkpoint that was converted.
        sha256: Its checksum, hexadecimal.

    Returns:
        Markdown with a YAML header.
    """
    return TEMPLATE.format(
        backbone=BACKBONE_TITLES[backbone],
        dataset=f", {DATASET_TITLES[dataset]}" if dataset else "",
        source_name=source_name,
        sha256=sha256,
        results=_results(backbone, dataset),
        classes=", ".join(CLASS_NAMES[dataset]) + "." if dataset else "Without names.",
    )


def _results(backbone: str, dataset: str | None) -> str:
    rows = PUBLISHED.get((backbone, dataset or ""))
    if rows is None:
        return "Not measured by `ifc_hf`."
    lines = ["| window | FPS (one RTX 2080 Ti) | AP | AP50 | AP75 | AR1 | AR10 |", "| --- " * 7 + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return (
        "As published by the authors for their best runs with this backbone and data set (validation split); not "
        "measured by `ifc_hf`, and true of this checkpoint only if it is theirs:\n\n" + "\n".join(lines)
    )
