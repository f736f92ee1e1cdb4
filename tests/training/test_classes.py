"""Classes are told apart by their names: in clips, evaluations, checkpoints and result files."""

import json
import shutil

import numpy as np
import pytest
import torch

from ifc_hf import IfcImageProcessor
from ifc_hf.data import load_ytvis
from ifc_hf.data.augmentation import Augmentation
from ifc_hf.data.clips import MixedClipDataset, VideoClipDataset
from ifc_hf.data.labels import match_labels
from ifc_hf.data.synthetic import write_synthetic_ytvis
from ifc_hf.scoring.video_evaluation import class_names
from ifc_hf.training import IfcTrainer, IfcTrainingArguments, build_model
from tiny_training import NUM_FRAMES, tiny_model, tiny_trainer

SHAPES = ["circle", "square", "triangle"]


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    return write_synthetic_ytvis(
        tmp_path_factory.mktemp("data"), num_videos=4, num_frames=4, size_hw=(32, 48), num_valid_videos=3
    )


@pytest.fixture
def data(generated, tmp_path):
    return shutil.copytree(generated, tmp_path / "data")


def renumber(file, numbers, names=None):
    """Gives an annotation file its classes in the order, and with the ids, of `numbers`: {name: id}."""
    content = json.loads(file.read_text())
    former = {category["id"]: category["name"] for category in content["categories"]}
    content["categories"] = [{"id": number, "name": name} for name, number in numbers.items()]
    kept = [a for a in content["annotations"] if former[a["category_id"]] in numbers]
    content["annotations"] = [{**a, "category_id": numbers[former[a["category_id"]]]} for a in kept]
    file.write_text(json.dumps(content))


def perfect_by_name(names):
    """Stands for `segment_row`: finds every annotated track, under the label that the model has for its class."""

    def segment_row(segmenter, row):
        label_of = {name: label for label, name in class_names(segmenter).items()}
        return [
            {
                "video_id": row["video_id"],
                "category_id": label_of[names[track["category"]]],
                "score": 0.9,
                "segmentations": track["segmentations"],
            }
            for track in row["objects"]
        ]

    return segment_row


ORDERS = {
    "other order": {"triangle": 1, "circle": 2, "square": 3},
    "gaps": {"circle": 3, "square": 40, "triangle": 90},
    "fewer classes": {"triangle": 1, "square": 2},
}


@pytest.mark.parametrize("order", ORDERS)
def test_evaluation_goes_by_the_names_of_the_classes(data, tmp_path, monkeypatch, order):
    renumber(data / "valid.json", ORDERS[order])
    trainer = tiny_trainer(data, tmp_path / "run")
    assert trainer.model.config.id2label == dict(enumerate(SHAPES)), "a model without names takes those of the clips"
    names = trainer.eval_dataset.features["objects"].feature["category"].names
    monkeypatch.setattr("ifc_hf.scoring.video_evaluation.segment_row", perfect_by_name(names))
    assert trainer.evaluate()["eval_AP"] == pytest.approx(1.0)


def test_evaluation_of_an_unknown_class_is_refused_before_the_training(data, tmp_path):
    renumber(data / "valid.json", {"circle": 1, "square": 2, "triangle": 3, "bird": 4})
    with pytest.raises(ValueError, match=r"evaluation data are \[.*'bird'\].* doesn't know \['bird'\]"):
        tiny_trainer(data, tmp_path / "run")


@pytest.mark.parametrize("order", ORDERS)
def test_clips_get_the_labels_of_the_model(data, tmp_path, order):
    plain = VideoClipDataset(load_ytvis(data, cache_dir=tmp_path), NUM_FRAMES, Augmentation(shorter_sides=(32,)))
    expected = [set(np.array(SHAPES)[plain[index]["class_labels"]]) for index in range(len(plain))]
    renumber(data / "train.json", ORDERS[order])
    model = tiny_model(id2label=dict(enumerate(SHAPES)), label2id={name: i for i, name in enumerate(SHAPES)})
    trainer = tiny_trainer(data, tmp_path / "run", model)
    for index, names in enumerate(expected):
        [labels] = trainer.data_collator([trainer.train_dataset[index]])["labels"]
        assert {SHAPES[label] for label in labels["class_labels"]} == names & set(ORDERS[order])


def test_clips_of_an_unknown_class_are_refused(data, tmp_path):
    names = ["circle", "disc", "cone"]
    model = tiny_model(id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)})
    with pytest.raises(ValueError, match=r"training data .* doesn't know \['square', 'triangle'\]"):
        tiny_trainer(data, tmp_path / "run", model)
    with pytest.raises(ValueError, match="model has 5 classes without names, the data has 3"):
        tiny_trainer(data, tmp_path / "run", tiny_model(num_labels=5))


def test_joined_clips_with_other_numbers_are_refused(data, tmp_path):
    rows = load_ytvis(data, cache_dir=tmp_path)
    renumber(data / "train.json", ORDERS["other order"])
    parts = [VideoClipDataset(part, NUM_FRAMES) for part in (rows, load_ytvis(data, cache_dir=tmp_path))]
    args = IfcTrainingArguments(str(tmp_path / "run"), use_cpu=True, report_to="none")
    with pytest.raises(ValueError, match=r"its parts have the classes \['circle'.*\] and \['triangle'"):
        IfcTrainer(tiny_model(), args, train_dataset=MixedClipDataset(parts), processing_class=IfcImageProcessor())


def test_two_classes_of_one_name_are_no_names():
    with pytest.raises(ValueError, match="several classes of one name"):
        match_labels({0: "cat", 1: "cat"}, ["cat"], "data")


@pytest.mark.parametrize(
    "names", [["triangle", "circle", "square"], ["square", "circle"], ["square"]], ids=["order", "fewer", "one"]
)
def test_a_checkpoint_keeps_what_it_knows_of_classes_in_another_order(tmp_path, names):
    model = tiny_model(id2label=dict(enumerate(SHAPES)), label2id={name: i for i, name in enumerate(SHAPES)})
    model.save_pretrained(tmp_path)
    tuned = build_model(str(tmp_path), dict(enumerate(names)))
    assert tuned.config.id2label == dict(enumerate(names)) and tuned.config.num_labels == len(names)
    old, new = model.class_head.layers[-1], tuned.class_head.layers[-1]
    kept = [*map(SHAPES.index, names), 3]
    assert torch.equal(new.weight, old.weight[kept]) and torch.equal(new.bias, old.bias[kept])


def test_a_checkpoint_of_as_many_other_classes_gets_a_new_head(tmp_path):
    model = tiny_model(id2label=dict(enumerate(SHAPES)), label2id={name: i for i, name in enumerate(SHAPES)})
    model.save_pretrained(tmp_path)
    tuned = build_model(str(tmp_path), {0: "circle", 1: "square", 2: "cone"})
    same = {name for name, tensor in tuned.state_dict().items() if torch.equal(tensor, model.state_dict()[name])}
    assert set(model.state_dict()) - same == {"class_head.layers.1.weight", "class_head.layers.1.bias"}
    assert all(parameter.requires_grad for parameter in tuned.class_head.parameters())
