"""Every value of a valid file, replaced or deleted: a converter succeeds, or says in one line what is wrong where."""

import copy
import json
import re

import numpy as np
import pytest

from annotation_files import (
    MAKERS,
    brush_region,
    coco_content,
    cvat_polygon,
    cvat_xml,
    label_studio_tasks,
    labelme_content,
    png_text,
    triangle,
)
from annotation_files import label_studio_region as region
from ifc_hf.data.converters import READERS
from ifc_hf.data.converters.classes import number_classes
from ifc_hf.data.converters.writer import describe
from ifc_hf.data.parse import parse_ytvis
from ifc_hf.data.problems import DataSetError

REPLACEMENTS = (None, -1, 2**63, "x", [], {}, 1.5, True, float("nan"), 10**400, "\ud800", "../x")
DELETED = object()


def places(content, path=()):
    """Path of every value of a JSON; of a list, of its first entry."""
    yield path
    if isinstance(content, dict):
        for key, value in content.items():
            yield from places(value, (*path, key))
    elif isinstance(content, list):
        for index, value in enumerate(content[:1]):
            yield from places(value, (*path, index))


def mutations(content):
    """Copies of a JSON with one value replaced or deleted."""
    for path in places(content):
        for replacement in (*REPLACEMENTS, DELETED):
            if not path:
                yield path, None if replacement is DELETED else replacement
                continue
            changed = copy.deepcopy(content)
            parent = changed
            for key in path[:-1]:
                parent = parent[key]
            if replacement is DELETED:
                del parent[path[-1]]
            else:
                parent[path[-1]] = replacement
            yield path, changed


def check_outcome(source_format, source, what):
    """Reads and describes; whatever comes is valid, or one line that names the file."""
    try:
        read = READERS[source_format](source, None, False)
        content = describe(read, number_classes(read, source.parent / "none", "train", None))
    except DataSetError as error:
        assert str(source) in str(error) and "\n" not in str(error) and len(str(error)) < 1000, what
        return False
    for row, video in zip(content["videos"], read.videos, strict=True):
        row["file_names"] = [f"{video.name}/{index}.png" for index in range(video.length)]
    assert not parse_ytvis(json.loads(json.dumps(content)), "out.json").problems, what
    assert sum(len(track.masks) for video in read.videos for track in video.tracks.values()) <= 3, what
    return True


def mutated_contents():
    text = {"id": "r", "type": "number", "from_name": "track", "value": {"number": 3}}
    mask = labelme_content(shape_type="mask", points=[[0, 0], [29, 19]], mask=png_text(triangle()))
    rle = {"size": [20, 30], "counts": [0, 600]}
    coco = coco_content()
    coco["annotations"][0]["segmentation"] = rle
    for annotation in coco["annotations"]:
        annotation["attributes"] = {"track_id": annotation.pop("track_id")}
    return {
        "coco-video": ("coco-video", coco_content()),
        "coco-video of CVAT": ("coco-video", coco),
        "labelme": ("labelme", labelme_content()),
        "labelme masks": ("labelme", mask),
        "label-studio": ("label-studio", label_studio_tasks([[region(), text], [], [region()]])),
        "label-studio brush": ("label-studio", label_studio_tasks([[brush_region(triangle())], [], []])),
    }


@pytest.mark.parametrize("name", mutated_contents())
def test_every_value_replaced_or_deleted(tmp_path, name):
    source_format, content = mutated_contents()[name]
    source = MAKERS[source_format](tmp_path / "in")
    json_file = source / "f0.json" if source.is_dir() else source
    json_file.write_text(json.dumps(content))
    assert check_outcome(source_format, source, "the valid file")
    outcomes = []
    for path, changed in mutations(content):
        json_file.write_text(json.dumps(changed))
        outcomes.append(check_outcome(source_format, source, (path, str(changed)[:300])))
    assert outcomes.count(False) > 100


def test_every_text_of_cvat_replaced_or_deleted(tmp_path):
    mask = '<mask frame="2" outside="0" rle="1, 3, 2, 2" left="10" top="5" width="4" height="2"/>'
    xml = cvat_xml(cvat_polygon(0) + cvat_polygon(1, outside=1) + mask)
    source = MAKERS["cvat"](tmp_path / "in", xml)
    assert check_outcome("cvat", source, "the valid file")
    texts = [match.span(1) for match in re.finditer(r'(?<==)"([^"]*)"(?=[ />])|>([^<>\n]+)<', xml) if match[1]]
    texts += [match.span(1) for match in re.finditer(r">([^<>\n]+)<", xml)]
    for start, end in texts[2:]:
        for text in ("", "-1", str(2**63), "9" * 500, "x", "1.5", "nan", "1e999", ";,", "../x", "True", "٣"):
            (source / "annotations.xml").write_text(xml[:start] + text + xml[end:])
            check_outcome("cvat", source, (xml[start - 20 : end], text[:20]))
    for start, end in (match.span() for match in re.finditer(r' \w+="[^"]*"', xml[60:])):
        (source / "annotations.xml").write_text(xml[: 60 + start] + xml[60 + end :])
        check_outcome("cvat", source, xml[60 + start : 60 + end])


@pytest.mark.parametrize("name", ["f0.png", "labels.txt"])
@pytest.mark.parametrize("data", [b"", b"x", b"\xff\xfe\0", b"\x89PNG\r\n\x1a\n", None])
def test_broken_files_of_mots(tmp_path, name, data):
    source = MAKERS["mots"](tmp_path / "in")
    path = source / "clip/instances" / name
    path.write_bytes(path.read_bytes()[:-20] if data is None else data)
    check_outcome("mots", source, (name, data))


def test_values_that_stay_within_64_bits(tmp_path):
    content = coco_content()
    for image in content["images"]:
        image["id"] = str(image["id"])
    for annotation in content["annotations"]:
        annotation.update(image_id=str(annotation["image_id"]), track_id=-1, id=None)
    read = READERS["coco-video"](MAKERS["coco-video"](tmp_path / "in", content), None, False)
    (track,) = read.videos[0].tracks.values()
    assert sorted(track.masks) == [0, 2]
    assert np.shape(track.masks[0]["size"]) == (2,)
