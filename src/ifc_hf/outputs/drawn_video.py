"""The drawn video, with the sound of the source."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from ..files import temporary_name
from .shots import Shot, ShotWriter
from .sound import add_sound
from .video_writer import VideoWriter

PRESET = "superfast"  # a fifth of the time of x264's own choice, for files a tenth larger


class DrawnVideo(ShotWriter):
    """An MP4 of the drawn frames, each as long as it is shown in the source.

    Args:
        path: Name of the result.
        fps: Frames per second.
        sound_of: File or address whose sound to add, if it has any; None: no sound.
        start: Where in the source the first frame lies, in seconds.
        sample_aspect_ratio: Width of a pixel over its height, by which players stretch the picture.
    """

    def __init__(
        self,
        path: Path,
        fps: float,
        sound_of: str | None = None,
        start: float = 0.0,
        sample_aspect_ratio: Fraction = Fraction(1),
    ) -> None:
        super().__init__(path)
        self.fps, self.sound_of, self.sample_aspect_ratio = fps, sound_of, sample_aspect_ratio
        self.begin = self.end = start

    def start(self) -> None:
        """Opens the video."""
        self.silent = temporary_name(self.path)
        self.writer = VideoWriter(self.silent, self.fps, sample_aspect_ratio=self.sample_aspect_ratio, preset=PRESET)

    def add(self, shot: Shot) -> None:
        """Writes a frame."""
        self.writer.write(shot.drawn, shot.time)
        self.end = self.begin + shot.time + 1 / float(self.writer.fps)

    def finish(self) -> None:
        """Closes the video and adds the sound."""
        self.writer.close()
        if self.sound_of is None or not add_sound(self.silent, self.sound_of, self.temporary, self.begin, self.end):
            self.silent.replace(self.temporary)

    def discard(self) -> None:
        """Removes what was written."""
        self.writer.discard()
        self.silent.unlink(missing_ok=True)
