"""`ifc-hf dataset`: convert annotations to the YouTube-VIS format, merge, check and count data sets."""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.layout import VERSIONS
from .arguments import add_invalid_annotations

if TYPE_CHECKING:
    from ..data.converters import WrittenSplit

FORMATS = ("cvat", "mots", "coco-video", "labelme", "label-studio")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    convert = actions.add_parser("convert", help="annotations of other tools to the YouTube-VIS format")
    convert.add_argument("source", type=Path, help="annotation file, or the export: a folder or zip archive")
    convert.add_argument("output", type=Path, help="folder of the data set to write")
    convert.add_argument("--from", dest="source_format", choices=FORMATS, required=True, help="the tool's format")
    convert.add_argument("--frames", type=Path, help="folder or video with the frames, if not beside the annotations")
    add_invalid_annotations(convert)
    merge = actions.add_parser("merge", help="several data sets in the YouTube-VIS format to one")
    merge.add_argument("sources", type=Path, nargs="+", metavar="source", help="folder of a data set")
    merge.add_argument("output", type=Path, help="folder of the data set to write")
    for action in (convert, merge):
        action.add_argument("--split", default="train", help="name of the split to write (default: train)")
        action.add_argument(
            "--classes",
            type=Path,
            help="file with all class names in the order of their ids, a line each (default: those of the splits "
            "that are in the output, or of the source)",
        )
        action.add_argument(
            "--allow-outside", action="store_true", help="let file names and links lead out of the source's folder"
        )
    check = actions.add_parser("check", help="every problem of a split in one report")
    stats = actions.add_parser("stats", help="numbers of a split, and a picture of some annotated frames")
    hold_out = actions.add_parser("hold-out", help="write a val_sub that has every class of a small training split")
    for action in (check, stats, hold_out):
        action.add_argument("root", type=Path, help="folder of the data set")
        action.add_argument("--version", choices=VERSIONS, help="which data set (default: any in YouTube-VIS format)")
        action.add_argument("--split", default="train", help="name of the split (default: train)")
        action.add_argument(
            "--allow-outside", action="store_true", help="let names and links of frames lead out of their folder"
        )
    check.add_argument(
        "--first-frames", action="store_true", help="look at the size of every video's first frame only"
    )
    stats.add_argument("--picture", type=Path, help="write a picture of some annotated frames there")
    stats.add_argument("--num-frames", type=int, default=12, help="number of frames in the picture (default: 12)")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    actions = {
        "convert": run_convert,
        "merge": run_merge,
        "check": run_check,
        "stats": run_stats,
        "hold-out": run_hold_out,
    }
    return actions[args.action](args)


def run_convert(args: argparse.Namespace) -> int:
    """Converts, then says what came out and what was left out."""
    from ..data.converters import convert

    options = {"split": args.split, "classes": args.classes, "allow_outside": args.allow_outside}
    options["invalid_annotations"] = args.invalid_annotations
    return report(convert(args.source, args.source_format, args.output, frames=args.frames, **options))


def run_merge(args: argparse.Namespace) -> int:
    """Merges, then says what came out and what was left out."""
    from ..data.converters import merge

    return report(merge(args.sources, args.output, args.split, args.classes, args.allow_outside))


def report(split: "WrittenSplit") -> int:
    """Prints the numbers of a split that was written, and everything that was left out, with counts."""
    from ..data.check import read_annotations

    written = read_annotations(split.json_file)
    objects = [track for video in written.videos for track in video.tracks]
    crowds = sum(track.is_crowd for track in objects)
    print(f"{split.json_file}: {len(written.videos)} videos, {len(objects)} tracks"
          f"{f' ({crowds} of them crowds)' if crowds else ''}, {len(written.label_names)} classes")  # fmt: skip
    for problem in split.left_out:
        print(f"left out: {problem.kind}: {problem}")
    for kind, count in Counter(problem.kind for problem in split.left_out).most_common():
        print(f"{count:>8} {kind}")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Prints every problem and their counts; 1 if one of them keeps the split from being used."""
    from ..data.check import check_split

    problems = check_split(args.root, args.version, args.split, not args.first_frames, args.allow_outside)
    for problem in problems:
        print(f"{'error' if problem.fatal else 'warning'}: {problem.kind}: {problem}")
    for kind, count in Counter(problem.kind for problem in problems).most_common():
        print(f"{count:>8} {kind}")
    errors = sum(problem.fatal for problem in problems)
    print(f"{errors} errors, {len(problems) - errors} warnings")
    if errors:
        print(f"error: split {args.split!r} of {args.root} can't be used: {errors} errors", file=sys.stderr)
    return int(errors > 0)


def run_hold_out(args: argparse.Namespace) -> int:
    """Writes `val_sub.json` with videos of the split; the others are `train_sub`."""
    from ..data.check import read_split
    from ..data.stats import propose_held_out
    from ..files import read_json, write_json

    _, split = read_split(args.root, args.version, args.split)
    chosen = set(propose_held_out(split))
    if not chosen:
        raise ValueError(f"{split.file}: no video can be held out without a class losing its only one")
    source = Path(split.file)
    content = read_json(source)
    content["videos"] = [video for video in content["videos"] if video["id"] in chosen]
    content["annotations"] = [entry for entry in content["annotations"] if entry["video_id"] in chosen]
    # Of `train/instances.json`, the folder has the name of the split.
    folder = source.parent.parent if source.parent.name == args.split else source.parent
    write_json(folder / "val_sub.json", content)
    print(f"{folder / 'val_sub.json'}: {len(chosen)} of {len(split.videos)} videos; train_sub are the others")
    return 0


def run_stats(args: argparse.Namespace) -> int:
    """Prints the numbers and draws the picture."""
    from rich.console import Console
    from rich.table import Table

    from ..data.check import read_split
    from ..data.stats import describe_split
    from ..files import whole_file, write_picture

    location, split = read_split(args.root, args.version, args.split, args.allow_outside)
    stats = describe_split(split)
    shortest, median, longest = stats.lengths
    sizes = ", ".join(f"{height}x{width} ({count})" for (height, width), count in stats.sizes_hw)
    print(f"{split.file}: {stats.videos} videos, {stats.frames} frames")
    print(f"length: {shortest} to {longest} frames, median {median}; size (height x width): {sizes}")
    mean_tracks, most_tracks = stats.tracks_per_video
    print(f"tracks per video: {mean_tracks:.2f}, at most {most_tracks}; crowds: {stats.crowds}")
    table = Table("class", "tracks", "masks", "visible", "area")
    for entry in stats.classes:
        shares = f"{entry.visible_share:.1%}", f"{entry.area_share:.2%}"
        table.add_row(entry.name, str(entry.tracks), str(entry.masks), *shares)
    Console().print(table)
    if args.picture is not None:
        with whole_file(args.picture) as temporary:
            write_picture(draw_frames(split, location.image_folder, args.num_frames), temporary)
        print(f"picture: {args.picture}")
    return 0


def draw_frames(split: Any, image_folder: Path, num_frames: int) -> Any:
    """A contact sheet (PIL image): of videos at equal distances, the frame with the most objects."""
    import numpy as np
    from PIL import Image, ImageOps

    from ..data.decoding import open_frame
    from ..model.masks import decode_rle
    from ..outputs.instances import draw_instances

    if num_frames < 1:
        raise ValueError(f"--num-frames: expected at least 1, got {num_frames}")
    videos = split.videos
    chosen = [videos[i] for i in np.linspace(0, len(videos) - 1, min(num_frames, len(videos))).astype(int)]
    tile_height, tile_width, columns = 240, 360, min(4, len(chosen))
    sheet = Image.new("RGB", (columns * tile_width, -(-len(chosen) // columns) * tile_height))
    for position, video in enumerate(chosen):
        visible = [sum(t.segmentations[f] is not None for t in video.tracks) for f in range(video.length)]
        index = int(np.argmax(visible))
        picture = open_frame({"path": str(image_folder / video.file_names[index]), "bytes": None}, video.describe())
        frame = np.asarray(picture)
        shown = [track for track in video.tracks if track.segmentations[index] is not None]
        if shown:
            masks = np.stack([decode_rle(track.segmentations[index]) for track in shown])
            captions = [split.label_names[split.labels[track.category_id]] for track in shown]
            frame = draw_instances(frame, masks, list(range(len(shown))), captions)
        tile = ImageOps.contain(Image.fromarray(frame), (tile_width, tile_height))
        sheet.paste(tile, (position % columns * tile_width, position // columns * tile_height))
    return sheet
