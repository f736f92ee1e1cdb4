"""Converters: what each annotation tool writes comes out as the same masks, and what can't be converted is named."""

import base64
import io
import json
import math
import time

import numpy as np
import pytest
from PIL import Image

from annotation_files import (
    CVAT_POLYGON,
    HEIGHT,
    NAMES,
    TRIANGLE,
    WIDTH,
    coco_content,
    coco_video,
    cvat,
    cvat_polygon,
    cvat_task,
    cvat_xml,
    encode_brush,
    labelme,
    labelme_content,
    triangle,
    write_frames,
    write_video,
)
from ifc_hf.data.check import check_split, read_split
from ifc_hf.data.converters import convert, merge
from ifc_hf.data.converters.brush import decode_brush_rle
from ifc_hf.data.converters.common import AnnotatedVideo, Source
from ifc_hf.data.converters.writer import write_ytvis
from ifc_hf.data.problems import DataSetError
from ifc_hf.model.masks import decode_rle

MASK = np.zeros((HEIGHT, WIDTH), dtype=bool)
MASK[5:9, 10:17], MASK[6, 12] = True, False


def converted(tmp_path, source, source_format, **kwargs):
    """Convert, check, and return `{category: [mask or None per frame]}` of the only video."""
    convert(source, source_format, tmp_path / "out", **kwargs)
    assert not [problem for problem in check_split(tmp_path / "out") if problem.kind != "unused class"]
    _, split = read_split(tmp_path / "out")
    (video,) = split.videos
    assert (video.height, video.width) == (HEIGHT, WIDTH)
    return {
        split.label_names[split.labels[track.category_id]]: [rle and decode_rle(rle) for rle in track.segmentations]
        for track in video.tracks
    }


def same(masks, expected):
    assert [mask is None for mask in masks] == [mask is None for mask in expected]
    for mask, wanted in zip(masks, expected, strict=True):
        np.testing.assert_array_equal(mask, wanted)


CVAT_MASK = '<mask frame="2" outside="0" rle="1, 3, 2, 2" left="10" top="5" width="4" height="2"/>'


def test_cvat_polygons_and_masks(tmp_path):
    write_frames(tmp_path / "cvat/images", ["frame_000000.png", "frame_000001.png", "frame_000002.png"])
    outside = CVAT_POLYGON.replace('frame="0" outside="0"', 'frame="1" outside="1"')
    (tmp_path / "cvat/annotations.xml").write_text(cvat_xml(CVAT_POLYGON + outside + CVAT_MASK))
    expected = np.zeros((HEIGHT, WIDTH), dtype=bool)
    expected[5, 11:14] = expected[6, 12:14] = True  # runs 1, 3 | 2, 2 along the rows of the 4 x 2 box
    masks = converted(tmp_path, tmp_path / "cvat", "cvat")
    same(masks["cat"], [triangle(), None, expected])
    assert read_split(tmp_path / "out")[1].label_names == ["dog", "cat"]
    assert (tmp_path / "out/train/JPEGImages/my clip/00002.png").is_file()


def test_cvat_with_a_video_file(tmp_path):
    av = pytest.importorskip("av", reason="videos need PyAV")
    with av.open(tmp_path / "clip.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (tmp_path / "annotations.xml").write_text(cvat_xml(CVAT_POLYGON))
    masks = converted(tmp_path, tmp_path / "annotations.xml", "cvat", frames=tmp_path / "clip.mp4")
    same(masks["cat"], [triangle(), None, None])


@pytest.mark.parametrize(("shapes", "message"), [
    ('<box frame="1" outside="0" xtl="1" ytl="1" xbr="5" ybr="5"/>', "my clip, annotation 7, frame 1: is a box"),
    (CVAT_POLYGON.replace('"0" outside', '"9" outside'), "annotation 7, frame 9: there is no such frame"),
    (CVAT_POLYGON.replace(";14.0,17.0", ""), "annotation 7, frame 0: a polygon needs at least 3 points, got 2"),
    (CVAT_MASK.replace("2, 2", "2, 9"), "annotation 7, frame 2: mask of 15 pixels in a box at"),
])  # fmt: skip
def test_cvat_bad_shapes(tmp_path, shapes, message):
    write_frames(tmp_path / "cvat/images", ["0.png", "1.png", "2.png"])
    (tmp_path / "cvat/annotations.xml").write_text(cvat_xml(shapes))
    with pytest.raises(DataSetError, match=message):
        convert(tmp_path / "cvat", "cvat", tmp_path / "out")
    assert not (tmp_path / "out/train.json").exists()


def test_cvat_wrong_files(tmp_path):
    xml_file = tmp_path / "annotations.xml"
    for text, message in {
        "<annotations><meta>": "can't be read as XML",
        "<annotations><meta/></annotations>": "expected CVAT's XML of a task, job or project",
        "<annotations><meta><project/></meta></annotations>": "the project has no task",
        "<annotations><meta><task/></meta><image/></annotations>": "has no tracks",
    }.items():
        xml_file.write_text(text)
        with pytest.raises(DataSetError, match=rf"annotations\.xml: .*{message}"):
            convert(tmp_path, "cvat", tmp_path / "out")


def test_mots_png(tmp_path):
    write_frames(tmp_path / "mots/clip/images", ["1.jpg", "2.jpg", "10.jpg"])
    instances = tmp_path / "mots/clip/instances"
    instances.mkdir()
    (instances / "labels.txt").write_text("cat\ndog\n")
    for name, mask in {"1": MASK, "2": np.zeros_like(MASK), "10": triangle()}.items():
        Image.fromarray((mask * 2003).astype(np.uint16)).save(instances / f"{name}.png")
    same(converted(tmp_path, tmp_path / "mots", "mots")["dog"], [MASK, None, triangle()])
    (instances / "labels.txt").write_text("cat\n")
    with pytest.raises(DataSetError, match=r"1\.png, video clip, annotation 2003, frame 0: class 2 has no name"):
        convert(tmp_path / "mots", "mots", tmp_path / "out")
    (tmp_path / "mots/clip/images/2.jpg").unlink()
    with pytest.raises(DataSetError, match="video clip: 1 of 3 frames are not in .*images, first 2"):
        convert(tmp_path / "mots", "mots", tmp_path / "out")


def test_labelme(tmp_path):
    folder = tmp_path / "clip"
    write_frames(folder, ["f1.jpg", "f2.jpg", "f10.jpg"])
    buffer = io.BytesIO()
    Image.fromarray(MASK[5:9, 10:17]).save(buffer, format="PNG")
    mask_shape = {"label": "cat", "group_id": 1, "shape_type": "mask", "points": [[10, 5], [16, 8]],
                  "mask": base64.b64encode(buffer.getvalue()).decode()}  # fmt: skip
    polygon = {"label": "cat", "group_id": 1, "shape_type": "polygon", "points": np.reshape(TRIANGLE, (3, 2)).tolist()}
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    (folder / "f1.json").write_text(json.dumps({"shapes": [mask_shape], **size}))
    (folder / "f10.json").write_text(json.dumps({"shapes": [polygon, mask_shape], **size}))
    masks = converted(tmp_path, folder, "labelme")
    same(masks["cat"], [MASK, None, MASK | triangle()])  # two shapes of one group are one object
    for shapes, message in (
        ([{**polygon, "group_id": None}] * 2, "frame 1: 2 shapes 'cat' without group_id"),
        ([{**polygon, "shape_type": "rectangle"}], "annotation cat 1, frame 1: is a rectangle"),
        ([{**mask_shape, "mask": "AAAA"}], "annotation cat 1, frame 1: the mask can't be read"),
    ):
        (folder / "f2.json").write_text(json.dumps({"shapes": shapes, **size}))
        with pytest.raises(DataSetError, match=rf"f2\.json, video clip, {message}"):
            convert(folder, "labelme", tmp_path / "out")


@pytest.mark.parametrize("dialect", ["cvat", "mmtracking"])
def test_coco_video(tmp_path, dialect):
    names = [f"frame_{index}.jpg" for index in (0, 1, 10)]
    write_frames(tmp_path / "coco/images", names)
    (tmp_path / "coco/annotations").mkdir()
    images = [{"id": 5 - i, "file_name": name, "height": HEIGHT, "width": WIDTH} for i, name in enumerate(names)]
    annotations = [{"id": i, "image_id": 5 - i, "category_id": 3, "segmentation": [TRIANGLE]} for i in (0, 2)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "cat"}]}
    if dialect == "cvat":
        for annotation in annotations:
            annotation["attributes"] = {"track_id": 4, "occluded": False}
    else:
        content["videos"] = [{"id": 1, "name": "clips/a"}]
        for frame, image in enumerate(images):
            image.update(video_id=1, frame_id=frame)
        for annotation in annotations:
            annotation["instance_id"] = 4
    json_file = tmp_path / "coco/annotations/instances_default.json"
    json_file.write_text(json.dumps(content))
    same(converted(tmp_path, tmp_path / "coco", "coco-video")["cat"], [triangle(), None, triangle()])
    annotations[1].pop("attributes" if dialect == "cvat" else "instance_id")
    json_file.write_text(json.dumps(content))
    with pytest.raises(DataSetError, match="annotation 2, frame 2: has no track_id or instance_id"):
        convert(tmp_path / "coco", "coco-video", tmp_path / "out")


def test_masks_of_a_coco_file_that_cannot_be_read_are_dropped_on_demand(tmp_path):
    content = coco_content(NAMES)
    content["annotations"][0]["segmentation"] = [[1, 1, 5, 5]]
    source = coco_video(tmp_path / "in", content)
    with pytest.raises(DataSetError, match="3 points"):
        convert(source, "coco-video", tmp_path / "out")
    written = convert(source, "coco-video", tmp_path / "out", invalid_annotations="drop")
    assert [(problem.annotation_id, problem.frame) for problem in written.left_out] == [
        (content["annotations"][0]["id"], 0)
    ]
    (track,) = json.loads(written.json_file.read_text())["annotations"]
    assert [mask is None for mask in track["segmentations"]][0] and any(track["segmentations"])
    with pytest.raises(ValueError, match="only those of coco-video can be dropped, not of mots"):
        convert(source, "mots", tmp_path / "out", invalid_annotations="drop")


def test_label_studio(tmp_path):
    write_frames(tmp_path, ["a.jpg", "b.jpg"])
    rgba = np.repeat(MASK.astype(np.uint8)[..., None] * 255, 4, axis=-1)
    size = {"original_height": HEIGHT, "original_width": WIDTH}
    brush = {"id": "r1", "type": "brushlabels", **size,
             "value": {"format": "rle", "rle": encode_brush(rgba.ravel()), "brushlabels": ["cat"]}}  # fmt: skip
    percent = (np.reshape(TRIANGLE, (3, 2)) / [WIDTH, HEIGHT] * 100).tolist()
    polygon = {"id": "r2", "type": "polygonlabels", **size, "value": {"points": percent, "polygonlabels": ["cat"]}}
    tasks = [
        {"id": 1, "data": {"image": "/data/upload/3/0a1b2c3d-a.jpg"}, "annotations": [{"result": [brush]}]},
        {"id": 2, "data": {"image": "/data/local-files/?d=clips/b.jpg"}, "annotations": [{"result": [polygon]}]},
    ]
    (tmp_path / "clip.json").write_text(json.dumps(tasks))
    same(converted(tmp_path, tmp_path / "clip.json", "label-studio")["cat"], [MASK, triangle()])
    tasks[1]["annotations"][0]["result"].append({**brush, "id": "r3"})
    (tmp_path / "clip.json").write_text(json.dumps(tasks))
    with pytest.raises(DataSetError, match="frame 1: 2 regions 'cat' without a track number"):
        convert(tmp_path / "clip.json", "label-studio", tmp_path / "out")
    for region, number in (("r2", 1), ("r3", 2)):
        track = {"id": region, "from_name": "track_number", "type": "number", "value": {"number": number}}
        tasks[1]["annotations"][0]["result"].append(track)
    (tmp_path / "clip.json").write_text(json.dumps(tasks))
    convert(tmp_path / "clip.json", "label-studio", tmp_path / "two")
    assert len(read_split(tmp_path / "two")[1].videos[0].tracks) == 3
    tasks[0]["annotations"][0]["result"] = [{"type": "videorectangle"}]
    (tmp_path / "clip.json").write_text(json.dumps(tasks))
    with pytest.raises(DataSetError, match="is a videorectangle: only brush masks and polygons"):
        convert(tmp_path / "clip.json", "label-studio", tmp_path / "out")


def test_brush_mask_that_is_cut_off():
    data = encode_brush(np.arange(8, dtype=np.uint8))
    np.testing.assert_array_equal(decode_brush_rle(data), np.arange(8))
    with pytest.raises(ValueError, match=f"cut off after {math.floor(len(data) / 2)} bytes"):
        decode_brush_rle(data[: len(data) // 2])


def test_unknown_format(tmp_path):
    with pytest.raises(ValueError, match="source_format: expected one of .*got 'vott'"):
        convert(tmp_path, "vott", tmp_path / "out")


def labelled_pictures(folder, *names):
    """Pictures for labelme, each with one shape."""
    shape = {"label": "cat", "shape_type": "polygon", "points": [[1, 1], [20, 1], [20, 20]]}
    write_frames(folder, names)
    for name in names:
        (folder / name).with_suffix(".json").write_text(json.dumps({"shapes": [shape]}))


def test_a_video_that_fails_leaves_none_of_its_frames(tmp_path):
    labelled_pictures(tmp_path / "clip", "0.png", "1.png")
    convert(tmp_path / "clip", "labelme", tmp_path / "out")
    written = tmp_path / "out/train/JPEGImages"
    before = {path: path.read_bytes() for path in written.rglob("*.png")}
    pictures = [tmp_path / "clip/0.png", tmp_path / "no"]
    source = Source("a.json", ["cat"], [AnnotatedVideo("clip", HEIGHT, WIDTH, pictures)])
    with pytest.raises(DataSetError, match="frame 1: .*no: no such file"):
        write_ytvis(source, tmp_path / "out")
    assert {path: path.read_bytes() for path in written.rglob("*") if path.is_file()} == before


def test_frames_are_not_replaced_by_their_own_copies(tmp_path):
    labelled_pictures(tmp_path / "out/train/JPEGImages/clip", "b.png", "a.png")
    with pytest.raises(DataSetError, match="its frames lie in .*clip, where they are to be written"):
        convert(tmp_path / "out/train/JPEGImages/clip", "labelme", tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2


def classes_of(json_file):
    return [(category["id"], category["name"]) for category in json.loads(json_file.read_text())["categories"]]


def test_all_splits_number_their_classes_in_the_same_way(tmp_path):
    labels = {"train": ["cat", "dog", "fish"], "valid": ["fish", "dog"], "test": ["bird"]}
    for split, names in labels.items():
        shapes = [labelme_content(label=name)["shapes"][0] for name in names]
        labelme(tmp_path / split / "clip", {**labelme_content(), "shapes": shapes})
    out = tmp_path / "out"
    for split in ("train", "valid"):
        written = convert(tmp_path / split, "labelme", out, split)
        assert classes_of(written.json_file) == [(1, "cat"), (2, "dog"), (3, "fish")]
    with pytest.raises(DataSetError, match=r"class 'bird' is none of .*valid\.json: .*; name all with --classes"):
        convert(tmp_path / "test", "labelme", out, "test")
    assert sorted(path.name for path in out.iterdir()) == ["train", "train.json", "valid", "valid.json"]
    for file, text in (
        ("classes.txt", "\ufefffish\nbird\n\ndog\ncat\n"),
        ("names.json", '["fish", "bird", "dog", "cat"]'),
    ):
        (tmp_path / file).write_text(text)
        with pytest.raises(DataSetError, match=r"train\.json: numbers its classes as .*expected one numbering"):
            convert(tmp_path / "test", "labelme", out, "test", classes=tmp_path / file)
        for split in labels:
            written = convert(tmp_path / split, "labelme", tmp_path / file[:3], split, classes=tmp_path / file)
            assert classes_of(written.json_file) == [(1, "fish"), (2, "bird"), (3, "dog"), (4, "cat")]
    split = read_split(tmp_path / "cla", split="valid")[1]
    assert sorted(track.category_id for track in split.videos[0].tracks) == [1, 3]


@pytest.mark.parametrize(("text", "message"), [
    ("", "expected names, each of them once"), ("a\nb\na\n", "twice: .*'a'"), ('{"a": 1}', "expected `array`"),
    ('["a", 1]', r"classes\[1\]: expected `str`"),
])  # fmt: skip
def test_bad_class_files(tmp_path, text, message):
    file = tmp_path / ("classes.json" if text[:1] in ("{", "[") else "classes.txt")
    file.write_text(text)
    with pytest.raises(DataSetError, match=message):
        convert(labelme(tmp_path / "in"), "labelme", tmp_path / "out", classes=file)


def test_merge(tmp_path):
    for name, label in (("one", "cat"), ("two", "dog"), ("three", "cat")):
        labelme(tmp_path / "in" / name / "clip", labelme_content(label=label))
        convert(tmp_path / "in" / name, "labelme", tmp_path / name)
    coco = coco_content()
    for annotation in coco["annotations"]:
        annotation["iscrowd"] = 1
    convert(coco_video(tmp_path / "in/four", coco), "coco-video", tmp_path / "four")
    sets = [tmp_path / name for name in ("one", "two", "three", "four")]
    written = merge(sets, tmp_path / "all")
    assert not check_split(tmp_path / "all") and not written.left_out
    content = json.loads(written.json_file.read_text())
    assert classes_of(written.json_file) == [(1, "cat"), (2, "dog")]
    assert [video["id"] for video in content["videos"]] == [1, 2, 3, 4]
    assert [video["file_names"][0] for video in content["videos"]] == [
        f"{name}_clip/00000.png" for name in ("one", "two", "three", "four")
    ]
    found = [(a["id"], a["video_id"], a["category_id"], a["iscrowd"]) for a in content["annotations"]]
    assert found == [(1, 1, 1, 0), (2, 2, 2, 0), (3, 3, 1, 0), (4, 4, 1, 1)]
    for annotation in content["annotations"]:
        same([rle and decode_rle(rle) for rle in annotation["segmentations"]], [triangle(), None, triangle()])
    assert len(list((tmp_path / "all").rglob("*.png"))) == 12


def test_merge_refuses_what_is_not_exact(tmp_path):
    for name, label in (("one", "tennis racket"), ("two", "Tennis_racket")):
        labelme(tmp_path / "in" / name / name, labelme_content(label=label))
        convert(tmp_path / "in" / name, "labelme", tmp_path / name)
    with pytest.raises(DataSetError, match="class 'Tennis_racket', and 'tennis racket' in .*: make the names equal"):
        merge([tmp_path / "one", tmp_path / "two"], tmp_path / "all")
    with pytest.raises(DataSetError, match="two videos have the same name"):
        merge([tmp_path / "one", tmp_path / "one"], tmp_path / "all")
    with pytest.raises(DataSetError, match="its frames lie in .*, where they are to be written"):
        merge([tmp_path / "one"], tmp_path / "one")
    content = json.loads((tmp_path / "one/train.json").read_text())
    (tmp_path / "one/train.json").write_text(json.dumps({**content, "annotations": None}))
    with pytest.raises(DataSetError, match="has no annotations"):
        merge([tmp_path / "one", tmp_path / "two"], tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_the_right_pictures_of_a_video_are_taken(tmp_path):
    pytest.importorskip("av", reason="videos need PyAV")
    write_video(tmp_path / "clip.mp4", 15)
    xml = cvat_xml(cvat_polygon(4), task=cvat_task(size=3, start=4, step=5))
    convert(cvat(tmp_path / "in", xml), "cvat", tmp_path / "out", frames=tmp_path / "clip.mp4")
    frames = sorted((tmp_path / "out").rglob("*.jpg"))
    assert [round(np.asarray(Image.open(frame)).mean() / 16) for frame in frames] == [4, 9, 14]
    xml = cvat_xml(cvat_polygon(4), task=cvat_task(size=4, start=4, step=5))
    (tmp_path / "in/annotations.xml").write_text(xml)
    with pytest.raises(DataSetError, match="has 15 frames, 4 are annotated, the last one is number 19"):
        convert(tmp_path / "in", "cvat", tmp_path / "out", frames=tmp_path / "clip.mp4")


def test_brush_masks_are_decoded_in_linear_time_within_limits():
    values = np.tile(np.array([0, 1, 1], dtype=np.uint8), 10_000)
    start = time.process_time()
    np.testing.assert_array_equal(decode_brush_rle(encode_brush(values)), values)
    assert time.process_time() - start < 10  # some 0.1 s
    bomb = encode_brush(np.zeros(1, dtype=np.uint8))
    bomb[:4] = [255] * 4
    with pytest.raises(ValueError, match="declares 4294967295 values of 8 bits, expected up to 100 of 8"):
        decode_brush_rle(bomb, max_values=100)
    with pytest.raises(ValueError, match="expected bytes as numbers"):
        decode_brush_rle([256])
