"""Settings and weights to segment videos with; every video gets a `VideoPass` of its own.

Letters: L frames of the video, T of a window (`num_frames`), S `clip_stride`, (H0, W0) output size.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from threading import local
from typing import TYPE_CHECKING, Any

from .engine import Engine, EngineSettings
from .engines import EngineKeeper, check_engine
from .tracks import Track
from .video_pass import VideoPass

if TYPE_CHECKING:
    from .image_processing_ifc import IfcImageProcessor
    from .modeling_ifc import IfcForVideoInstanceSegmentation


class IfcVideoSegmenter:
    """Finds, outlines and tracks the objects of videos.

    It holds no video: any number of threads may use it at once, and streams may take turns. Changed weights, another
    type or device, or another `model` count from the next video on.

    Args:
        model: An `IfcForVideoInstanceSegmentation`; put into evaluation mode.
        processor: An `IfcImageProcessor`; it decides about resizing.
        num_frames: Frames T of a window; default: `model.config.num_frames`. A shorter video is one window.
        clip_stride: Frames S from one window to the next. With S > T some frames lie in no window and stay empty.
        score_threshold: A track is reported under a class if its mean probability exceeds this.
        multi_label: Whether a track is reported under every such class, as the reference does it, or the best alone.
        match_threshold: Instances of two windows are the same object only if their soft IoU exceeds this.
        frames_per_batch: Frames that are read and go through the backbone together; default: 1 on a CPU, where more is
            slower, and 4 elsewhere. 1 gives a webcam the shortest delay.
        engine: What runs the network: "torch"; "compile" (inductor); "openvino" or "onnxruntime", extras for the CPU
            in float32, which export the network at every new size of frames; "auto", the fastest that is there. All
            give the same up to rounding.
        engine_keeper: Where segmenters of the same model share its prepared weights; default: one of its own.

    Example:
        >>> segmenter = IfcVideoSegmenter(model, processor)  # doctest: +SKIP
        >>> segmenter(frames)[0]["label"]  # doctest: +SKIP
        'rabbit'

    Source: IFC paper, section 3.3.
    """

    def __init__(
        self,
        model: "IfcForVideoInstanceSegmentation",
        processor: "IfcImageProcessor",
        num_frames: int | None = None,
        clip_stride: int = 1,
        score_threshold: float = 0.01,
        multi_label: bool = True,
        match_threshold: float = 0.05,
        frames_per_batch: int | None = None,
        engine: str = "torch",
        engine_keeper: EngineKeeper | None = None,
    ) -> None:
        self.num_frames = model.config.num_frames if num_frames is None else num_frames
        if frames_per_batch is None:
            frames_per_batch = default_frames_per_batch(model)
        for name, value in (
            ("num_frames", self.num_frames),
            ("clip_stride", clip_stride),
            ("frames_per_batch", frames_per_batch),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        self.model = model.eval()
        self.processor = processor
        self.clip_stride = clip_stride
        self.score_threshold = score_threshold
        self.multi_label = multi_label
        self.match_threshold = match_threshold
        self.frames_per_batch = frames_per_batch
        self.engine_name = check_engine(engine)
        self.engine_keeper = engine_keeper or EngineKeeper()
        self._of_thread = local()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_of_thread"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._of_thread = local()

    def __call__(self, frames: Iterable[Any], output_size: tuple[int, int] | None = None) -> list[Track]:
        """Segments a whole video.

        Args:
            frames: Any iterable of frames of one size: PIL images, PyAV frames, (H, W, 3) or (3, H, W) arrays or
                tensors.
            output_size: (H0, W0) of the masks; default: that of the frames.

        Returns:
            One `Track` for every track and class above the threshold, best score first. Each answers as a dict, too:
            `track_id`, `label_id`, `label`, `score`, `segmentations` (L COCO RLEs, None where the track isn't visible)
            and `boxes` (L boxes xyxy in pixels, or None).

        Raises:
            ValueError: If there is no frame, or a frame differs in size from the first.
        """
        video_pass = self.stream(frames, output_size)
        for _ in video_pass:
            pass
        return video_pass.tracks()

    def stream(
        self, frames: Iterable[Any], output_size: tuple[int, int] | None = None, keep_segmentations: bool = True
    ) -> VideoPass:
        """Segments a video of any length while it comes in.

        Args:
            frames: As for calling.
            output_size: As for calling.
            keep_segmentations: Whether `tracks()` of the pass shall know the masks. They are kept as RLE, some hundred
                bytes a frame and track; False for an endless source.

        Returns:
            A pass: iterate over it for a `FrameResult` of every frame in order, about T frames behind the source; ask
            it for `tracks()` afterwards.
        """
        self._of_thread.video_pass = VideoPass(self, frames, output_size, keep_segmentations)
        return self._of_thread.video_pass

    def segment_batch(
        self, videos: Sequence[Iterable[Any]], output_size: tuple[int, int] | None = None
    ) -> list[list[Track]]:
        """Segments several videos side by side: windows of equal size go through encoder and decoder together.

        Memory holds for every video what calling holds for one.

        Args:
            videos: Each as for calling; they may differ in size and length.
            output_size: As for calling.

        Returns:
            For every video what calling gives, up to rounding.

        Raises:
            ValueError: As for calling.
        """
        passes = [VideoPass(self, video, output_size) for video in videos]
        running = [(video_pass, video_pass.windows()) for video_pass in passes]
        while running:
            groups = defaultdict(list)
            still_running = []
            for video_pass, windows in running:
                if (window := next(windows, None)) is None:
                    exhaust(video_pass.finish_frames(video_pass.num_read))
                    continue
                still_running.append((video_pass, windows))
                features = video_pass.encode_frames(window)
                size = features[0].map_8.shape
                groups[len(window), size].append((video_pass, window, features))
            for group in groups.values():
                encoded_windows = group[0][0].engine.encode_windows([features for *_, features in group])
                for (video_pass, window, _), encoded in zip(group, encoded_windows, strict=True):
                    exhaust(video_pass.track_window(window, encoded))
            running = still_running
        return [video_pass.tracks() for video_pass in passes]

    def tracks(self) -> list[Track]:
        """The tracks of the video that this thread called or streamed last; `VideoPass.tracks` answers for any other.

        Empty if it was none.
        """
        video_pass = getattr(self._of_thread, "video_pass", None)
        return [] if video_pass is None else video_pass.tracks()

    def engine(self) -> Engine:
        """The network as it is now, ready for inference."""
        settings = EngineSettings(self.frames_per_batch, self.num_frames / self.clip_stride)
        return self.engine_keeper.engine_of(self.engine_name, self.model, settings)


def default_frames_per_batch(model: "IfcForVideoInstanceSegmentation") -> int:
    """Frames that go through the backbone together unless told otherwise."""
    return 1 if model.device.type in ("cpu", "meta") else 4


def exhaust(results: Iterable[Any]) -> None:
    """Runs an iteration for what it does."""
    for _ in results:
        pass


__all__ = ["IfcVideoSegmenter", "default_frames_per_batch"]
