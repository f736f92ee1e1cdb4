"""The table of docs/data.md: what every converter keeps, converts, leaves out and counts, or refuses."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from annotation_files import (
    HEIGHT,
    NAMES,
    TRIANGLE,
    WIDTH,
    brush_region,
    coco_content,
    coco_video,
    cvat,
    cvat_polygon,
    cvat_task,
    cvat_xml,
    label_studio,
    label_studio_tasks,
    labelme,
    labelme_content,
    mots,
    png_text,
    triangle,
    write_frames,
    write_json,
    write_video,
)
from annotation_files import label_studio_region as region
from ifc_hf.data.check import check_split, read_split
from ifc_hf.data.converters import convert
from ifc_hf.data.problems import DataSetError
from ifc_hf.model.masks import decode_rle
from ifc_hf.model.rle import compress_segmentation
from paths import ROOT

KEPT, CONVERTED, LEFT_OUT, REFUSED = "kept", "converted", "left out, counted", "refused"
MASK = '<mask frame="0" outside="0" rle="{}" left="0" top="0" width="30" height="20"/>'
ROWS = {}  # (format, feature): (outcome, maker of the source, masks of each track, the error's text)


def row(source_format, feature, outcome, masks="101", error="", classes="cat"):
    """Adds a row, by a function that makes a source in a folder and returns it, or it and arguments of `convert`."""

    def add(make):
        ROWS[source_format, feature] = (outcome, make, masks.split(), classes.split(), error)
        return make

    return add


def changed(annotation_or_image, **changes):
    """A maker of a COCO file whose first annotation, image or video differs."""

    def make(folder):
        content = coco_content()
        first = content[annotation_or_image][0]
        first.update(changes)
        for key in [key for key, value in changes.items() if value is ...]:
            del first[key]
        return coco_video(folder, content)

    return make


def text_ids(folder):
    """A COCO file whose ids are texts."""
    content = coco_content()
    for annotation in content["annotations"]:
        annotation.update(image_id=str(annotation["image_id"]), track_id="four")
    for image in content["images"]:
        image["id"] = str(image["id"])
    return coco_video(folder, content)


# CVAT


@row("cvat", "polygon tracks, `outside`, interpolated shapes (`keyframe=0`)", KEPT, masks="110")
def _(folder):
    return cvat(folder, cvat_xml(cvat_polygon(0) + cvat_polygon(1, keyframe=0) + cvat_polygon(2, outside=1)))


@row("cvat", "mask tracks", KEPT, masks="100")
def _(folder):
    flat = triangle().ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends, flat.size])
    return cvat(folder, cvat_xml(MASK.format(", ".join(map(str, runs)))))


@row("cvat", "frame step and start frame of a task", KEPT)
def _(folder):
    shapes = cvat_polygon(7) + cvat_polygon(12, outside=1) + cvat_polygon(17)
    names = [f"frame_{number:06d}.png" for number in (7, 12, 17)]
    return cvat(folder, cvat_xml(shapes, task=cvat_task(start=7, step=5)), names)


@row("cvat", "frame step and start frame of a job", KEPT)
def _(folder):
    shapes = cvat_polygon(30) + cvat_polygon(32, outside=1) + cvat_polygon(34)
    return cvat(folder, cvat_xml(shapes, task=cvat_task(start=30, step=2, kind="job")))


@row("cvat", "frames of a video file, with step and start frame", KEPT)
def _(folder):
    pytest.importorskip("av", reason="videos need PyAV")
    cvat(
        folder,
        cvat_xml(cvat_polygon(2) + cvat_polygon(7, outside=1) + cvat_polygon(12), task=cvat_task("a", 1, 3, 2, 5)),
    )
    write_video(folder / "clip.mp4", 13)
    return folder, {"frames": folder / "clip.mp4"}


@row("cvat", "`--frames` with all pictures of the video", KEPT)
def _(folder):
    shapes = cvat_polygon(2) + cvat_polygon(4, outside=1) + cvat_polygon(6)
    write_frames(folder / "all", [f"{index}.png" for index in range(9)])
    return cvat(folder, cvat_xml(shapes, task=cvat_task(start=2, step=2))), {"frames": folder / "all"}


@row("cvat", "project of several tasks", KEPT, masks="101 101", classes="cat cat")
def _(folder):
    tasks = cvat_task("one", 1) + cvat_task("two", 2)
    meta = f"<project><labels><label><name>cat</name></label></labels><tasks>{tasks}</tasks></project>"
    shapes = cvat_polygon(0) + cvat_polygon(1, outside=1) + cvat_polygon(2)
    second = f'</track><track id="8" label="cat" task_id="2">{shapes}'
    names = [f"frame_{i:06d}{end}.png" for i in range(3) for end in ("", "_1")]
    return cvat(folder, cvat_xml(shapes + second, 'id="7" label="cat" task_id="1"', meta), names)


@row("cvat", "frames between two shapes with neither shape nor `outside`", LEFT_OUT)
def _(folder):
    return cvat(folder, cvat_xml(cvat_polygon(0) + cvat_polygon(2)))


@row("cvat", "deleted frames: no picture and no shape", LEFT_OUT, masks="11")
def _(folder):
    shapes = cvat_polygon(0) + cvat_polygon(1, outside=1) + cvat_polygon(2)
    return cvat(folder, cvat_xml(shapes), ["frame_000000.png", "frame_000002.png"])


@row("cvat", "attributes", LEFT_OUT)
def _(folder):
    attribute = cvat_polygon(0).replace("/>", '><attribute name="pose">left</attribute></polygon>')
    return cvat(folder, cvat_xml(attribute + cvat_polygon(1, outside=1) + cvat_polygon(2)))


for kind in ("box", "ellipse", "points", "polyline", "cuboid", "skeleton"):
    row("cvat", f"{kind} tracks", REFUSED, error=f"annotation 7, frame 0: is a {kind}: only polygons and masks")(
        lambda folder, kind=kind: cvat(folder, cvat_xml(cvat_polygon(0).replace("polygon", kind)))
    )
row("cvat", "a frame that the task doesn't have", REFUSED, error="annotation 7, frame 1: there is no such frame")(
    lambda folder: cvat(folder, cvat_xml(cvat_polygon(1), task=cvat_task(step=2)))
)
row("cvat", "too few pictures", REFUSED, error="my clip: expected 3 pictures, of the frames")(
    lambda folder: cvat(folder, names=NAMES[:2] + ["other.png", "more.png"])
)
row("cvat", "a track id twice", REFUSED, error="annotation 7: the track is there twice")(
    lambda folder: cvat(folder, cvat_xml('</track><track id="7" label="cat">'))
)
row("cvat", '"CVAT for images"', REFUSED, error="has no tracks")(
    lambda folder: cvat(folder, cvat_xml('</track><image id="0"/><track id="8" label="cat">'))
)
row("cvat", "entities (a document type declaration)", REFUSED, error="document type declaration")(
    lambda folder: cvat(folder, "<!DOCTYPE annotations []>" + cvat_xml("").partition("\n")[2])
)


@row("cvat", "a damaged video file", REFUSED, error="my clip.*frame")
def _(folder):
    pytest.importorskip("av", reason="videos need PyAV")
    cvat(folder)
    write_video(folder / "clip.mp4", 3)
    data = (folder / "clip.mp4").read_bytes()
    (folder / "clip.mp4").write_bytes(data[: len(data) // 3])
    return folder, {"frames": folder / "clip.mp4"}


# coco-video


row("coco-video", "polygons; `video_id` and `frame_id`, or folders and names", KEPT)(coco_video)
row("coco-video", "RLE, compressed or not", KEPT)(
    changed("annotations", segmentation=compress_segmentation([TRIANGLE], HEIGHT, WIDTH))
)
row("coco-video", "missing `area`, `iscrowd` missing or null", KEPT)(changed("annotations", area=..., iscrowd=None))
row("coco-video", "ids that are texts", KEPT)(text_ids)


@row("coco-video", "`iscrowd: 1`", KEPT)
def _(folder):
    content = coco_content()
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    return coco_video(folder, content)


@row("coco-video", "byte order mark; back slashes in file names", CONVERTED)
def _(folder):
    content = coco_content()
    coco_video(folder / "clip").unlink()
    for image in content["images"]:
        image["file_name"] = "clip\\" + image["file_name"]
    (folder / "set.json").write_text("\ufeff" + json.dumps(content))
    return folder / "set.json"


@row("coco-video", "category without annotations with the name of another (Roboflow's group)", LEFT_OUT)
def _(folder):
    content = coco_content()
    content["categories"].insert(0, {"id": 0, "name": "cat", "supercategory": "none"})
    return coco_video(folder, content)


@row("coco-video", "category without annotations that is the group of all others", LEFT_OUT)
def _(folder):
    content = coco_content()
    content["categories"].append({"id": 0, "name": "animal", "supercategory": "none"})
    return coco_video(folder, content)


@row("coco-video", "video without images", LEFT_OUT)
def _(folder):
    content = coco_content()
    content["videos"].append({"id": 2, "name": "empty"})
    return coco_video(folder, content)


@row("coco-video", "an annotation whose mask has no pixel", LEFT_OUT, masks="001")
def _(folder):
    return changed("annotations", segmentation={"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]})(folder)


row("coco-video", "images of several sizes in a video", REFUSED, error="frame 1: image 6 is 20x30")(
    changed("images", height=HEIGHT + 1)
)
row("coco-video", "a picture of another size than stated", REFUSED, error="frame 0: .*is 20x30")(
    lambda folder: write_json(
        coco_video(folder),
        {**coco_content(), "images": [{**i, "height": 21} for i in coco_content()["images"]], "annotations": []},
    )
)
row("coco-video", "an image id twice", REFUSED, error="image id 6 is there twice")(changed("images", id=6))
row("coco-video", "a `frame_id` twice", REFUSED, error="frame_id 1 is there twice")(changed("images", frame_id=1))
row("coco-video", "two masks of a track on a frame", REFUSED, error="annotation 4, frame 2: the object has two masks")(
    changed("annotations", image_id=7)
)
row("coco-video", "no `track_id` or `instance_id`", REFUSED, error="annotation 0, frame 0: has no track_id")(
    changed("annotations", track_id=...)
)
row("coco-video", "boxes without masks", REFUSED, error="annotation 0, frame 0: expected an RLE or")(
    changed("annotations", segmentation=[])
)
row(
    "coco-video",
    "ids beyond 64 bits, floats, null",
    REFUSED,
    error=r"annotations\[0\].image_id \(id 0\): exp",
)(changed("annotations", image_id=2**63))
row("coco-video", "file names that lead out of the folder", REFUSED, error="an absolute name or one with '..'")(
    changed("images", file_name="../f0.png")
)


# labelme


row("labelme", "polygons; pictures without a file have no objects", KEPT)(labelme)
row("labelme", "masks", KEPT)(
    lambda folder: labelme(
        folder, labelme_content(shape_type="mask", points=[[0, 0], [29, 19]], mask=png_text(triangle()))
    )
)


@row("labelme", "several shapes of a label and `group_id` on a frame", CONVERTED)
def _(folder):
    shape = labelme_content()["shapes"][0]
    return labelme(folder, {**labelme_content(), "shapes": [shape, shape]})


for kind in ("rectangle", "circle", "line", "linestrip", "point"):
    row("labelme", f"{kind} shapes", REFUSED, error=rf"f0\.json, .* cat 1, frame 0: is a {kind}: only polygons and")(
        lambda folder, kind=kind: labelme(folder, labelme_content(shape_type=kind))
    )


@row("labelme", "several shapes of a label without `group_id`", REFUSED, error="frame 0: 2 shapes 'cat' without group")
def _(folder):
    shape = labelme_content(group_id=None)["shapes"][0]
    return labelme(folder, {**labelme_content(), "shapes": [shape, shape]})


@row("labelme", "two pictures that differ in their suffix only", REFUSED, error="f0.jpg and f0.png")
def _(folder):
    write_frames(folder, ["f0.jpg"])
    return labelme(folder)


@row("labelme", "a file without its picture", REFUSED, error="there is no picture f9")
def _(folder):
    write_json(folder / "f9.json", {"shapes": []})
    return labelme(folder)


row("labelme", "a file for another size", REFUSED, error=r"f0\.json, .*frame 0: is 21x30")(
    lambda folder: labelme(folder, {**labelme_content(), "imageHeight": 21})
)


# Label Studio


def tasks_with(*items, **changes):
    """A maker of an export whose first task has these regions, or whose first annotation differs."""

    def make(folder):
        tasks = label_studio_tasks([list(items) or [region()], [], [region()]])
        tasks[0]["annotations"][0].update(changes)
        return label_studio(folder, tasks)

    return make


row("label-studio", "polygons", KEPT)(label_studio)
row("label-studio", "brush masks", KEPT)(tasks_with(brush_region(triangle())))
row("label-studio", "regions with separate `Labels`", KEPT)(
    tasks_with(region(label=None, kind="polygon"), region(kind="labels", value={"labels": ["cat"]}))
)


@row("label-studio", "points beyond 100 %", CONVERTED, masks="1")
def _(folder):
    beyond = region(value={"points": [[-1, -0.5], [100.4, -0.5], [100.4, 101], [-1, 101]], "polygonlabels": ["cat"]})
    return label_studio(folder, label_studio_tasks([[beyond]], NAMES[:1]), NAMES[:1])


def with_second_annotation(first, **second):
    def make(folder):
        tasks = label_studio_tasks([[region()], [], [region()]])
        wrong = {"id": 9, "result": [region(label="dog")], **first}
        tasks[0]["annotations"] = [wrong, {**tasks[0]["annotations"][0], **second}]
        return label_studio(folder, tasks)

    return make


row("label-studio", "skipped annotations", LEFT_OUT)(with_second_annotation({"was_cancelled": True}))
row("label-studio", "annotations beside the ground truth, or after the first", LEFT_OUT)(
    with_second_annotation({}, ground_truth=True)
)


@row("label-studio", "drafts and predictions", LEFT_OUT)
def _(folder):
    tasks = label_studio_tasks([[region()], [], [region()]])
    tasks[1].update(drafts=[{"result": [region()]}], predictions=[{"result": [region()]}])
    return label_studio(folder, tasks)


row("label-studio", "frames without a task or annotation", LEFT_OUT)(
    lambda folder: label_studio(folder, label_studio_tasks([[region()], [], [region()]])[::2])
)
row("label-studio", "choices, ratings, relations", LEFT_OUT)(
    tasks_with(region(), {"type": "choices", "from_name": "pose", "value": {"choices": ["left"]}})
)
for kind in ("rectanglelabels", "ellipselabels", "keypointlabels", "videorectangle", "bitmasklabels"):
    row("label-studio", f"{kind}", REFUSED, error=f"annotation b, frame 0: is a {kind}: only brush")(
        tasks_with(region(), region("b", kind=kind))
    )
row(
    "label-studio",
    "a picture that was turned in the tool",
    REFUSED,
    error="annotation r, frame 0: its picture",
)(tasks_with(region(image_rotation=90)))
row(
    "label-studio",
    "a region with no label, or several",
    REFUSED,
    error="annotation s, frame 0: expected a region",
)(tasks_with(region(), region("s", label=None)))
row("label-studio", "a polygon that was not closed", REFUSED, error="annotation r, frame 0: the polygon was not")(
    tasks_with(region(value={**region()["value"], "closed": False}))
)
row("label-studio", "several regions of a label without a track number", REFUSED, error="frame 0: 2 regions 'cat'")(
    tasks_with(region(), region("s"))
)
row("label-studio", "no annotation that was submitted", REFUSED, error="none of the 3 tasks has an annotation")(
    lambda folder: label_studio(folder, [{**t, "annotations": []} for t in label_studio_tasks([[], [], []])])
)


@row("label-studio", "two tasks of one frame", REFUSED, error="f0.png belongs to task 1 and task 1")
def _(folder):
    tasks = label_studio_tasks([[region()], [], [region()]])
    return label_studio(folder, [tasks[0], *tasks])


# MOTS


row("mots", "1000 * class + instance, 16 bit", KEPT)(mots)
row("mots", "plain numbers 1, 2, ... of one class, 8 or 16 bit", KEPT)(
    lambda folder: mots(folder, (7, 0, 7), "cat\n", np.uint8)
)
row("mots", "plain numbers without labels.txt", CONVERTED, classes="object")(
    lambda folder: mots(folder, (1, 0, 1), None)
)
row("mots", "frames as `.JPG`, `.png`, ...", KEPT)(lambda folder: mots(folder, suffix=".JPG"))


@row("mots", "palette PNGs", KEPT)
def _(folder):
    mots(folder, (7, 0, 7), "cat\n", np.uint8)
    for png in (folder / "clip/instances").glob("*.png"):
        palette = Image.open(png).convert("L")
        palette.putpalette([0, 0, 0, 200, 0, 0] * 4)
        palette.save(png)
    return folder


row("mots", "a label `__ignore__`", LEFT_OUT)(lambda folder: mots(folder, labels="__ignore__\ncat\n", extra=1001))
row("mots", "class 10 without a name (KITTI's ignored region)", LEFT_OUT)(lambda folder: mots(folder, extra=10000))
row("mots", "255 among 8-bit numbers", LEFT_OUT)(lambda folder: mots(folder, (7, 0, 7), "cat\n", np.uint8, extra=255))


@row("mots", "pictures without a PNG", LEFT_OUT)
def _(folder):
    mots(folder)
    write_frames(folder / "clip/images", ["f9.png"])
    return folder


row(
    "mots", "plain numbers and several classes", REFUSED, error=r"f0\.png, video clip, annotation 7, frame 0: a plain"
)(lambda folder: mots(folder, (7, 0, 7)))
row("mots", "plain numbers and classes mixed", REFUSED, error="frame 0: values above and below 1000")(
    lambda folder: mots(folder, (1003, 0, 1003), "cat\n", extra=5)
)
row("mots", "a class without a name", REFUSED, error="annotation 4001, frame 0: class 4 has no name")(
    lambda folder: mots(folder, extra=4001)
)


@row("mots", "PNGs of colours", REFUSED, error=r"f1\.png, .*frame 1: expected numbers of one channel")
def _(folder):
    mots(folder)
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "clip/instances/f1.png")
    return folder


@row("mots", "a PNG of another size than its frame", REFUSED, error=r"f1\.png, video clip, frame 1: .*10, 30")
def _(folder):
    mots(folder)
    Image.new("L", (WIDTH, 10)).save(folder / "clip/instances/f1.png")
    return folder


@pytest.mark.parametrize(("source_format", "feature"), ROWS)
def test_row(tmp_path, source_format, feature):
    outcome, make, masks, classes, error = ROWS[source_format, feature]
    source = make(tmp_path / "in")
    source, options = source if isinstance(source, tuple) else (source, {})
    if outcome == REFUSED:
        with pytest.raises(DataSetError, match=error) as caught:
            convert(source, source_format, tmp_path / "out", **options)
        assert str(tmp_path / "in") in str(caught.value) and "\n" not in str(caught.value)
        assert not (tmp_path / "out/train.json").exists()
        return
    written = convert(source, source_format, tmp_path / "out", **options)
    assert bool(written.left_out) == (outcome == LEFT_OUT)
    assert not [problem for problem in check_split(tmp_path / "out") if problem.fatal]
    split = read_split(tmp_path / "out")[1]
    tracks = [track for video in split.videos for track in video.tracks]
    assert [split.label_names[split.labels[track.category_id]] for track in tracks] == classes
    assert ["".join(str(int(rle is not None)) for rle in track.segmentations) for track in tracks] == masks
    assert all(track.is_crowd == ("iscrowd: 1" in feature) for track in tracks)
    expected = np.ones_like(triangle()) if feature == "points beyond 100 %" else triangle()
    for rle in (rle for track in tracks for rle in track.segmentations if rle is not None):
        np.testing.assert_array_equal(decode_rle(rle), expected)


def test_docs_have_this_table():
    text = (ROOT / "docs/data.md").read_text()
    listed = re.findall(
        r"^\| `([a-z-]+)` \| (.+) \| (kept|converted|left out, counted|refused) \|$", text, re.MULTILINE
    )
    assert listed == [(source_format, feature, outcome) for (source_format, feature), (outcome, *_) in ROWS.items()]
