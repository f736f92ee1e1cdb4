"""What must stay faster than the plain way: CPU times of two paths, in turn in one process; never a time."""

import statistics
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import pytest

from ifc_hf import IfcImageProcessor, IfcVideoSegmenter, load_ytvis
from paths import load_script

pytestmark = pytest.mark.slow


def ratio_of(ours: Callable[[], Any], plain: Callable[[], Any], repeats: int = 3) -> float:
    """CPU time of one path over that of another: the median of runs side by side, after one to warm up."""
    ratios = []
    for _ in range(repeats + 1):
        marks = [time.process_time()]
        for path in (ours, plain):
            path()
            marks.append(time.process_time())
        ratios.append((marks[1] - marks[0]) / (marks[2] - marks[1]))
    return statistics.median(ratios[1:])


def test_the_lean_engine_is_no_slower_than_operation_by_operation():
    inference = load_script("benchmark_inference")
    model, processor = inference.make_model(), IfcImageProcessor(size={"shortest_edge": 96, "longest_edge": 160})
    frames = inference.make_video(6, (96, 160))
    inference.set_number_of_instances(model, processor, frames[:5], 12)
    lean, plain = IfcVideoSegmenter(model, processor, 5, 1), inference.plain_segmenter(model, processor, 5, 1)
    assert ratio_of(lambda: lean(frames), lambda: plain(frames)) < 1.1


def test_the_metric_takes_less_than_half_of_the_plain_way(tmp_path):
    evaluation = load_script("benchmark_evaluation")
    truth, results = tmp_path / "gt.json", tmp_path / "preds.json"
    arguments = Namespace(videos=3, frames=20, tracks=5, predictions=20, categories=1, size=(360, 640))
    evaluation.write_data(arguments, truth, results)

    def score(load: Callable[..., Any], ious: Callable[..., Any]) -> None:
        for annotated, predicted in load(truth, results).values():
            ious(predicted, annotated)

    ours, plain = (evaluation.load_ours, evaluation.track_ious), (evaluation.load_plain, evaluation.plain_ious)
    assert ratio_of(lambda: score(*ours), lambda: score(*plain)) < 0.5


def test_a_cached_set_is_loaded_sooner_than_a_new_one(tmp_path):
    root = load_script("benchmark_data").write_data(Namespace(videos=400, frames=20, size=(48, 64)), tmp_path)
    caches = iter(range(100))

    def first() -> None:
        load_ytvis(root, split="train", cache_dir=tmp_path / f"cache_{next(caches)}")

    def again() -> None:
        load_ytvis(root, split="train", cache_dir=tmp_path / "cache_0")

    first()
    assert ratio_of(again, first) < 0.6
