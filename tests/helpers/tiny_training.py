"""A tiny model and a trainer for generated data, for tests; run as a program it trains in a process of its own.

As a program it writes to the output folder: `gradients.pt` (of the first step, before clipping), `weights.pt`,
`history.json`, and `epochs.json`: those that the clips were told of. It can kill itself after a step, as a full
machine or a power cut would.
"""

import argparse
import json
import os
import signal
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback, set_seed

from ifc_hf import IfcConfig, IfcForVideoInstanceSegmentation, IfcImageProcessor
from ifc_hf.data import load_ytvis
from ifc_hf.data.augmentation import Augmentation
from ifc_hf.data.clips import VideoClipDataset
from ifc_hf.training import IfcTrainer, IfcTrainingArguments

NUM_FRAMES = 2


def tiny_model(num_labels: int = 3, seed: int = 0, **config: Any) -> IfcForVideoInstanceSegmentation:
    torch.manual_seed(seed)
    backbone = {
        "model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1],
        "layer_type": "basic", "out_features": ["stage2", "stage3", "stage4"],
    }  # fmt: skip
    sizes = {
        "hidden_size": 32, "encoder_layers": 1, "decoder_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "num_queries": 5, "num_memory_tokens": 2, "num_frames": NUM_FRAMES,
    }  # fmt: skip
    return IfcForVideoInstanceSegmentation(
        IfcConfig(num_labels=num_labels, backbone_config=backbone, **{**sizes, **config})
    )


def tiny_trainer(
    data: Path, output: Path, model: IfcForVideoInstanceSegmentation | None = None, rows: Any = None, **settings: Any
) -> IfcTrainer:
    """A trainer on the data set that `write_synthetic_ytvis` wrote to `data`."""
    cache = str(data / "cache")
    defaults = {
        "max_steps": 3, "per_device_train_batch_size": 2, "logging_steps": 1, "save_strategy": "no",
        "report_to": "none", "use_cpu": True, "disable_tqdm": True, "learning_rate": 1e-3,
        "dataloader_pin_memory": False,
    }  # fmt: skip
    args = IfcTrainingArguments(output_dir=str(output), **{**defaults, **settings})
    if args.fsdp:
        # accelerate passes FSDP over in processes without GPUs, though torch shards on CPUs, too.
        args.distributed_state.distributed_type = DistributedType.MULTI_GPU
    set_seed(args.seed)
    rows = load_ytvis(data, split="train", cache_dir=cache) if rows is None else rows
    return IfcTrainer(
        model=tiny_model() if model is None else model,
        args=args,
        train_dataset=VideoClipDataset(rows, NUM_FRAMES, Augmentation(shorter_sides=(32,)), args.seed),
        eval_dataset=load_ytvis(data, split="valid", cache_dir=cache),
        processing_class=IfcImageProcessor(size={"shortest_edge": 32, "longest_edge": 200}),
    )


class KeepGradients(TrainerCallback):
    """The gradients of the first step: kept in `gradients`, by parameter name."""

    def __init__(self) -> None:
        self.gradients: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if not self.gradients:
            gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
            self.gradients = {
                name: gradient.full_tensor() if isinstance(gradient, DTensor) else gradient.clone()
                for name, gradient in gradients.items()
            }


class KillAfter(TrainerCallback):
    """Ends the process after a step without giving it a chance to tidy up."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--config", type=json.loads, default={})
    parser.add_argument("--kill-after", type=int)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--evaluate", action="store_true")
    parser.add_argument("--lora", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = tiny_model(**args.config)
    if args.lora:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"], modules_to_save=["class_head"]))
    trainer = tiny_trainer(args.data, args.output, model, **args.settings)
    keeper = KeepGradients()
    trainer.add_callback(keeper)
    clips, epochs = trainer.train_dataset, set()
    clips.draw = lambda index, rng, draw=clips.draw: epochs.add(int(clips._epoch)) or draw(index, rng)
    if args.kill_after is not None:
        trainer.add_callback(KillAfter(args.kill_after))
    trainer.train(resume_from_checkpoint=args.resume)
    if args.evaluate:
        scores = {name: value for name, value in trainer.evaluate().items() if name.startswith("eval_A")}
        args.output.mkdir(parents=True, exist_ok=True)
        (args.output / f"scores.{trainer.args.process_index}.json").write_text(json.dumps(scores), encoding="utf-8")
    weights = trainer.accelerator.get_state_dict(trainer.model)  # all processes take part if they are sharded
    if trainer.is_world_process_zero():
        args.output.mkdir(parents=True, exist_ok=True)
        torch.save(keeper.gradients, args.output / "gradients.pt")
        torch.save(weights, args.output / "weights.pt")
        (args.output / "epochs.json").write_text(json.dumps(sorted(epochs)), encoding="utf-8")
        (args.output / "history.json").write_text(json.dumps(trainer.state.log_history), encoding="utf-8")
    trainer.accelerator.end_training()  # ends the threads of the process group, which else may abort at the exit


if __name__ == "__main__":
    main()
