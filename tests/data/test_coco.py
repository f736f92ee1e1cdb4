"""`load_coco`: rows, polygons, crowds, layout, and bad input that names file, image and annotation."""

import json

import datasets
import numpy as np
import pytest

from ifc_hf import load_coco
from ifc_hf.data.check import check_split
from ifc_hf.data.embedding import embed_frames, without_decoding
from ifc_hf.data.labels import category_ids, id2label, map_labels
from ifc_hf.data.problems import DataSetError
from ifc_hf.data.synthetic import write_synthetic_coco
from ifc_hf.model.masks import decode_rle, decode_segmentation

SIZE_HW = (32, 48)
POLYGON = [[4.0, 4.0, 20.0, 4.0, 20.0, 16.0]]
CROWD = {"size": list(SIZE_HW), "counts": [100, 50, SIZE_HW[0] * SIZE_HW[1] - 150]}


@pytest.fixture
def root(tmp_path):
    write_synthetic_coco(tmp_path / "coco", num_images=4, size_hw=SIZE_HW, max_instances=1)
    return tmp_path


@pytest.fixture
def load(tmp_path):
    return lambda root, **kwargs: load_coco(root, cache_dir=tmp_path / "cache", **kwargs)


def edit(root, change):
    json_file = root / "coco/annotations/instances_train2017.json"
    content = json.loads(json_file.read_text())
    change(content)
    json_file.write_text(json.dumps(content))


def test_polygons_crowds_and_gaps_in_the_ids(root, load):
    def change(content):
        content["categories"] = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}]
        for annotation in content["annotations"]:
            annotation["category_id"] = 90
        content["annotations"][0].update(segmentation=POLYGON, category_id=1)
        content["annotations"][1].update(segmentation=CROWD, iscrowd=1)

    edit(root, change)
    dataset = load(root)
    assert id2label(dataset) == {0: "person", 1: "toothbrush"} and category_ids(dataset) == [1, 90]
    polygon, crowd = dataset[0]["objects"][0], dataset[1]["objects"][0]
    assert (polygon["category"], polygon["category_id"], polygon["iscrowd"]) == (0, 1, 0)
    assert (crowd["category"], crowd["category_id"], crowd["iscrowd"]) == (1, 90, 1)
    np.testing.assert_array_equal(decode_rle(polygon["segmentation"]), decode_segmentation(POLYGON, *SIZE_HW))
    np.testing.assert_array_equal(decode_rle(crowd["segmentation"]), decode_rle(CROWD))
    assert dataset[0]["image"] == {"path": str(root / "coco/train2017/000000000001.jpg"), "bytes": None}


def test_the_coco_folder_itself_and_streaming(root, load):
    stream = load(root / "coco", streaming=True, num_shards=2)
    assert isinstance(stream, datasets.IterableDataset) and stream.num_shards == 2
    assert [row["image_id"] for row in stream] == [1, 2, 3, 4]


def test_images_are_embedded(root, load):
    embedded = embed_frames(load(root))
    assert embedded[0]["image"].size == SIZE_HW[::-1]
    assert without_decoding(embedded)[0]["image"]["bytes"] == (root / "coco/train2017/000000000001.jpg").read_bytes()


def test_coco_classes_become_those_of_another_set(root, load):
    mapped = map_labels(load(root), {"square": "box"}, label_names=["ball", "box"])
    kept = [item for row in mapped for item in row["objects"]]
    assert kept and all(item["category"] == 1 for item in kept) and len(mapped) == 4


BAD_INPUT = {
    "RLE of another size": ({"segmentation": {"size": [5, 5], "counts": [25]}}, "RLE is 5x5"),
    "invalid polygon": ({"segmentation": [[1, 2, 3]]}, "flat polygon"),
    "empty polygons": ({"segmentation": []}, "the segmentation is None, but the box is"),
    "unknown category": ({"category_id": 77}, "category_id is 77"),
    "NaN box": ({"bbox": [float("nan"), 1, 2, 3]}, "box has a NaN"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_annotations(root, load, name):
    values, message = BAD_INPUT[name]
    edit(root, lambda content: content["annotations"][1].update(values))
    where = r"instances_train2017\.json, image 2 \(000000000002\.jpg\), annotation 2.*: .*"
    with pytest.raises(DataSetError, match=where + message):
        load(root)


def test_missing_files(root, load):
    with pytest.raises(DataSetError, match=r"instances_val2017\.json: no such file"):
        load(root, split="val2017")
    (root / "coco/train2017/000000000003.jpg").unlink()
    with pytest.raises(
        DataSetError, match=r"image 3 \(000000000003\.jpg\), frame 0: 1 of 1 frames are missing \(1 in all"
    ):
        load(root)
    assert [problem.kind for problem in check_split(root, "coco", "train2017") if problem.fatal] == ["missing frame"]


def test_a_video_file_is_no_coco_file(root, load):
    edit(root, lambda content: content.pop("images"))
    with pytest.raises(DataSetError, match="expected a COCO file with lists 'images' and 'categories'"):
        load(root)
