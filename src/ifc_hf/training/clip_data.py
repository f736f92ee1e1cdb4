"""What the trainer has to know of its clips: their classes, their epochs, and the processes that load them."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch.utils.data import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..data.clips import Clip, ClipDataset
from ..data.labels import label_names
from ..processes import become_worker


def clip_datasets(dataset: Any) -> list[ClipDataset]:
    """The `ClipDataset`s with rows of their own in a data set: in mixtures, and in torch's subsets and joined sets."""
    parts = getattr(dataset, "parts", None) or getattr(dataset, "datasets", None)
    if parts is None and not isinstance(dataset, ClipDataset):
        parts = [dataset.dataset] if isinstance(getattr(dataset, "dataset", None), Dataset) else []
    if parts is None:
        return [dataset]
    return [clips for part in parts for clips in clip_datasets(part)]


def training_classes(train_dataset: Any) -> list[str] | None:
    """Names of the classes of training clips, by label; None if there are no clips, or they don't know them.

    Raises:
        TypeError: If these are rows and not clips, or a stream.
        ValueError: If joined clips number their classes differently.
    """
    if train_dataset is None:
        return None
    if hasattr(train_dataset, "features"):
        raise TypeError(
            "train_dataset: expected clips, got rows of a data set: give VideoClipDataset(rows, num_frames), or "
            "ImageClipDataset for images"
        )
    found: dict[tuple[str, ...], None] = {}
    for clips in clip_datasets(train_dataset):
        rows = getattr(clips, "rows", None)
        if rows is not None and not hasattr(rows, "__len__"):
            raise TypeError(
                f"train_dataset: {type(rows).__name__} is a stream, which can be scored but not trained on: clips are "
                "drawn by index, so that a training can be resumed exactly. Load the rows without streaming=True"
            )
        names = label_names(rows)
        if names is not None:
            found[tuple(names)] = None
    if len(found) > 1:
        lists = " and ".join(str(list(names)) for names in found)
        raise ValueError(f"train_dataset: its parts have the classes {lists}: give them the same (map_labels)")
    return list(next(iter(found))) if found else None


def named_classes(id2label: Mapping[int, str], data_classes: list[str] | None) -> dict[int, str]:
    """Names of a model's classes: its own, or those of the data if it has none (`LABEL_0`, ...).

    Raises:
        ValueError: If the data has another number of classes than a model without names.
    """
    is_unnamed = all(name == f"LABEL_{label}" for label, name in id2label.items())
    if data_classes is None or not is_unnamed:
        return dict(id2label)
    if len(data_classes) != len(id2label):
        raise ValueError(
            f"The model has {len(id2label)} classes without names, the data has {len(data_classes)}: "
            f"{data_classes}. Make the model with id2label of these (ifc_hf.training.build_model)."
        )
    return dict(enumerate(data_classes))


class RelabelledBatches:
    """Makes batches of clips whose labels become those of the model.

    Args:
        collator: Makes a batch of a list of clips.
        labels: {label of the model: label of the clips}.
    """

    def __init__(self, collator: Callable[[list[Clip]], Any], labels: Mapping[int, int]) -> None:
        self.collator = collator
        self.model_labels = np.zeros(len(labels), dtype=np.int64)
        for model_label, data_label in labels.items():
            self.model_labels[data_label] = model_label

    def __call__(self, clips: list[Clip]) -> Any:
        """As the collator."""
        return self.collator([{**clip, "class_labels": self.model_labels[clip["class_labels"]]} for clip in clips])


class NewClipsEveryEpoch(TrainerCallback):
    """Tells clip data sets which epoch begins: of several processes' loaders, accelerate's doesn't."""

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """The epoch is a whole number here, or a fraction after resuming within one."""
        dataset = train_dataloader.dataset
        for clips in [dataset, *clip_datasets(dataset)]:
            if isinstance(clips, ClipDataset):
                clips.set_epoch(int(state.epoch or 0))


class WorkerStart:
    """What a process that loads clips does first: it ends with the training, and leaves Ctrl-C and SIGTERM to it.

    Args:
        then: Called with the worker's number afterwards.
    """

    def __init__(self, then: Callable[[int], Any] | None) -> None:
        self.then = then
        self.parent_pid = os.getpid()

    def __call__(self, worker_id: int) -> None:
        """In the new process."""
        become_worker(self.parent_pid)
        if self.then is not None:
            self.then(worker_id)
