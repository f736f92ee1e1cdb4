"""Clip-level tracking: joins the instances of overlapping windows into tracks of a whole video.

    window of T frames --soft IoU with the last T windows--> Hungarian assignment --> old or new track
                                                                                         |
    pop_frames / finalize <--- mean mask logits per track and frame <--- running sums ---+

Letters: T frames of a window, L frames of the video, N instances of a window, K classes, (h, w) mask size.

Source: IFC paper (arXiv 2106.03299), section 3.3.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass
class TrackedVideo:
    """All tracks of a video, in the order in which they were first seen.

    Attributes:
        class_probabilities: (tracks, K+1), mean over the windows that hold the track.
        mask_logits: (tracks, L - first_frame, h, w), mean over the windows; NaN in frames without any value.
        first_frame: The frame at which `mask_logits` starts: 0 unless earlier frames were popped.
    """

    class_probabilities: Tensor
    mask_logits: Tensor
    first_frame: int = 0


@dataclass
class TrackedFrame:
    """One finished frame.

    Attributes:
        frame_index: Index in the video.
        track_ids: The tracks that have a value in this frame, ascending.
        mask_logits: (len(track_ids), h, w), mean over the windows.
    """

    frame_index: int
    track_ids: list[int]
    mask_logits: Tensor


class IfcClipTracker:
    """Tracks instances over windows of frames that overlap.

    Example:
        >>> tracker = IfcClipTracker()
        >>> probabilities = torch.tensor([[0.9, 0.1]])
        >>> tracker.update([0, 1], torch.full((1, 2, 4, 4), 5.0), probabilities)
        [0]
        >>> tracker.update([1, 2], torch.full((1, 2, 4, 4), 7.0), probabilities)
        [0]
        >>> tracker.finalize().mask_logits[0, :, 0, 0]
        tensor([5., 6., 7.])

    Memory holds the sigmoid masks of the last T windows and, for every frame, one mask per track seen in it.
    `pop_frames` hands out the frames that no later window can touch and forgets them; memory then depends on the
    windows that still overlap and not on the video's length, but for one row of class probabilities per track.

    Only tracks within the last T windows take part in the matching: with n instances in those windows together,
    `update` costs O(n * N * T * h * w), however many tracks the video has had.

    Args:
        match_threshold: An instance continues a track only if their soft IoU exceeds this.
        max_instances: Instances that would become a further track are dropped; None sets no limit.

    Source: IFC paper, section 3.3. Deviation: the reference has a limit of 50 tracks and breaks beyond it.
    """

    def __init__(self, match_threshold: float = 0.05, max_instances: int | None = None) -> None:
        self.match_threshold = match_threshold
        self.max_instances = max_instances
        self._windows: deque[_Window] = deque()
        self._frames: dict[int, _FrameSums] = {}
        self._first_frame = 0  # every earlier frame was popped
        self._num_frames = 0  # last frame seen + 1
        self._class_sums = _ClassSums()
        self._mask_size_hw: tuple[int, ...] | None = None

    @property
    def num_tracks(self) -> int:
        """Number of tracks so far."""
        return self._class_sums.num_tracks

    @torch.inference_mode()  # what is kept may be changed in place whatever mode the next window comes in
    def update(
        self, frame_indices: Sequence[int], mask_logits: Tensor, class_probabilities: Tensor
    ) -> list[int | None]:
        """Adds one window.

        Args:
            frame_indices: T indices into the video, ascending.
            mask_logits: (N, T, h, w); N may be 0.
            class_probabilities: (N, K+1).

        Returns:
            The track of each instance; None where `max_instances` forbade a new track.

        Raises:
            ValueError: If frames were popped already, a shape doesn't fit, or a value isn't finite.
        """
        frames = [int(index) for index in frame_indices]
        self._check(frames, mask_logits, class_probabilities)
        mask_logits, class_probabilities = mask_logits.float(), class_probabilities.float()

        masks = sigmoid_masks(frames, mask_logits)
        track_ids = self._assign(*self._compare(masks))
        kept = [instance for instance, track in enumerate(track_ids) if track is not None]
        kept_tracks = [track for track in track_ids if track is not None]

        if len(kept) < len(track_ids):
            masks = {frame: FrameMasks(*(values[kept] for values in of_frame)) for frame, of_frame in masks.items()}
            mask_logits, class_probabilities = mask_logits[kept], class_probabilities[kept]
        self._windows.append(_Window(kept_tracks, masks))
        while len(self._windows) > len(frames):
            self._windows.popleft()
        self._class_sums.add(kept_tracks, class_probabilities)
        for position, frame in enumerate(frames):
            sums = self._frames.setdefault(frame, _FrameSums(mask_logits[:0, position]))
            sums.add(kept_tracks, mask_logits[:, position])
        self._num_frames = max(self._num_frames, frames[-1] + 1)
        self._mask_size_hw = tuple(mask_logits.shape[-2:])
        return track_ids

    @torch.no_grad()
    def soft_iou(self, frame_indices: Sequence[int], mask_logits: Tensor) -> Tensor:
        """Similarity of all tracks with the instances of a window, before any threshold; adds nothing.

        Args:
            frame_indices: T indices into the video, ascending.
            mask_logits: (N, T, h, w).

        Returns:
            (tracks, N) in [0, 1]: mean over those of the last T windows that hold the track and share frames with this
            one; 0 for a track that none of them holds.
        """
        tracks, similarity = self._compare(sigmoid_masks(frame_indices, mask_logits.float()))
        every_track = similarity.new_zeros(self.num_tracks, similarity.shape[1])
        every_track[tracks] = similarity
        return every_track

    def class_probabilities(self, track_ids: Sequence[int] | None = None) -> Tensor:
        """Mean class probabilities over the windows so far, of every track or of some: (tracks, K+1)."""
        return self._class_sums.means(track_ids)

    def pop_frames(self, before: int | None = None) -> list[TrackedFrame]:
        """Hands out finished frames and forgets them; `update` refuses them from now on.

        Args:
            before: Frames with a smaller index are finished, because no later window holds them; None: all so far.

        Returns:
            Ascending by frame. A frame that lay in no window is left out.
        """
        self._first_frame = max(self._first_frame, self._num_frames if before is None else before)
        for window in self._windows:
            window.forget(self._first_frame)
        finished = sorted(frame for frame in self._frames if frame < self._first_frame)
        return [TrackedFrame(frame, *self._frames.pop(frame).means()) for frame in finished]

    def finalize(self, num_frames: int | None = None) -> TrackedVideo:
        """All tracks, with their masks in all frames that weren't popped.

        Args:
            num_frames: Length L of the video; default: up to the last frame seen.

        Returns:
            Means over the windows, (tracks, L, h, w) floats for the masks: mind the size for long videos, for which
            `pop_frames` and `class_probabilities` are meant.

        Raises:
            ValueError: If a window or `pop_frames` went beyond `num_frames`.
        """
        seen = max(self._num_frames, self._first_frame)
        num_frames = seen if num_frames is None else num_frames
        if num_frames < seen:
            raise ValueError(f"Expected num_frames of at least {seen}, as many as were tracked, got {num_frames}.")
        class_probabilities = self.class_probabilities()
        shape = (self.num_tracks, num_frames - self._first_frame, *(self._mask_size_hw or (0, 0)))
        mask_logits = class_probabilities.new_full(shape, float("nan"))
        for frame, sums in self._frames.items():
            track_ids, means = sums.means()
            mask_logits[track_ids, frame - self._first_frame] = means
        return TrackedVideo(class_probabilities, mask_logits, self._first_frame)

    def _compare(self, masks: Mapping[int, "FrameMasks"]) -> tuple[list[int], Tensor]:
        """Compares a new window with the last T ones.

        Args:
            masks: Per frame of the new window, from `sigmoid_masks`.

        Returns:
            The tracks, ascending, that those windows hold in shared frames, and their mean soft IoU (len(tracks), N).
        """
        windows = list(self._windows)[-len(masks) :]
        windows = [window for window in windows if window.track_ids and not masks.keys().isdisjoint(window.masks)]
        tracks = sorted({track for window in windows for track in window.track_ids})
        row_of = {track: row for row, track in enumerate(tracks)}
        some_areas = next(iter(masks.values())).areas
        total = some_areas.new_zeros(len(tracks), len(some_areas))
        count = some_areas.new_zeros(len(tracks), 1)
        for window in windows:
            rows = [row_of[track] for track in window.track_ids]
            total[rows] += soft_iou(window.masks, masks)
            count[rows] += 1
        return tracks, total / (count + 1e-6)

    def _assign(self, tracks: Sequence[int], similarity: Tensor) -> list[int | None]:
        """Track of each new instance: the one assigned to it if similar enough, else a new one, in order.

        Args:
            tracks: Candidates.
            similarity: (len(tracks), N).
        """
        try:
            from scipy.optimize import linear_sum_assignment
        except ImportError as error:
            raise ImportError("Tracking instances over windows needs scipy: pip install scipy") from error
        similarity = similarity.where(similarity > self.match_threshold, 0.0).cpu()
        matched = {
            column: tracks[row]
            for row, column in zip(*linear_sum_assignment(similarity.numpy(), maximize=True), strict=True)
            if similarity[row, column] > 0
        }
        assigned: list[int | None] = []
        next_track = self.num_tracks
        for instance in range(similarity.shape[1]):
            if instance in matched:
                assigned.append(matched[instance])
            elif self.max_instances is None or next_track < self.max_instances:
                assigned.append(next_track)
                next_track += 1
            else:
                assigned.append(None)
        return assigned

    def _check(self, frames: list[int], mask_logits: Tensor, class_probabilities: Tensor) -> None:
        """Refuses a window that doesn't fit together or with the earlier ones."""
        if not frames or frames[0] < 0 or any(a >= b for a, b in pairwise(frames)):
            raise ValueError(f"Expected at least one frame index, none negative, in ascending order, got {frames}.")
        if frames[0] < self._first_frame:
            raise ValueError(
                f"Frames before {self._first_frame} were given out by pop_frames and can't change any more, "
                f"got a window that starts at frame {frames[0]}."
            )
        if mask_logits.dim() != 4 or mask_logits.shape[1] != len(frames):
            raise ValueError(
                f"Expected mask_logits of shape (instances, {len(frames)} frames, height, width), "
                f"got {tuple(mask_logits.shape)} for the frames {frames}."
            )
        if class_probabilities.dim() != 2 or len(class_probabilities) != len(mask_logits):
            raise ValueError(
                f"Expected class_probabilities of shape ({len(mask_logits)} instances, classes + 1), "
                f"got {tuple(class_probabilities.shape)}."
            )
        if self._mask_size_hw is not None and tuple(mask_logits.shape[-2:]) != self._mask_size_hw:
            raise ValueError(
                f"Expected masks of {self._mask_size_hw} (height, width) as in the earlier windows, "
                f"got {tuple(mask_logits.shape[-2:])} at the frames {frames}."
            )
        num_classes = self._class_sums.num_classes
        if num_classes is not None and class_probabilities.shape[1] != num_classes:
            raise ValueError(
                f"Expected {num_classes} class probabilities per instance as in the earlier windows, "
                f"got {class_probabilities.shape[1]} at the frames {frames}."
            )
        for name, values in (("mask_logits", mask_logits), ("class_probabilities", class_probabilities)):
            if values.sum().isfinite():  # as good as always; a sum beyond the range may still be one of finite values
                continue
            finite = values.isfinite()
            if not finite.all():
                instance = int((~finite.flatten(1).all(1)).nonzero()[0])
                raise ValueError(
                    f"Expected finite {name}, got NaN or infinity in instance {instance} at the frames {frames}."
                )


class FrameMasks(NamedTuple):
    """The instances of a window in one frame.

    Attributes:
        probabilities: (N, h*w) in [0, 1].
        areas: (N,), the sums of those.
    """

    probabilities: Tensor
    areas: Tensor

    @classmethod
    def of(cls, probabilities: Tensor) -> "FrameMasks":
        """With the areas that belong to the probabilities."""
        return cls(probabilities, probabilities.sum(1))


def sigmoid_masks(frame_indices: Sequence[int], mask_logits: Tensor) -> dict[int, FrameMasks]:
    """Probability masks by frame, each in storage of its own so that frames can be forgotten one by one.

    Args:
        frame_indices: T indices.
        mask_logits: (N, T, h, w).

    Returns:
        The masks of every frame.
    """
    return {
        int(frame): FrameMasks.of(mask_logits[:, position].flatten(1).sigmoid())
        for position, frame in enumerate(frame_indices)
    }


def soft_iou(masks: Mapping[int, FrameMasks], other_masks: Mapping[int, FrameMasks]) -> Tensor:
    """Soft IoU of two windows' instances over the frames that the windows share.

    sum(a + b - a*b) is sum(a) + sum(b) - sum(a*b), and the sums of products are matrix products: no (n, N, T, h, w)
    array is made.

    Args:
        masks: Per frame, n instances.
        other_masks: Per frame, N instances.

    Returns:
        (n, N) in [0, 1]: sum(a*b) / (sum(a + b - a*b) + 1e-6).

    Raises:
        ValueError: If no frame is shared.
    """
    shared = [frame for frame in masks if frame in other_masks]
    if not shared:
        raise ValueError(f"Expected windows that share frames, got {list(masks)} and {list(other_masks)}.")
    some, other = masks[shared[0]], other_masks[shared[0]]
    intersection = some.areas.new_zeros(len(some.areas), len(other.areas))
    for frame in shared:
        intersection.addmm_(masks[frame].probabilities, other_masks[frame].probabilities.T)
    area = torch.stack([masks[frame].areas for frame in shared]).sum(0)
    other_area = torch.stack([other_masks[frame].areas for frame in shared]).sum(0)
    return intersection / (area[:, None] + other_area - intersection + 1e-6)


@dataclass
class _Window:
    """What later windows are compared with.

    Attributes:
        track_ids: Track of each of the n instances.
        masks: Per frame, from `sigmoid_masks`.
    """

    track_ids: list[int]
    masks: dict[int, FrameMasks]

    def forget(self, before: int) -> None:
        """Drops the frames with a smaller index."""
        self.masks = {frame: masks for frame, masks in self.masks.items() if frame >= before}


class _ClassSums:
    """Running sum and count of the class probabilities, per track.

    The tensors have room for more tracks than there are and double when it is used up, so that adding a track takes
    the same time however many there are.
    """

    def __init__(self) -> None:
        self.num_tracks = 0
        self._sums = torch.zeros(0, 0)  # (room, K+1)
        self._counts = torch.zeros(0)  # (room,)

    @property
    def num_classes(self) -> int | None:
        """K+1; None before the first window."""
        return self._sums.shape[1] or None

    def add(self, tracks: Sequence[int], class_probabilities: Tensor) -> None:
        """Adds the class probabilities (len(tracks), K+1) of one window; unknown tracks are the next ones in order."""
        self.num_tracks = max([self.num_tracks, *(track + 1 for track in tracks)])
        if self.num_tracks > len(self._sums) or self.num_classes is None:
            sums = class_probabilities[:0] if self.num_classes is None else self._sums
            room = 2 * self.num_tracks - len(sums)
            self._sums = torch.cat([sums, sums.new_zeros(room, sums.shape[1])])
            self._counts = torch.cat([self._counts.to(sums), sums.new_zeros(room)])
        self._sums[tracks] += class_probabilities
        self._counts[tracks] += 1

    def means(self, tracks: Sequence[int] | None = None) -> Tensor:
        """Mean class probabilities (tracks, K+1) of every track or of some."""
        chosen = slice(self.num_tracks) if tracks is None else tracks
        return self._sums[chosen] / self._counts[chosen, None]


class _FrameSums:
    """Running sum and count of the mask logits of one frame, per track.

    Args:
        no_masks: (0, h, w), sets size, dtype and device.
    """

    def __init__(self, no_masks: Tensor) -> None:
        self._row_of: dict[int, int] = {}
        self._sums = no_masks
        self._counts: list[int] = []

    def add(self, tracks: Sequence[int], mask_logits: Tensor) -> None:
        """Adds mask logits (len(tracks), h, w); no track occurs twice."""
        for track in tracks:
            if track not in self._row_of:
                self._row_of[track] = len(self._counts)
                self._counts.append(0)
        num_new = len(self._counts) - len(self._sums)
        if num_new:  # a frame's first window, as a rule; else the sums stay where they are
            self._sums = torch.cat([self._sums, mask_logits.new_zeros(num_new, *mask_logits.shape[1:])])
        rows = [self._row_of[track] for track in tracks]
        if len(rows) == len(self._sums):  # seven times as fast as adding row by row
            instances = sorted(range(len(rows)), key=rows.__getitem__)
            self._sums += mask_logits[instances]
        else:
            self._sums[rows] += mask_logits
        for row in rows:
            self._counts[row] += 1

    def means(self) -> tuple[list[int], Tensor]:
        """The tracks, ascending, and their mean mask logits (len(tracks), h, w)."""
        tracks = sorted(self._row_of)
        rows = [self._row_of[track] for track in tracks]
        counts = self._sums.new_tensor([self._counts[row] for row in rows])
        return tracks, self._sums[rows] / counts[:, None, None]
