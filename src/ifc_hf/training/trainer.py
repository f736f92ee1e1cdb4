"""`Trainer` for IFC: its loss, its optimizer, its evaluation on whole videos."""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, PrinterCallback, ProgressCallback, Trainer
from transformers.trainer_utils import (
    PREFIX_CHECKPOINT_DIR,
    PredictionOutput,
    SaveStrategy,
    TrainOutput,
    speed_metrics,
)

from ..cards.trained import training_card
from ..data.collator import ClipCollator
from ..data.labels import label_names, match_labels
from ..data.orientation import OrientationSampler
from ..evaluation import YtvisAccumulator
from ..files import write_text
from ..model.video_segmenter import IfcVideoSegmenter
from ..processes import by_rank, worker_context
from ..scoring.video_evaluation import (
    SCORE_NAMES,
    best_threshold,
    check_video_ids,
    join_scores,
    score_videos,
)
from .arguments import IfcTrainingArguments
from .batch_loss import BatchLoss, TermMeans
from .checkpoints import check_disk_space, checkpoint_bytes, last_whole_checkpoint
from .clip_data import NewClipsEveryEpoch, RelabelledBatches, WorkerStart, named_classes, training_classes
from .interruption import (
    EvaluationInterrupted,
    ScoreWhatWasInterrupted,
    StopAfterStep,
    StopRequest,
    TrainingInterrupted,
)
from .optimizer import parameter_groups, step_schedule
from .progress import TrainingLog
from .wrappers import bare_model, network_of, whole_copy

# What `Trainer` takes and this one would never call.
REFUSED = {
    "compute_metrics": "it scores whole videos itself (eval_AP, ...); for other numbers, override `evaluate`",
    "preprocess_logits_for_metrics": "it scores whole videos itself",
    "compute_loss_func": "the loss is that of the model; override `compute_loss` for another",
}
# The name of the best threshold among the metrics.
THRESHOLD = "default_threshold"


class IfcTrainer(Trainer):
    """Trains on clips and evaluates on whole videos.

    Classes are told apart by their names: the model's labels, those of the clips and those of the evaluation may be in
    different orders, and the data may lack some of the model's classes. A model whose classes have no names
    (`LABEL_0`, ...) takes those of the training data, or else of the evaluation.

    Ctrl-C and SIGTERM end a training after the step at hand, with a checkpoint.

    Args:
        model: `IfcForVideoInstanceSegmentation`, or what PEFT or `torch.compile` make of it.
        args: `IfcTrainingArguments`; None gives their defaults and writes to `tmp_trainer`.
        data_collator: Makes a batch of clips; by default `ClipCollator`.
        train_dataset: A `ClipDataset`, or a torch `Dataset` of clips.
        eval_dataset: Rows of `load_ytvis` with annotations, a stream of them, or a dict of such.
        processing_class: `IfcImageProcessor`; normalises the training clips, prepares the videos of the evaluation,
            and is saved with every checkpoint.
        **kwargs: As for `Trainer`.

    Raises:
        ValueError: If an argument would have no effect, the classes of the data and the model don't fit, or two videos
            of the evaluation have the same id.
        TypeError: If the model, the arguments or the data are of another kind.
    """

    args: IfcTrainingArguments
    # Wider in `Trainer`, where all of them may be None.
    model: Any
    eval_dataset: Any
    processing_class: Any
    optimizer: Any
    # `compute_loss` gives the mean over accumulation steps and processes, as if every part were a batch of its own.
    loss_is_scaled_for_ga = False
    # What the model card names as the beginning; None: where the model was loaded from.
    begins_from: str | None = None

    def __init__(
        self,
        model: Any = None,
        args: IfcTrainingArguments | None = None,
        data_collator: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        **kwargs: Any,
    ) -> None:
        for name, reason in REFUSED.items():
            if kwargs.get(name) is not None:
                raise ValueError(f"IfcTrainer never calls {name}: {reason}.")
        args = IfcTrainingArguments(output_dir="tmp_trainer") if args is None else args
        if not isinstance(args, IfcTrainingArguments):
            raise TypeError(
                f"expected IfcTrainingArguments, got {type(args).__name__}: they take the same fields, with the "
                "authors' schedule as defaults"
            )
        if processing_class is None:
            raise ValueError("IfcTrainer needs an image processor: processing_class=IfcImageProcessor()")
        if args.n_gpu > 1:  # one process can't spread clips over GPUs: start it with torchrun
            args._n_gpu = 1
        self._training_classes = training_classes(train_dataset)
        # An evaluation names the classes of a model without names only if the clips don't.
        rows = next(iter(eval_dataset.values()), None) if isinstance(eval_dataset, dict) else eval_dataset
        self._class_names = self._training_classes or label_names(rows)
        model = None if model is None else self._fit(bare_model(model))
        collator = data_collator or ClipCollator(processing_class)
        super().__init__(model, args, collator, train_dataset, eval_dataset, processing_class, **kwargs)
        self._check_classes()
        self._stop = StopRequest(self.accelerator)
        self._term_means = TermMeans()
        self._add_callbacks()

    def _fit(self, model: Any) -> Any:
        """The model with names for its classes, and what the loss and the collator have to know of it."""
        config = network_of(model).config
        config.id2label = named_classes(config.id2label, self._class_names)
        config.label2id = {name: label for label, name in config.id2label.items()}
        self._batch_loss = BatchLoss(config.num_queries, config.no_object_coefficient)
        return model

    def _check_classes(self) -> None:
        """Matches the classes of clips and evaluation with the model's, by name."""
        classes = network_of(self.model).config.id2label
        if self._training_classes is not None:
            labels = match_labels(classes, self._training_classes, "training data")
            if any(model_label != data_label for model_label, data_label in labels.items()):
                self.data_collator = RelabelledBatches(self.data_collator, labels)
        for rows in self.eval_dataset.values() if isinstance(self.eval_dataset, dict) else [self.eval_dataset]:
            if rows is None:
                continue
            check_video_ids(rows)
            if (names := label_names(rows)) is not None:
                match_labels(classes, names, "evaluation data")

    def _add_callbacks(self) -> None:
        self.add_callback(NewClipsEveryEpoch())
        self.add_callback(StopAfterStep(self._stop.came_to_any))
        self.add_callback(ScoreWhatWasInterrupted(self._score_step))
        if self.args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(self.args.early_stopping_patience))
        own = PrinterCallback if self.args.disable_tqdm else ProgressCallback
        if self.pop_callback(own) is not None:  # notebooks have a table instead
            self.add_callback(TrainingLog())

    def call_model_init(self, trial: Any = None) -> Any:
        """As `Trainer.call_model_init`; every new model gets names for its classes."""
        return self._fit(super().call_model_init(trial))

    def get_train_dataloader(self) -> DataLoader:
        """As `Trainer.get_train_dataloader`, with workers that end with this process and outlive Ctrl-C."""
        loader = super().get_train_dataloader()
        if self.args.dataloader_num_workers:
            inner = getattr(loader, "base_dataloader", loader)  # what accelerate's loader reads from
            inner.worker_init_fn = WorkerStart(inner.worker_init_fn)
            inner.multiprocessing_context = worker_context(self.args.dataloader_multiprocessing_context)
        return loader

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        clips = self.train_dataset if train_dataset is None else train_dataset
        if not self.args.same_orientation:
            return super()._get_train_sampler(clips)
        return OrientationSampler(clips, self._train_batch_size, self.args.seed)

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """As `Trainer.train`; `True` resumes from the last checkpoint that is whole, or begins if there is none.

        Raises:
            TrainingInterrupted: After Ctrl-C or SIGTERM, once the checkpoint is written.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_whole_checkpoint(str(self.args.output_dir))
        self._check_disk_space()
        output: Any = None
        with self._stop as stop:
            try:
                output = super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)
            except EvaluationInterrupted:
                self._save_checkpoint(self.model, trial)
        step, last_step = self.state.global_step, self.state.max_steps
        if stop.signal_number is not None and (output is None or step < last_step):
            folder = Path(self._get_output_dir(trial)) / f"{PREFIX_CHECKPOINT_DIR}-{step}"
            raise TrainingInterrupted(
                f"interrupted after step {step} of {last_step}: the checkpoint {folder} is whole, resume from it "
                "(--resume)",
                stop.signal_number,
            )
        return output

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], None]:
        """Fetches the parts of one optimizer step and counts what is in them, over all processes."""
        parts, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        totals = self._batch_loss.totals([part["labels"] for part in parts])
        self._batch_loss.set_batch(self.accelerator.reduce(totals.to(device), reduction="sum"))
        return parts, None

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Loss of one part, scaled by the counts of the whole batch; keeps the terms for the next log."""
        network = network_of(model)
        plain_loss, network.loss_function = network.loss_function, self._batch_loss
        try:
            outputs = model(**inputs)
        finally:
            network.loss_function = plain_loss
        self._term_means.add(outputs["loss_dict"])
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds every loss term, a mean over the steps since the last log and over the processes."""
        if "loss" in logs:
            logs.update(self._term_means.pop(self.accelerator))
        super().log(logs, start_time)

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """The optimizer that the arguments name, on the groups of `parameter_groups`.

        Raises:
            ValueError: If the optimizer makes groups of its own.
        """
        if self.optimizer is None:
            optimizer_class, settings = self.optimizer_cls_and_kwargs or self.get_optimizer_cls_and_kwargs(
                self.args, self.model
            )
            if {"params", "model", "optimizer_dict"} & settings.keys():
                raise ValueError(
                    f"optim={self.args.optim!r} is not supported: it would choose the learning rates itself, the "
                    "backbone's included"
                )
            groups = parameter_groups(
                model or self.model,
                settings.get("lr", self.args.learning_rate),
                settings.get("weight_decay", self.args.weight_decay),
                self.args.backbone_lr_factor,
            )
            self.optimizer = optimizer_class(groups, **settings)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> Any:
        """Linear warm-up if asked for, then steps down."""
        if not self.args.drops_learning_rate:
            return super().create_scheduler(num_training_steps, optimizer)
        if self.lr_scheduler is None:
            factor = step_schedule(
                self.args.get_warmup_steps(num_training_steps),
                self.args.drop_steps(num_training_steps),
                self.args.lr_drop_factor,
            )
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, factor)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Scores tracks in whole videos: the twelve numbers of YouTube-VIS, the same on every process.

        The videos are divided among the processes. The masks of one video become RLE, then match records, before the
        next is read; what the processes exchange are match records. The model's `default_threshold` becomes that of
        the highest F1 on the trainer's own evaluation data (the first, if there are several).

        Args:
            eval_dataset: Rows of `load_ytvis`, the name of one of the data sets given, or a dict of data sets.
            ignore_keys: Not used.
            metric_key_prefix: What the names of the numbers begin with.

        Returns:
            `eval_AP`, `eval_AP50`, ..., `eval_default_threshold`, and the speed.

        Raises:
            ValueError: If there is no video, two have the same id, or the model doesn't know a class of the data.
        """
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        rows = self.eval_dataset[rows] if isinstance(rows, str) else rows
        if isinstance(rows, dict):
            metrics: dict[str, float] = {}
            for name, part in rows.items():
                metrics |= self.evaluate(part, ignore_keys, f"{metric_key_prefix}_{name}")
            return metrics
        if rows is None:
            raise ValueError("The evaluation needs videos: eval_dataset is missing or empty.")
        check_video_ids(rows)
        self._memory_tracker.start()
        start_time = time.time()
        scores = self._score(rows)
        numbers = scores.compute()
        metrics = {f"{metric_key_prefix}_{name}": numbers[name] for name in SCORE_NAMES}
        threshold = best_threshold(scores, self.args.eval_score_threshold)
        if threshold is not None:
            metrics[f"{metric_key_prefix}_{THRESHOLD}"] = threshold
            own = self.eval_dataset
            if rows is (next(iter(own.values())) if isinstance(own, dict) else own):
                network_of(self.model).config.default_threshold = threshold
        metrics.update(speed_metrics(metric_key_prefix, start_time, num_samples=len(scores.video_ids)))
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self._memory_tracker.stop_and_update_metrics(metrics)
        return metrics

    def _score_step(self) -> None:
        self._determine_best_metric(self._evaluate(trial=None, ignore_keys_for_eval=None), trial=None)

    def _score(self, rows: Any) -> YtvisAccumulator:
        # Whatever the evaluation draws must not change what the training draws next.
        with torch.random.fork_rng():
            segmenter = self._segmenter()
            parts = by_rank(
                partial(
                    score_videos, segmenter, rows, self.args.process_index, self.args.world_size,
                    progress=self.is_world_process_zero() and not self.args.disable_tqdm,
                    should_stop=lambda: self._stop.is_active and self._stop.signal_number is not None,
                )
            )  # fmt: skip
        if self._stop.is_active and self._stop.came_to_any():
            raise EvaluationInterrupted
        scores = join_scores(parts)
        if not scores.video_ids:
            raise ValueError("The evaluation needs videos: eval_dataset is missing or empty.")
        return scores

    def predict(
        self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test"
    ) -> PredictionOutput:
        """Refused: it would gather the masks of all videos as one array.

        Raises:
            NotImplementedError: Always; it names what to use instead.
        """
        raise NotImplementedError(
            "IfcTrainer.predict: the masks of whole videos don't fit into one array. Use `ifc-hf evaluate` (or "
            "ifc_hf.scoring.result_files.predict_videos), which writes RLEs, or trainer.evaluate for the score."
        )

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """Writes the card of this training, `README.md`, to the output folder.

        Args:
            language: Not used: the names of the classes are the only words.
            license: Of the weights; Apache 2.0 by default.
            tags: More tags.
            model_name: Title; by default the name of the repository or of the output folder.
            finetuned_from: Hub id or folder of the model that the training began with; default: `begins_from`, or else
                where the model was loaded from.
            tasks: Not used: there is one.
            dataset_tags: Hub ids of the data sets.
            dataset: Not used, as the ids above say it.
            dataset_args: Not used.
        """
        if not self.is_world_process_zero():
            return
        folder = Path(str(self.args.output_dir))
        source = self.hub_model_id or self.args.hub_model_id
        config = network_of(self.model).config
        card = training_card(
            model_name or Path(source or folder.resolve()).name,
            source or folder.resolve().name,
            config.id2label,
            self.args,
            self.state,
            getattr(self.train_dataset, "num_frames", None),
            finetuned_from or self.begins_from or config.name_or_path,
            license=license or "apache-2.0",
            tags=[tags] if isinstance(tags, str) else tags,
            datasets=dataset_tags,
        )
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "README.md", card)

    def _segmenter(self) -> IfcVideoSegmenter:
        network = network_of(self.model)
        if self.is_fsdp_enabled:
            # The processes see different videos, so they can't gather the shards of a common layer at the same time.
            network = whole_copy(self.model).to(self.args.device)
        return IfcVideoSegmenter(
            network,
            self.processing_class,
            num_frames=self.args.eval_num_frames,
            clip_stride=self.args.eval_clip_stride,
            score_threshold=self.args.eval_score_threshold,
            multi_label=self.args.eval_multi_label,
        )

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._check_disk_space()
        super()._save_checkpoint(model, trial)

    def _check_disk_space(self) -> None:
        if self.args.should_save and self.args.save_strategy != SaveStrategy.NO:
            needed = checkpoint_bytes(network_of(self.model), with_optimizer=not self.args.save_only_model)
            check_disk_space(str(self.args.output_dir), needed)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        for entry in self.state.log_history:
            found = [key for key in entry if key.endswith(f"_{THRESHOLD}")]
            if found and entry["step"] == self.state.best_global_step:
                network_of(self.model).config.default_threshold = entry[found[0]]
                return
