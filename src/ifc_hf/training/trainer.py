"""`Trainer` for IFC: its loss, its optimizer, its evaluation on whole videos."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PredictionOutput, SaveStrategy, TrainOutput, speed_metrics

from ..cards.trained import training_card
from ..data.clips import ClipDataset
from ..data.collator import ClipCollator
from ..files import write_text
from ..model.video_segmenter import IfcVideoSegmenter
from ..scoring.video_evaluation import SCORE_NAMES, score_videos
from .arguments import IfcTrainingArguments
from .batch_loss import BatchLoss
from .checkpoints import check_disk_space, checkpoint_bytes, last_whole_checkpoint


class NewClipsEveryEpoch(TrainerCallback):
    """Tells a `ClipDataset` which epoch begins: of several processes' loaders, accelerate's doesn't."""

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """The epoch is a whole number here, or a fraction after resuming within one."""
        if isinstance(train_dataloader.dataset, ClipDataset):
            train_dataloader.dataset.set_epoch(int(state.epoch or 0))


class IfcTrainer(Trainer):
    """Trains on clips and evaluates on whole videos.

    Args:
        model: `IfcForVideoInstanceSegmentation`.
        args: `IfcTrainingArguments`.
        train_dataset: A `ClipDataset`.
        eval_dataset: Rows of `load_ytvis` with annotations, or a dict of such.
        processing_class: `IfcImageProcessor`; normalises the training clips, prepares the videos of the evaluation,
            and is saved with every checkpoint.
        **kwargs: As for `Trainer`.
    """

    args: IfcTrainingArguments
    # Wider in `Trainer`, where all of them may be None.
    model: Any
    eval_dataset: Any
    processing_class: Any
    optimizer: Any
    # `compute_loss` gives the mean over accumulation steps and processes, as if every part were a batch of its own.
    loss_is_scaled_for_ga = False

    def __init__(self, *trainer_args: Any, **kwargs: Any) -> None:
        if kwargs.get("data_collator") is None and kwargs.get("processing_class") is not None:
            kwargs["data_collator"] = ClipCollator(kwargs["processing_class"])
        super().__init__(*trainer_args, **kwargs)
        if self.processing_class is None:
            raise ValueError("IfcTrainer needs an image processor: processing_class=IfcImageProcessor()")
        config = self._network(self.model).config
        self._batch_loss = BatchLoss(config.num_queries, config.no_object_coefficient)
        self._term_sums: dict[str, Tensor] = {}
        self._num_summed = 0
        self.add_callback(NewClipsEveryEpoch())

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """As `Trainer.train`; `True` resumes from the last checkpoint that is whole, or begins if there is none."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_whole_checkpoint(str(self.args.output_dir))
        self._check_disk_space()
        return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)

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
        network = self._network(model)
        plain_loss, network.loss_function = network.loss_function, self._batch_loss
        try:
            outputs = model(**inputs)
        finally:
            network.loss_function = plain_loss
        for name, term in outputs["loss_dict"].items():
            self._term_sums[name] = self._term_sums.get(name, 0) + term.detach()
        self._num_summed += 1
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds every loss term, a mean over the steps since the last log and over the processes."""
        if "loss" in logs and self._num_summed:
            means = torch.stack(list(self._term_sums.values())) / self._num_summed
            means = self.accelerator.reduce(means, reduction="mean")
            logs.update(zip(self._term_sums, means.tolist(), strict=True))
            self._term_sums, self._num_summed = {}, 0
        super().log(logs, start_time)

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """The backbone learns more slowly; weight decay acts on everything.

        Source: the reference's optimizer. The head comes first, because the logged learning rate is that of group 0.
        """
        if self.optimizer is None:
            trained = [(name, p) for name, p in (model or self.model).named_parameters() if p.requires_grad]
            optimizer_class, settings = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            learning_rate, weight_decay = self.args.learning_rate, self.args.weight_decay
            groups = [
                {
                    "params": [parameter for name, parameter in trained if ("backbone." in name) == is_backbone],
                    "lr": learning_rate * factor,
                    "weight_decay": weight_decay,
                }
                for is_backbone, factor in ((False, 1.0), (True, self.args.backbone_lr_factor))
            ]
            self.optimizer = optimizer_class([group for group in groups if group["params"]], **settings)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> Any:
        """Linear warm-up if asked for, then steps down."""
        if self.args.lr_drop_steps == []:
            return super().create_scheduler(num_training_steps, optimizer)
        if self.lr_scheduler is None:
            drops = self.args.drop_steps(num_training_steps)
            warmup_steps = self.args.get_warmup_steps(num_training_steps)

            def factor(step: int) -> float:
                warmup = min(1.0, (step + 1) / (warmup_steps + 1))
                return warmup * self.args.lr_drop_factor ** sum(step >= drop for drop in drops)

            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, factor)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Scores tracks in whole videos: the twelve numbers of YouTube-VIS.

        The videos are divided among the processes. The masks of one video become RLE, then match records, before the
        next is read; what the processes exchange are match records.

        Args:
            eval_dataset: Rows of `load_ytvis`, the name of one of the data sets given, or a dict of data sets.
            ignore_keys: Not used.
            metric_key_prefix: What the names of the numbers begin with.

        Returns:
            `eval_AP`, `eval_AP50`, ..., and the speed.
        """
        rows = self.eval_dataset if eval_dataset is None else eval_dataset
        rows = self.eval_dataset[rows] if isinstance(rows, str) else rows
        if isinstance(rows, dict):
            metrics: dict[str, float] = {}
            for name, part in rows.items():
                metrics |= self.evaluate(part, ignore_keys, f"{metric_key_prefix}_{name}")
            return metrics
        if rows is None or not len(rows):
            raise ValueError("The evaluation needs videos: eval_dataset is missing or empty.")
        start_time = time.time()
        # Whatever the evaluation draws must not change what the training draws next.
        with torch.random.fork_rng():
            segmenter = self._segmenter()
            accumulator = score_videos(segmenter, rows, self._own_share(len(rows)), self.is_world_process_zero())
        for other in gather_object([accumulator]):
            if other.video_ids != accumulator.video_ids:
                accumulator.merge(other)
        scores = accumulator.compute()
        metrics = {f"{metric_key_prefix}_{name}": scores[name] for name in SCORE_NAMES}
        metrics.update(speed_metrics(metric_key_prefix, start_time, num_samples=len(rows)))
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

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
            finetuned_from: Hub id of the model that the training began with; by default where it was loaded from.
            tasks: Not used: there is one.
            dataset_tags: Hub ids of the data sets.
            dataset: Not used, as the ids above say it.
            dataset_args: Not used.
        """
        if not self.is_world_process_zero():
            return
        folder = Path(str(self.args.output_dir))
        source = self.hub_model_id or self.args.hub_model_id
        config = self._network(self.model).config
        card = training_card(
            model_name or Path(source or folder.resolve()).name,
            source or folder.resolve().name,
            config.id2label,
            self.args,
            self.state,
            getattr(self.train_dataset, "num_frames", None),
            finetuned_from or config.name_or_path,
            license=license or "apache-2.0",
            tags=[tags] if isinstance(tags, str) else tags,
            datasets=dataset_tags,
        )
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "README.md", card)

    def _own_share(self, num_videos: int) -> range:
        return range(self.args.process_index, num_videos, self.args.world_size)

    def _segmenter(self) -> IfcVideoSegmenter:
        network = self._network(self.model)
        if self.is_fsdp_enabled:
            # The processes see different videos, so they can't gather the shards of a common layer at the same time.
            tensors = get_model_state_dict(self.model, options=StateDictOptions(full_state_dict=True))
            network = type(network)(network.config).to(self.args.device)
            network.load_state_dict(tensors)
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
            needed = checkpoint_bytes(self._network(self.model), with_optimizer=not self.args.save_only_model)
            check_disk_space(str(self.args.output_dir), needed)

    def _network(self, model: nn.Module) -> Any:
        """The model without what distributes or compiles it."""
        return self.accelerator.unwrap_model(model, keep_torch_compile=False)
