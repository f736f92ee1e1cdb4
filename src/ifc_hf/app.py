"""A demo in the browser: a video in, the drawn video, its tracks and their file out.

`launch` is the entry: `ifc-hf app` calls it, and the Space that `scripts/make_space.py` writes. Needs Gradio
(`pip install "ifc_hf[app]"`).

```
video, window, threshold, classes --find_objects--> Found --draw--> the video with all tracks
                                                      |
                      a click on a track's picture    +--isolate--> the video with this one alone
```
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .checkpoints import default_checkpoint
from .loading import load_checkpoint
from .model.pipeline_ifc import known_label_ids
from .model.tracks import Track
from .model.video_segmenter import IfcVideoSegmenter
from .outputs.drawing import DrawingStyle, TrackDrawer
from .outputs.drawn_video import DrawnVideo
from .outputs.files import FILES
from .outputs.instances import best_labels, track_caption
from .outputs.pictures import Cutouts
from .outputs.prediction import Fingerprints, Prediction, TrackSettings
from .outputs.segmenting import replay, segment
from .outputs.source import VideoSource
from .outputs.writer import Shot
from .processes import default_device
from .samples import sample_clip

gr: Any
try:
    import gradio as gr
except ImportError:  # the demo is an extra
    gr = None

MAX_FRAMES = 300
DARKENED = 0.25  # brightness that is left around an isolated object
SECONDS_KEPT = 3600  # of a visitor's results

INTRODUCTION = """# Video instance segmentation with IFC
Finds the objects of a video, outlines them and follows each through all frames. The model knows {num_classes} classes.
"""


@dataclass
class Found:
    """A visitor's results.

    Attributes:
        folder: Where they lie.
        source: The video.
        prediction: Its tracks.
        shown: The tracks of the pictures, in their order.
    """

    folder: Path
    source: VideoSource
    prediction: Prediction
    shown: list[Track]


class Demo:
    """What the buttons do.

    Args:
        checkpoint: Folder or Hub id of the model.
        device: Where it runs; default: the accelerator, if there is one.
        max_frames: Frames of a video that are looked at; the rest is left out.
    """

    def __init__(self, checkpoint: str, device: str | None = None, max_frames: int = MAX_FRAMES) -> None:
        self.model: Any  # the names of its classes may be None before a configuration is made
        self.model, self.processor = load_checkpoint(checkpoint, device or default_device())
        self.model_name = Path(checkpoint).name
        self.max_frames = max_frames

    @property
    def labels(self) -> list[str]:
        """Names of the classes that the model knows."""
        return list(self.model.config.id2label.values())

    def find_objects(self, video: str, num_frames: int, threshold: float, classes: list[str]) -> Found:
        """Segments a video.

        Args:
            video: Path of the file.
            num_frames: Frames T of a window.
            threshold: Least score of a track.
            classes: Names of the classes to report; none: all.

        Returns:
            The tracks, with their file and a picture of each on the disk.

        Raises:
            ValueError: If it is not a video, or has no frames.
        """
        source = VideoSource(video, (0, self.max_frames))
        segmenter = IfcVideoSegmenter(
            self.model, self.processor, num_frames=int(num_frames), score_threshold=threshold, multi_label=False
        )
        known_label_ids(self.model.config.id2label, classes or None)
        settings = TrackSettings(
            model=self.model_name,
            num_frames=int(num_frames),
            clip_stride=1,
            threshold=threshold,
            multi_label=False,
            classes=classes or None,
            frames=[0, self.max_frames],
            fps=None,
        )
        prediction = segment(segmenter, source, settings, Fingerprints(None, None))
        prediction.video = source.name  # where it lies on the server is nobody's business
        found = Found(Path(tempfile.mkdtemp(prefix="ifc_hf_app_")), source, prediction, [])
        prediction.save(found.folder / FILES["tracks"])
        return found

    def draw(self, found: Found) -> Path:
        """Writes the video with all tracks, and a picture of each track; returns the video."""
        with (
            open_video(found, found.folder / FILES["video"]) as video,
            Cutouts(found.folder / FILES["cutouts"]) as cutouts,
        ):
            for shot in replay(found.prediction, found.source, TrackDrawer(DrawingStyle())):
                video.add(shot)
                cutouts.add(shot)
        # A track that is too small for a mask at the size of the video has no picture.
        found.shown = [track for track in best_labels(found.prediction.tracks) if picture_of(found, track)]
        return found.folder / FILES["video"]

    def isolate(self, found: Found, track: Track) -> Path:
        """Writes the video with all but one track dark and grey; returns it."""
        path = found.folder / f"track_{track['track_id']:03}.mp4"
        if not path.exists():
            alone = replace(found.prediction, tracks=[track])
            with open_video(found, path) as video:
                for shot in replay(alone, found.source, drawer=None):
                    video.add(replace(shot, drawn=darken_around(shot)))
        return path


def open_video(found: Found, path: Path) -> DrawnVideo:
    """Writer of a drawn video with the visitor's sound."""
    return DrawnVideo(path, found.prediction.fps, str(found.source.place))


def darken_around(shot: Shot) -> np.ndarray:
    """The frame (H, W, 3), dark and grey where no mask is."""
    grey = (DARKENED * shot.frame.mean(axis=2, keepdims=True)).astype(np.uint8)
    return np.where(np.logical_or.reduce(shot.masks, axis=0)[..., None], shot.frame, grey)


def picture_of(found: Found, track: Track) -> Path | None:
    """The cut-out of a track, if there is one."""
    return next((found.folder / FILES["cutouts"]).glob(f"track_{track['track_id']:03}_*.png"), None)


def make_page(demo: Demo) -> Any:
    """The page.

    Args:
        demo: What the buttons do.

    Returns:
        `gradio.Blocks`.

    Raises:
        ImportError: If Gradio is not installed.
    """
    require_gradio()
    with gr.Blocks(title="IFC", analytics_enabled=False, delete_cache=(SECONDS_KEPT, SECONDS_KEPT)) as page:
        gr.Markdown(INTRODUCTION.format(num_classes=len(demo.labels)))
        found = gr.State(time_to_live=SECONDS_KEPT, delete_callback=forget)
        with gr.Row():
            with gr.Column(scale=2):
                video = gr.Video(label=f"Video (the first {demo.max_frames} frames)", sources=["upload"], height=300)
                sample = gr.Button("Take the sample clip", elem_id="sample")
                window = gr.Slider(1, 36, demo.model.config.num_frames, step=1, label="Frames of a window")
                threshold = gr.Slider(0, 1, 0.3, step=0.01, label="Least score of a track")
                classes = gr.Dropdown(demo.labels, multiselect=True, label="Classes", info="None chosen: all")
                start = gr.Button("Find the objects", variant="primary", elem_id="start")
            with gr.Column(scale=3):
                heading = gr.Markdown("", elem_id="heading")
                drawn = gr.Video(label="Result", interactive=False, autoplay=True, loop=True, elem_id="drawn")
                pictures = gr.Gallery(
                    label="Tracks: click one to see it alone", columns=6, height=180, allow_preview=False,
                    object_fit="contain", elem_id="tracks",
                )  # fmt: skip
                with gr.Row():
                    everything = gr.Button("Show all tracks", elem_id="all")
                    download = gr.DownloadButton("Download the tracks (JSON)", interactive=False, elem_id="download")

        def run(
            path: str | None,
            num_frames: int,
            least: float,
            names: list[str],
            progress: Any = gr.Progress(track_tqdm=True),  # noqa: B008 -- how Gradio is asked for it
        ) -> tuple[Any, ...]:
            if path is None:
                raise gr.Error("Upload a video first, or take the sample clip.")
            try:
                result = demo.find_objects(path, num_frames, least, names)
                drawn_video = demo.draw(result)
            except (OSError, ValueError) as error:
                raise gr.Error(str(error)) from error
            gallery = [(str(picture_of(result, track)), track_caption(track)) for track in result.shown]
            file = gr.DownloadButton(value=str(result.folder / FILES["tracks"]), interactive=True)
            return result, str(drawn_video), describe(result), gallery, file

        def select(result: Found, event: gr.SelectData) -> tuple[str, str]:
            track = result.shown[event.index]
            return str(demo.isolate(result, track)), f"### {track_caption(track)}"

        def show_all(result: Found | None) -> tuple[str, str]:
            if result is None:
                raise gr.Error("There are no tracks yet.")
            return str(result.folder / FILES["video"]), describe(result)

        sample.click(lambda: str(sample_clip()), outputs=video)
        start.click(
            run, [video, window, threshold, classes], [found, drawn, heading, pictures, download], api_name="segment"
        )
        pictures.select(select, found, [drawn, heading], api_name=False)
        everything.click(show_all, found, [drawn, heading], api_name=False)
    return page


def describe(found: Found) -> str:
    """A heading that counts what was found."""
    prediction = found.prediction
    rest = f" Only the beginning was readable: {prediction.problem}" if prediction.problem else ""
    return f"### {len(found.shown)} tracks in {prediction.num_frames} frames{rest}"


def forget(found: Found | None) -> None:
    """Removes a visitor's results."""
    if found is not None:
        shutil.rmtree(found.folder, ignore_errors=True)


def require_gradio() -> None:
    """Raises the ImportError that says what to install if Gradio is missing."""
    if gr is None:
        raise ImportError('the demo needs Gradio: pip install "ifc_hf[app]"')


def launch(
    checkpoint: str | None = None,
    device: str | None = None,
    max_frames: int = MAX_FRAMES,
    host: str | None = None,
    port: int | None = None,
) -> None:
    """Serves the demo until the process ends.

    Args:
        checkpoint: Folder or Hub id of the model; default: the shipped one.
        device: Where it runs; default: the accelerator, if there is one.
        max_frames: Frames of a video that are looked at.
        host: Address to listen on; default: Gradio's, which is 127.0.0.1 outside of a Space.
        port: Likewise, 7860 or the next that is free.
    """
    require_gradio()
    page = make_page(Demo(checkpoint or str(default_checkpoint()), device, max_frames))
    # Fonts of the system: the default theme fetches its own from the web.
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    page.launch(server_name=host, server_port=port, theme=theme, allowed_paths=[str(sample_clip().parent)])
