"""The page of the demo: what is where on it, and which button calls what."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from logging import getLogger
from pathlib import Path
from typing import Any

from ..checkpoints import default_checkpoint
from ..model.pipeline_ifc import default_threshold
from ..outputs.files import FILES
from ..outputs.instances import track_caption
from ..samples import sample_clip
from .demo import MAX_FRAMES, Choice, Demo, Found, forget, picture_of
from .running import Job, StoppedError, describe, heading, progress_html

logger = getLogger(__name__)

gr: Any
try:
    import gradio as gr
except ImportError:  # the demo is an extra
    gr = None

SECONDS_KEPT = 3600  # of a visitor's results

INTRODUCTION = """# Video instance segmentation with IFC
Finds the objects of videos, outlines them and follows each through all frames. The model knows {num_classes} classes.
"""

# Captions are read whole: they wrap, and a phone shows two pictures side by side.
STYLE = """
#tracks .grid-container {grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)) !important;}
#tracks .grid-wrap {padding-top: 32px;}
#tracks .thumbnail-lg {height: auto !important; aspect-ratio: auto !important;}
#tracks .thumbnail-lg img {height: 110px !important; object-fit: contain;}
#tracks .caption-label {position: static; display: block; max-width: 100%; white-space: normal; overflow: visible;
    text-overflow: clip; overflow-wrap: anywhere;}
#heading h3, .ifc-progress {overflow-wrap: anywhere;}
.ifc-bar {height: 8px; border-radius: 4px; background: var(--border-color-primary); overflow: hidden;}
.ifc-bar > div {height: 100%; background: var(--color-accent);}
footer {flex-wrap: wrap;}
"""


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
    config = demo.model.config
    with gr.Blocks(title="IFC", analytics_enabled=False, delete_cache=(SECONDS_KEPT, SECONDS_KEPT)) as page:
        gr.Markdown(INTRODUCTION.format(num_classes=len(demo.labels)))
        job = gr.State(time_to_live=SECONDS_KEPT, delete_callback=forget_job)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                videos = gr.File(
                    label=f"Videos (of each the first {demo.max_frames} frames)", file_count="multiple",
                    file_types=["video"], elem_id="videos", height=180,
                )  # fmt: skip
                sample = gr.Button("Take the sample clip", elem_id="sample")
                window = gr.Slider(1, 36, config.num_frames, step=1, label="Frames of a window")
                threshold = gr.Slider(0, 1, default_threshold(config), step=0.01, label="Least score of a track")
                classes = gr.Dropdown(demo.labels, multiselect=True, label="Classes", info="None chosen: all")
                start = gr.Button("Find the objects", variant="primary", elem_id="start")
                stop = gr.Button("Stop", variant="stop", elem_id="stop", interactive=False)
            with gr.Column(scale=3, min_width=300):
                progress = gr.HTML("", elem_id="progress")
                so_far = gr.Image(
                    label="So far", show_label=False, interactive=False, visible=False, format="jpeg", elem_id="so_far"
                )
                which = gr.Dropdown([], label="Video", visible=False, interactive=True, elem_id="which")
                title = gr.HTML("", elem_id="heading")
                drawn = gr.Video(
                    label="Result", show_label=False, interactive=False, autoplay=True, loop=True, elem_id="drawn"
                )
                pictures = gr.Gallery(
                    label="Tracks: click one to see it alone", columns=4, allow_preview=False, elem_id="tracks",
                )  # fmt: skip
                with gr.Row():
                    everything = gr.Button("Show all tracks", elem_id="all")
                    download = gr.DownloadButton("Download the tracks (JSON)", interactive=False, elem_id="download")
        of_result = [title, drawn, pictures, download]

        def run(
            previous: Job | None, paths: list[str] | None, num_frames: int, least: float, names: list[str]
        ) -> Iterator[dict[Any, Any]]:
            if not paths:
                raise gr.Error("Upload a video first, or take the sample clip.")
            forget_job(previous)
            choice = Choice(int(num_frames), least, names)
            current = Job()
            yield {job: current, stop: gr.Button(interactive=True), start: gr.Button(interactive=False)}
            problems = []
            for number, path in enumerate(paths, start=1):
                name = Path(path).name
                place = f"{number} of {len(paths)}" if len(paths) > 1 else ""
                yield {progress: progress_html(name, place, None)}
                try:
                    for step in current.follow(partial(demo.work, path, choice)):
                        update = {progress: progress_html(name, place, step)}
                        if step.picture is not None:
                            update[so_far] = gr.Image(step.picture, visible=True)
                        yield update
                except StoppedError:
                    problems.append("Stopped.")
                    break
                except Exception as error:  # whatever a video does, the others get their turn
                    logger.warning("%s: %s", name, error, exc_info=not isinstance(error, OSError | ValueError))
                    problems.append(str(error) if name in str(error) else f"{name}: {error}")
                    continue
                yield {**show(current.results[-1]), which: choices(current.results)}
            yield {
                progress: "".join(heading(problem) for problem in problems),
                so_far: gr.Image(visible=False),
                stop: gr.Button(interactive=False),
                start: gr.Button(interactive=True),
            }

        def show(found: Found) -> dict[Any, Any]:
            gallery = [(str(picture_of(found, track)), track_caption(track)) for track in found.shown]
            file = gr.DownloadButton(value=str(found.folder / FILES["tracks"]), interactive=True)
            return {
                title: describe(found),
                drawn: str(found.folder / FILES["video"]),
                pictures: gallery,
                download: file,
            }

        def choices(results: list[Found]) -> Any:
            named = [(f"{number}. {found.source.name}", number - 1) for number, found in enumerate(results, start=1)]
            return gr.Dropdown(named, value=len(results) - 1, visible=len(results) > 1)

        def chosen(current: Job | None, index: int | None) -> Found:
            if current is None or not current.results:
                raise gr.Error("There are no tracks yet.")
            return current.results[-1 if index is None else index]

        def select(current: Job, index: int | None, event: gr.SelectData) -> tuple[str, str]:
            found = chosen(current, index)
            track = found.shown[event.index]
            return str(demo.isolate(found, track)), heading(track_caption(track))

        def show_all(current: Job | None, index: int | None) -> tuple[str, str]:
            found = chosen(current, index)
            return str(found.folder / FILES["video"]), describe(found)

        def stop_job(current: Job | None) -> None:
            if current is not None:
                current.stop.set()

        sample.click(lambda: [str(sample_clip())], outputs=videos, api_name=False)
        start.click(
            run, [job, videos, window, threshold, classes], [job, progress, so_far, which, start, stop, *of_result],
            api_name="segment", show_progress="hidden",
        )  # fmt: skip
        # Not in the queue: it would wait for what it shall stop.
        stop.click(stop_job, job, queue=False, api_name=False, show_progress="hidden")
        which.input(lambda current, index: show(chosen(current, index)), [job, which], of_result, api_name=False)
        pictures.select(select, [job, which], [drawn, title], api_name=False)
        everything.click(show_all, [job, which], [drawn, title], api_name=False)
    return page


def forget_job(job: Job | None) -> None:
    """Ends a visitor's work and removes the results."""
    if job is not None:
        job.stop.set()
        for found in job.results:
            forget(found)


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
    page.launch(server_name=host, server_port=port, theme=theme, css=STYLE, allowed_paths=[str(sample_clip().parent)])
