"""The whole route: images, then videos, then a score in two processes, with small recipes on generated data."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ifc_hf import IfcConfig, IfcImageProcessor
from ifc_hf.cli.main import main
from ifc_hf.data.synthetic import write_synthetic_coco, write_synthetic_ytvis
from ifc_hf.training import load_recipe
from paths import SCRIPTS

SIZE_HW = (96, 128)
STUFF = {"circle": "ball", "square": "box", "triangle": "cone"}


def write_data(root: Path) -> None:
    """`coco/{annotations,train2017}` and `ytvis_2019/{train,valid,test}`, as the authors have them."""
    images = write_synthetic_coco(root / "coco", num_images=400, size_hw=SIZE_HW)
    file = images / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    for category in content["categories"]:  # COCO's classes are not those of YouTube-VIS
        category["name"] = STUFF[category["name"]]
    file.write_text(json.dumps(content))
    videos = write_synthetic_ytvis(
        root / "ytvis_2019", num_videos=60, num_frames=6, size_hw=SIZE_HW, num_valid_videos=2
    )
    content = json.loads((videos / "valid.json").read_text())
    del content["annotations"]  # the benchmark's server keeps them
    (videos / "valid.json").write_text(json.dumps(content))
    (videos / "valid").rename(videos / "test")
    (videos / "test.json").write_text(json.dumps(content))
    (videos / "valid").symlink_to("test")


def small(name: str, folder: Path, steps: int, **training: object) -> str:
    """A ready recipe with the small network of `cpu_small`, small frames and few steps, as a file of one's own."""
    recipe, cpu_small = load_recipe(name), load_recipe("cpu_small")
    kind = recipe.data["kind"]
    content = {
        "description": f"{name}, small",
        "data": recipe.data | {"num_frames": min(recipe.data["num_frames"], 3), "batch_size": 8,
                               f"{kind}_augmentation": {"shorter_sides": [96, 112], "crop_range": None}},
        "model": cpu_small.model,
        "processor": {"size": {"shortest_edge": 128 if kind == "video" else 96, "longest_edge": 256}},
        "training": cpu_small.training | {"max_steps": steps, "save_strategy": "no", "eval_strategy": "no",
                                          "load_best_model_at_end": False, "disable_tqdm": True} | training,
    }  # fmt: skip
    file = folder / f"{name}.json"
    file.write_text(json.dumps(content))
    return str(file)


@pytest.mark.slow  # about 150 seconds of CPU time
def test_from_images_to_videos_to_a_score_in_two_processes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_data(Path("datasets"))
    cache = ["--cache-dir", "cache"]
    coco, ytvis = small("coco", tmp_path, 400), small("ytvis_2019", tmp_path, 120)
    assert main(["train", "--recipe", coco, "--coco", "datasets", "--output", "runs/coco", *cache]) == 0
    images = IfcConfig.from_pretrained("runs/coco")
    assert images.num_frames == 1 and list(images.id2label.values()) == list(STUFF.values())
    start = ["--checkpoint", "runs/coco", "--split", "train_sub"]
    assert main(["train", "--recipe", ytvis, "--data", "datasets", *start, "--output", "runs/ytvis", *cache]) == 0

    config, processor = IfcConfig.from_pretrained("runs/ytvis"), IfcImageProcessor.from_pretrained("runs/ytvis")
    assert config.num_frames == 3 and dict(processor.size) == {"shortest_edge": 128, "longest_edge": 256}
    assert list(config.id2label.values()) == list(STUFF)
    card = Path("runs/ytvis/README.md").read_text(encoding="utf-8")
    assert "num_frames=3" in card and "| frames per clip | 3 |" in card and "from the weights of `coco` on" in card

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
    data = ["--model", "runs/ytvis", "--data", "datasets", "--version", "2019", *cache]
    for split in ("val_sub", "valid"):
        command = [*launch, str(SCRIPTS / "evaluate.py"), *data, "--split", split, "--output", f"runs/ytvis/{split}"]
        result = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr[-2000:]
    scores = json.loads(Path("runs/ytvis/val_sub/metrics.json").read_text())
    assert scores["AP"] > 0.5
    card = Path("runs/ytvis/README.md").read_text(encoding="utf-8")
    assert "split val_sub, whole videos in windows of 3 frames" in card and f"| {100 * scores['AP']:.1f} |" in card
    assert Path("runs/ytvis/valid/results.zip").exists() and not Path("runs/ytvis/valid/metrics.json").exists()
