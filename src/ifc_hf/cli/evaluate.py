"""`ifc-hf evaluate`: predictions of a whole split, the file for the benchmark's server, and a score where possible."""

import argparse
import sys
from pathlib import Path
from typing import Any

from ..checkpoints import DEMO
from ..evaluation.settings import Scores
from .arguments import add_invalid_annotations, add_timeout

TABLE_OF_IMAGES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--model", required=True, help="IFC model: folder, Hub id, or demo: the shipped one")
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--data", help="folder of the videos, in YouTube-VIS format (default: $DETECTRON2_DATASETS)")
    data.add_argument("--coco", help="folder of COCO: scores the masks of single images instead")
    parser.add_argument("--version", help="2019, 2021, 2022 or ovis; not needed for other data")
    parser.add_argument("--split", help="e.g. valid, test, val_sub (default: valid; of COCO val2017)")
    parser.add_argument("--output", required=True, help="folder for the results")
    parser.add_argument("--num-frames", type=int, help="window T (default: that of the model)")
    parser.add_argument("--clip-stride", type=int, default=1, help="frames from one window to the next (default: 1)")
    parser.add_argument("--score-threshold", type=float, default=0.01, help="smallest probability to report")
    parser.add_argument("--single-label", action="store_true", help="report every track under its best class alone")
    parser.add_argument("--labels", help="JSON file: the data's class names to the model's, null to leave out")
    add_invalid_annotations(parser)
    parser.add_argument("--worst", type=int, default=10, help="pictures of the worst tracks (default: 10)")
    add_timeout(parser)
    parser.add_argument("--cache-dir", help="where the parsed annotations are kept")


def run(args: argparse.Namespace) -> int:
    """Evaluates, in each of the processes that torchrun has started, or in this one alone.

    Args:
        args: As declared by `add_arguments`.

    Returns:
        The exit code 0; what goes wrong is raised.
    """
    from ..extras import require

    require("evaluation", "train", "accelerate", "datasets")
    from datetime import timedelta

    from accelerate import PartialState

    from ..data.labels import has_annotations, id2label, label_names, match_labels
    from ..loading import load_checkpoint
    from ..processes import default_device, end_with_launcher

    end_with_launcher()
    # Without being told, accelerate takes processes without an accelerator for runs of their own.
    state = PartialState(cpu=default_device() == "cpu", timeout=timedelta(seconds=args.timeout))
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    model, processor = load_checkpoint(args.model, str(state.device))
    classes = {int(label): name for label, name in (model.config.id2label or {}).items()}
    with state.main_process_first():
        rows = load_rows(args, list(classes.values()))
        if state.is_main_process:
            for left_over in output.glob("results.*.jsonl"):  # of a run that was interrupted
                left_over.unlink()
    match_labels(classes, label_names(rows) or [], "evaluation data")
    annotated = has_annotations(rows)
    if annotated and not args.coco:
        # The pictures come last, what they need shall not be missed only then.
        require("pictures of the score", "draw", "matplotlib", "supervision")
    share = {"process_index": state.process_index, "num_processes": state.num_processes}
    part = output / f"results.{state.process_index}.jsonl"
    if args.coco:
        score_images(args, model, processor, rows, part, annotated, share)
    else:
        score_videos(args, model, processor, rows, part, id2label(rows) if annotated else None, share)
    return 0


def score_videos(
    args: argparse.Namespace,
    model: Any,
    processor: Any,
    rows: Any,
    part: Path,
    classes: dict[int, str] | None,
    share: dict[str, int],
) -> None:
    """Predicts and scores videos.

    Args:
        args: Of the command.
        model: The model.
        processor: Its processor.
        rows: Of `load_ytvis`.
        part: Where this process writes its predictions.
        classes: Name of every label of annotated rows; None of rows without annotations.
        share: Rank and number of the processes.
    """
    from ..data.labels import category_ids
    from ..evaluation import YtvisAccumulator
    from ..model.video_segmenter import IfcVideoSegmenter
    from ..processes import by_rank
    from ..scoring.result_files import category_table, predict_videos, write_scores
    from ..scoring.track_pictures import WorstTracks, plot_precision_recall
    from ..scoring.video_evaluation import VideoScores, check_video_ids, join_scores

    check_video_ids(rows)
    segmenter = IfcVideoSegmenter(
        model,
        processor,
        num_frames=args.num_frames,
        clip_stride=args.clip_stride,
        score_threshold=args.score_threshold,
        multi_label=not args.single_label,
    )

    def predict() -> tuple[VideoScores | None, WorstTracks | None]:
        scores = None if classes is None else VideoScores(YtvisAccumulator(classes))
        worst_tracks = None if classes is None else WorstTracks(classes, args.worst)
        predict_videos(
            segmenter, rows, part, category_ids(rows), scores, worst_tracks, **share,
            progress=share["process_index"] == 0,
        )  # fmt: skip
        return scores, worst_tracks

    # Scores and the few worst tracks travel; the predictions lie in the parts.
    made = by_rank(predict)
    if share["process_index"]:
        return
    write_results(part.parent, share["num_processes"])
    scores = [scores for scores, _ in made if scores is not None]
    worst_tracks = [tracks for _, tracks in made if tracks is not None]
    if not scores:
        print("No annotations, no score: submit the zip to the benchmark's server.")
        return
    for other in worst_tracks[1:]:
        worst_tracks[0].merge(other)
    numbers = join_scores(scores).compute()
    write_scores(numbers, part.parent)
    plot_precision_recall(numbers, part.parent / "precision_recall.png")
    worst_tracks[0].draw(rows, part.parent / "worst_tracks")
    print(category_table(numbers))
    add_to_card(args, segmenter.num_frames, numbers)


def add_to_card(args: argparse.Namespace, num_frames: int, scores: Scores) -> None:
    """Puts the scores into the card of the model's folder, unless it is the shipped one or no folder."""
    from ..cards.measured import add_scores
    from ..checkpoints import default_checkpoint

    card = Path(args.model, "README.md")
    if args.model == DEMO or card.parent.resolve() == default_checkpoint().resolve():
        return
    data = f"ytvis_{args.version}" if args.version in ("2019", "2021", "2022") else args.version
    data = data or Path(args.data or "").resolve().name
    try:
        if add_scores(card, data, args.split or "valid", num_frames, scores):
            print(f"Wrote the scores into {card}, too")
    except OSError as error:  # the results are there, so this is no failure
        print(f"no scores in {card}: {error}", file=sys.stderr)


def score_images(
    args: argparse.Namespace,
    model: Any,
    processor: Any,
    rows: Any,
    part: Path,
    annotated: bool,
    share: dict[str, int],
) -> None:
    """Predicts images of COCO and scores their masks; arguments as of `score_videos`."""
    from ..cards.template import markdown_table, percent
    from ..data.labels import source_file
    from ..evaluation import evaluate_coco
    from ..files import write_json
    from ..processes import by_rank
    from ..scoring.image_evaluation import predict_images

    progress = share["process_index"] == 0
    by_rank(lambda: predict_images(model, processor, rows, part, args.score_threshold, **share, progress=progress))
    if share["process_index"]:
        return
    results = write_results(part.parent, share["num_processes"])
    if not annotated:
        print("No annotations, no score: submit the zip to the benchmark's server.")
        return
    numbers = evaluate_coco(source_file(rows), results)
    kept = {name: value for name, value in numbers.items() if name not in ("precision", "recall")}
    write_json(part.parent / "metrics.json", kept, indent=2)
    print(markdown_table(TABLE_OF_IMAGES, [[percent(numbers[name]) for name in TABLE_OF_IMAGES]]))


def write_results(output: Path, num_processes: int) -> Path:
    """Joins the predictions of all processes to `results.json`, and packs them."""
    from ..scoring.result_files import join_parts, write_submission

    results = join_parts([output / f"results.{rank}.jsonl" for rank in range(num_processes)], output)
    print(f"Wrote {write_submission(results)}")
    return results


def load_rows(args: argparse.Namespace, model_classes: list[str]) -> Any:
    """The split, with the classes of the map, if there is one.

    Raises:
        ValueError: If an argument doesn't fit the kind of the data.
    """
    from ..data import load_coco, load_ytvis
    from ..data.labels import map_labels
    from ..data.layout import existing_root

    settings: dict[str, Any] = {"invalid_annotations": args.invalid_annotations, "cache_dir": args.cache_dir}
    if args.coco:
        given = {"--version": args.version, "--num-frames": args.num_frames, "--labels": args.labels}
        refused = [name for name, value in given.items() if value is not None]
        if refused:
            raise ValueError(f"{', '.join(refused)}: not with --coco")
        return load_coco(args.coco, split=args.split or "val2017", **settings)
    root = existing_root(args.data, "--data or --coco")
    rows = load_ytvis(root, version=args.version, split=args.split or "valid", **settings)
    return rows if args.labels is None else map_labels(rows, args.labels, model_classes)
