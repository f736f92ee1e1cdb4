"""`ifc-hf evaluate`: predictions of a whole split, the file for the benchmark's server, and a score where possible."""

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--model", required=True, help="IFC model: folder or Hub id")
    parser.add_argument("--data", required=True, help="folder of the videos, in YouTube-VIS format")
    parser.add_argument("--version", help="2019, 2021, 2022 or ovis; not needed for other data")
    parser.add_argument("--split", default="valid", help="e.g. valid, test, val_sub (default: valid)")
    parser.add_argument("--output", required=True, help="folder for the results")
    parser.add_argument("--num-frames", type=int, help="window T (default: that of the model)")
    parser.add_argument("--clip-stride", type=int, default=1, help="frames from one window to the next (default: 1)")
    parser.add_argument("--score-threshold", type=float, default=0.01, help="smallest probability to report")
    parser.add_argument("--single-label", action="store_true", help="report every track under its best class alone")
    parser.add_argument("--labels", help="JSON file: the data's class names to the model's, null to leave out")
    parser.add_argument("--worst", type=int, default=10, help="pictures of the worst tracks (default: 10)")
    parser.add_argument("--cache-dir", help="where the parsed annotations are kept")


def run(args: argparse.Namespace) -> int:
    """Evaluates, in each of the processes that torchrun has started, or in this one alone.

    Args:
        args: As declared by `add_arguments`.

    Returns:
        The exit code 0; what goes wrong is raised.
    """
    from accelerate import PartialState
    from accelerate.utils import gather_object

    from ..data.labels import category_ids, has_annotations
    from ..evaluation import YtvisAccumulator
    from ..outputs.instances import require_supervision
    from ..processes import default_device
    from ..scoring.result_files import category_table, join_parts, predict_videos, write_scores, write_submission
    from ..scoring.track_pictures import WorstTracks, plot_precision_recall
    from ..scoring.video_evaluation import class_names

    # Without being told, accelerate takes processes without an accelerator for runs of their own.
    state = PartialState(cpu=default_device() == "cpu")
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    segmenter = make_segmenter(args, state.device)
    with state.main_process_first():
        rows = load_rows(args, list(class_names(segmenter).values()))
    accumulator = worst_tracks = None
    if has_annotations(rows):
        require_supervision()  # the pictures come last, what they need shall not be missed only then
        accumulator = YtvisAccumulator(class_names(segmenter))
        worst_tracks = WorstTracks(class_names(segmenter), args.worst)
    parts = [output / f"results.{rank}.jsonl" for rank in range(state.num_processes)]
    own_share = range(state.process_index, len(rows), state.num_processes)
    predict_videos(
        segmenter, rows, own_share, parts[state.process_index], category_ids(rows), accumulator, worst_tracks,
        progress=state.is_main_process,
    )  # fmt: skip
    # Scores and the few worst tracks travel; the predictions lie in the parts.
    gathered = gather_object([(accumulator, worst_tracks)])
    if not state.is_main_process:
        return 0
    print(f"Wrote {write_submission(join_parts(parts, output))}")
    if accumulator is None or worst_tracks is None:
        print("No annotations, no score: submit the zip to the benchmark's server.")
        return 0
    for other_scores, other_tracks in gathered[1:]:
        accumulator.merge(other_scores)
        worst_tracks.merge(other_tracks)
    scores = accumulator.compute()
    write_scores(scores, output)
    plot_precision_recall(scores, output / "precision_recall.png")
    worst_tracks.draw(rows, output / "worst_tracks")
    print(category_table(scores))
    return 0


def make_segmenter(args: argparse.Namespace, device: Any) -> Any:
    """The model of the arguments as an `IfcVideoSegmenter`."""
    from ..model.image_processing_ifc import IfcImageProcessor
    from ..model.modeling_ifc import IfcForVideoInstanceSegmentation
    from ..model.video_segmenter import IfcVideoSegmenter

    model = IfcForVideoInstanceSegmentation.from_pretrained(args.model).to(device)
    return IfcVideoSegmenter(
        model,
        IfcImageProcessor.from_pretrained(args.model),
        num_frames=args.num_frames,
        clip_stride=args.clip_stride,
        score_threshold=args.score_threshold,
        multi_label=not args.single_label,
    )


def load_rows(args: argparse.Namespace, model_classes: list[str]) -> Any:
    """The split, its labels those of the model.

    Raises:
        ValueError: If the classes differ and no map was given.
    """
    from ..data import load_ytvis
    from ..data.labels import id2label, map_labels

    rows = load_ytvis(args.data, version=args.version, split=args.split, cache_dir=args.cache_dir)
    if args.labels is not None:
        return map_labels(rows, args.labels, model_classes)
    data_classes = list(id2label(rows).values())
    if data_classes != model_classes:
        raise ValueError(
            f"The model's classes are {model_classes}, the data's are {data_classes}: give a map with --labels, or "
            "train the model on these classes."
        )
    return rows
