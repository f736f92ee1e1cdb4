"""Model cards of the authors' checkpoints, with the figures that they published."""

from dataclasses import dataclass

from ..data.class_names import CLASS_NAMES
from .template import SCORE_NAMES, eval_results_of, markdown_table, model_card

BACKBONE_TITLES = {"resnet50": "ResNet-50", "resnet101": "ResNet-101"}
DATASET_TITLES = {"ytvis_2019": "YouTube-VIS 2019", "ytvis_2021": "YouTube-VIS 2021", "coco": "COCO"}
DATASET_IDS = {"ytvis_2019": "youtube-vis-2019", "ytvis_2021": "youtube-vis-2021", "coco": "coco"}
# Steps of the COCO pre-training, and after which one the learning rate drops.
COCO_STEPS = {"resnet50": ("1,108,800", "739,200"), "resnet101": ("1,848,000", "1,232,000")}
PAPER = ("Hwang et al., NeurIPS 2021", "https://arxiv.org/abs/2106.03299")


@dataclass(frozen=True)
class PublishedResult:
    """A row of the authors' table of results on YouTube-VIS 2019 valid.

    Attributes:
        backbone: A key of `BACKBONE_TITLES`.
        num_frames: Window T.
        fps: Frames per second on one RTX 2080 Ti.
        scores: Percent, in the order of `SCORE_NAMES`, of the best of several trainings.
        mean_ap: Percent, the average of the AP over several trainings.
    """

    backbone: str
    num_frames: int
    fps: float
    scores: tuple[float, ...]
    mean_ap: float

    @property
    def name(self) -> str:
        """Of the card in `model_cards/`."""
        return f"ifc-{self.backbone.replace('resnet', 'resnet-')}-ytvis-2019-t{self.num_frames}"


PUBLISHED = (
    PublishedResult("resnet50", 5, 46.5, (41.6, 63.2, 45.6, 43.6, 53.0), 39.0),
    PublishedResult("resnet50", 36, 107.1, (42.8, 65.8, 46.8, 43.8, 51.2), 41.2),
    PublishedResult("resnet101", 36, 89.4, (44.6, 69.2, 49.5, 44.0, 52.1), 42.6),
)


def converted_card(backbone: str, dataset: str | None, source: str, file_name: str, sha256: str) -> str:
    """Card of a checkpoint that was just converted.

    Args:
        backbone: A key of `BACKBONE_TITLES`.
        dataset: A key of `CLASS_NAMES`, or None.
        source: What `from_pretrained` takes.
        file_name: Of the checkpoint.
        sha256: Its checksum, hexadecimal.

    Returns:
        Markdown with a YAML header; without results in the header, as which run the file is from can't be seen.
    """
    rows = [row for row in PUBLISHED if row.backbone == backbone and dataset == "ytvis_2019"]
    scores = "Not measured by `ifc_hf`."
    if rows:
        scores = f"{quoted(rows)}\n\nTrue of this checkpoint only if it is theirs."
    return model_card(
        title(backbone, dataset),
        source,
        f"{introduction(backbone)} Converted by `ifc_hf` from `{file_name}` (SHA-256 `{sha256}`).",
        CLASS_NAMES[dataset] if dataset else (),
        num_frames=1 if dataset == "coco" else 5,
        scores=scores,
        training=recipe(backbone, dataset),
        datasets=[DATASET_IDS[dataset]] if dataset else None,
    )


def published_card(result: PublishedResult) -> str:
    """Card of a checkpoint that the authors published, to go with its conversion."""
    source = result.name
    command = f"python scripts/convert_original.py CHECKPOINT.pth {source} --backbone {result.backbone}"
    scores = dict(zip(SCORE_NAMES, result.scores, strict=True))
    return model_card(
        f"{title(result.backbone, 'ytvis_2019')}, T={result.num_frames}",
        source,
        f"{introduction(result.backbone)} They are not ours to ship: get the checkpoint from the authors, then\n\n"
        f"```bash\n{command} --dataset ytvis_2019\n```",
        CLASS_NAMES["ytvis_2019"],
        num_frames=result.num_frames,
        scores=quoted([result]),
        training=recipe(result.backbone, "ytvis_2019"),
        eval_results=eval_results_of(
            DATASET_IDS["ytvis_2019"], DATASET_TITLES["ytvis_2019"], "valid", scores, f"T={result.num_frames}", PAPER
        ),
        datasets=[DATASET_IDS["ytvis_2019"], DATASET_IDS["coco"]],
    )


def title(backbone: str, dataset: str | None) -> str:
    """Heading of a card."""
    return f"IFC, {BACKBONE_TITLES[backbone]}" + (f", {DATASET_TITLES[dataset]}" if dataset else "")


def introduction(backbone: str) -> str:
    """What the authors' checkpoints are."""
    return (
        f"IFC with a {BACKBONE_TITLES[backbone]}: finds, outlines and follows the objects of videos. The weights are "
        "those of the paper's authors, unchanged; licence and conditions are those under which they published them."
    )


def quoted(rows: list[PublishedResult]) -> str:
    """The authors' figures, and whose they are."""
    columns = ("window", "FPS (one RTX 2080 Ti)", *SCORE_NAMES, "AP, average")
    table = markdown_table(columns, [(f"T={row.num_frames}", row.fps, *row.scores, row.mean_ap) for row in rows])
    return (
        "As published by the authors for their best runs, on YouTube-VIS 2019 valid; not measured by `ifc_hf`. The "
        "last column is the authors' average over several trainings, which they ask to cite: the data set is "
        f"small, and scores differ from training to training.\n\n{table}"
    )


def recipe(backbone: str, dataset: str | None) -> str:
    """The authors' schedule, as the paper and its configurations give it."""
    if dataset is None:
        return "Not known."
    steps, drop = COCO_STEPS[backbone]
    suffix = "_r101" if backbone == "resnet101" else ""  # of the recipes
    stages = [("COCO, images (T = 1)", "32 images", steps, drop)]
    if dataset != "coco":
        stages.append((f"{DATASET_TITLES[dataset]}, clips (T = 5)", "16 clips", "6,000", "4,000"))
    table = markdown_table(("stage", "per step", "steps", "learning rate x0.1 after"), stages)
    return (
        f"By the authors, on 8 GPUs:\n\n{table}\n\nAdamW, learning rate 1e-4 (backbone 1e-5), weight decay 1e-4, "
        f"gradient norm up to 0.01. `ifc-hf train` has the same as recipes `coco{suffix}` and `ytvis_2019{suffix}`."
    )
