"""Valid inputs of every reader, small and made in code: what the campaign starts from.

All annotations are of frames of 4x6 pixels (height x width).
"""

import io
import json
import pickle
from collections import OrderedDict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 4, 6
FULL, EMPTY, SOME = "0h0", "h0", "64>"  # compressed runs of such a mask: all, nothing, and the middle columns


def _encoded(*contents: Any) -> list[bytes]:
    return [json.dumps(content).encode() for content in contents]


def _rle(counts: Any = SOME) -> dict[str, Any]:
    return {"size": [HEIGHT, WIDTH], "counts": counts}


def rle_seeds() -> list[bytes]:
    """RLEs of every kind with the size of their frame."""
    rles = [_rle(FULL), _rle(EMPTY), _rle(), _rle([6, 4, 14]), _rle([0, 24]), _rle([5, 1, 5, 2, 5, 3, 3])]
    return _encoded(*({"rle": rle, "height": HEIGHT, "width": WIDTH} for rle in rles))


def polygon_seeds() -> list[bytes]:
    """Polygons with the size of their frame."""
    square, triangle = [0, 0, 5, 0, 5, 3, 0, 3], [1.5, 0.5, 4.25, 1, 3, 3.5]
    frame = {"height": HEIGHT, "width": WIDTH}
    return _encoded(*({"polygons": polygons, **frame} for polygons in ([square], [square, triangle], triangle)))


def _ytvis() -> dict[str, Any]:
    video = {"id": 1, "width": WIDTH, "height": HEIGHT, "length": 2, "file_names": ["v/0.png", "v/1.png"]}
    head = {"video_id": 1, "category_id": 1, "iscrowd": 0}
    tracks = [
        {"id": 1, **head, "segmentations": [_rle(), None], "bboxes": [[1, 0, 2, 4], None], "areas": [4, None]},
        {"id": 2, **head, "segmentations": [None, [[0, 0, 5, 0, 5, 3]]]},
        {"id": 3, **head, "category_id": 2, "segmentations": [_rle([0, 24]), _rle(FULL)]},
    ]
    return {"videos": [video], "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}], "annotations": tracks}


def ytvis_seeds() -> list[bytes]:
    """Files of YouTube-VIS with and without annotations."""
    content = _ytvis()
    return _encoded(content, {**content, "annotations": None})


def coco_seeds() -> list[bytes]:
    """A file of COCO, and one with the group of classes that Roboflow adds."""
    images = [{"id": 1, "width": WIDTH, "height": HEIGHT, "file_name": "v/0.png"}]
    head = {"image_id": 1, "category_id": 1, "iscrowd": 0}
    annotations = [
        {"id": 1, **head, "segmentation": [[0, 0, 5, 0, 5, 3]], "bbox": [0, 0, 5, 3], "area": 9.5},
        {"id": 2, **head, "iscrowd": 1, "segmentation": _rle([6, 4, 14]), "bbox": [1, 0, 2, 4], "area": 4},
    ]
    categories = [{"id": 0, "name": "all", "supercategory": "none"}, {"id": 1, "name": "a", "supercategory": "all"}]
    content = {"images": images, "categories": categories[1:], "annotations": annotations}
    return _encoded(content, {**content, "categories": categories})


def coco_video_seeds() -> list[bytes]:
    """The dialects of CVAT's COCO export, mmtracking and TAO."""
    size = {"width": WIDTH, "height": HEIGHT}
    images = [{"id": n + 1, "file_name": f"v/{n}.png", **size, "video_id": 1, "frame_id": n} for n in range(2)]
    polygon = [[0, 0, 5, 0, 5, 3]]
    tracks = [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": polygon, "instance_id": 7, "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 1, "segmentation": _rle(), "track_id": "b"},
    ]
    categories = [{"id": 1, "name": "a", "supercategory": ""}]
    content = {
        "videos": [{"id": 1, "name": "film"}],
        "images": images,
        "annotations": tracks,
        "categories": categories,
    }
    cvat = {"id": 3, "image_id": 1, "category_id": 1, "segmentation": polygon, "attributes": {"track_id": 3}}
    plain = [{name: image[name] for name in ("id", "file_name", "width", "height")} for image in images]
    return _encoded(content, {"images": plain, "categories": categories, "annotations": [cvat]})


def cvat_seeds() -> list[bytes]:
    """A task and a project of "CVAT for video 1.1"."""
    size = f"<original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size>"
    labels = "<labels><label><name>a</name></label><label><name>b</name></label></labels>"
    shapes = (
        '<polygon frame="0" keyframe="1" outside="0" points="0,0;5,0;5,3"/>'
        '<polygon frame="1" keyframe="1" outside="1" points="0,0;5,0;5,3"/>'
    )
    mask = '<mask frame="1" outside="0" left="1" top="1" width="3" height="2" rle="1,2,3"/>'
    attribute = '<attribute name="x">1</attribute>'
    tracks = f'<track id="0" label="a">{shapes}</track><track id="1" label="b">{mask}{attribute}</track>'
    task = f"<name>film</name><id>5</id><size>2</size><start_frame>0</start_frame><frame_filter/>{labels}{size}"
    single = f"<annotations><version>1.1</version><meta><task>{task}</task></meta>{tracks}</annotations>"
    of_project = tracks.replace("<track ", '<track task_id="5" ')
    project = f"<project>{labels}<tasks><task>{task}<subset>t</subset></task></tasks></project>{size}"
    return [
        single.encode(),
        f"<annotations><meta>{project}</meta>{of_project}</annotations>".encode(),
        single.replace("<frame_filter/>", "<frame_filter>step=2</frame_filter>")
        .replace('frame="1"', 'frame="2"')
        .encode(),
    ]


def _picture(array: np.ndarray[Any, Any], kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


def labelme_seeds() -> list[bytes]:
    """A labelme file with polygons and a mask."""
    import base64

    mask = base64.b64encode(_picture(np.ones((2, 3), np.uint8), "PNG")).decode()
    shapes = [
        {"label": "a", "points": [[0, 0], [5, 0], [5, 3]], "group_id": 1, "shape_type": "polygon"},
        {"label": "b", "points": [[1, 1], [3, 2]], "group_id": None, "shape_type": "mask", "mask": mask},
    ]
    head = {"version": "5", "flags": {}, "imagePath": "0.png", "imageHeight": HEIGHT, "imageWidth": WIDTH}
    return _encoded({**head, "shapes": shapes}, {"shapes": shapes[:1]})


def _brush(values: list[int]) -> list[int]:
    """A brush mask of single values, see `ifc_hf.data.converters.brush`."""
    bits = f"{len(values):032b}{7:05b}" + "0111" * 4
    for value in values:
        bits += "1" + "00" + f"{0:08b}" + f"{value:08b}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


def label_studio_seeds() -> list[bytes]:
    """Brush masks and polygons on two frames."""
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    brush = {"format": "rle", "rle": _brush([0, 0, 0, 255] * (HEIGHT * WIDTH)), "brushlabels": ["a"]}
    polygon = {"points": [[0, 0], [80, 0], [80, 80]], "closed": True, "polygonlabels": ["b"]}
    regions = [
        {"id": "r1", "type": "brushlabels", "from_name": "tag", "value": brush, **size},
        {"id": "r2", "type": "polygonlabels", "from_name": "tag", "value": polygon, **size},
        {"id": "r2", "type": "number", "from_name": "track", "value": {"number": 3}},
    ]
    tasks = [
        {"id": 1, "data": {"image": "/data/upload/1/0a1b2c3d-0.png"}, "annotations": [{"id": 9, "result": regions}]},
        {"id": 2, "data": {"image": "1.png"}, "annotations": [], "drafts": [], "predictions": []},
    ]
    return _encoded(tasks, tasks[:1])


MOTS_SEPARATOR = b"\n--PNG--\n"  # the input of a MOTS folder is labels.txt and a PNG


def mots_seeds() -> list[bytes]:
    """Numbers of 16 and 8 bits, and a palette."""
    numbers = np.zeros((HEIGHT, WIDTH), np.uint16)
    numbers[1:3, 1:4], numbers[3, 5] = 1001, 2001
    plain = np.uint8(numbers % 250)
    palette = Image.fromarray(np.uint8(plain > 0)).convert("P")
    stream = io.BytesIO()
    palette.save(stream, "PNG")
    pictures = [(b"a\nb\n", _picture(numbers, "PNG")), (b"a\n", _picture(plain, "PNG")), (b"", stream.getvalue())]
    return [labels + MOTS_SEPARATOR + png for labels, png in pictures]


def results_seeds() -> list[bytes]:
    """An annotation file with the results that are scored against it."""
    results = [
        {"video_id": 1, "category_id": 1, "score": 0.9, "segmentations": [_rle(), None]},
        {"video_id": 1, "category_id": 2, "score": 0.5, "segmentations": [_rle(FULL), _rle([0, 24])]},
    ]
    truth = _ytvis()
    return _encoded({"truth": truth, "results": results}, {"truth": truth, "results": []})


def tracks_seeds() -> list[bytes]:
    """A tracks.json."""
    settings = {
        "model": "demo", "num_frames": 3, "clip_stride": 1, "threshold": 0.3, "multi_label": True, "classes": ["a"],
        "frames": [0, None], "fps": None,
    }  # fmt: skip
    track = {
        "track_id": 0, "label_id": 0, "label": "a", "score": 0.9, "segmentations": [_rle(), None],
        "boxes": [[1.0, 0.0, 3.0, 4.0], None], "frame_scores": [0.8, None],
    }  # fmt: skip
    content = {
        "video": "v.mp4", "height": HEIGHT, "width": WIDTH, "fps": 25.0, "num_frames": 2,
        "frame_times_seconds": [0.0, 0.04], "complete": True, "problem": None, "settings": settings,
        "fingerprints": {"video": "1-a", "model": "b"}, "tracks": [track],
        "other_tracks": [{**track, "track_id": 1, "label": "b"}], "cuts": [1], "duplicates": {"1": 0},
        "bad_packets": 0, "sample_aspect_ratio": "1:1", "written": {"sheet": {"boxes": True}, "tracks": None},
    }  # fmt: skip
    return _encoded(content)


def config_seeds() -> list[bytes]:
    """The config.json and preprocessor_config.json of a tiny model, in one object."""
    import tempfile

    from ifc_hf import IfcConfig, IfcImageProcessor

    backbone = {
        "model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1],
        "layer_type": "basic", "out_features": ["stage2", "stage3", "stage4"],
    }  # fmt: skip
    lite = {"model_type": "efficientnet_lite", "out_features": ["stage2", "stage3", "stage4"]}
    settings = {"hidden_size": 32, "encoder_layers": 1, "decoder_layers": 1, "num_attention_heads": 4}
    found = []
    for chosen in (backbone, lite):
        with tempfile.TemporaryDirectory() as folder:
            IfcConfig(backbone_config=chosen, intermediate_size=64, num_queries=5, **settings).save_pretrained(folder)
            IfcImageProcessor().save_pretrained(folder)
            parts = {
                name: json.loads((Path(folder) / f"{name}.json").read_text())
                for name in ("config", "preprocessor_config")
            }
        found.append(json.dumps(parts).encode())
    return found


def pickle_seeds() -> list[bytes]:
    """Checkpoints of torch, in the new and the old form, and of detectron2 and Caffe2."""
    import torch

    tensors = {"model": OrderedDict(a=torch.ones(2, 3), b=torch.arange(4)), "iteration": 7, "name": "x"}
    arrays = {"model": {"a": np.ones((2, 3), np.float32), "b": np.arange(4)}, "__author__": "x", "matching": True}
    found = []
    for new in (True, False):
        stream = io.BytesIO()
        torch.save(tensors, stream, _use_new_zipfile_serialization=new)
        found.append(stream.getvalue())
    return [
        *found,
        *(pickle.dumps(arrays, protocol) for protocol in (2, 4, 5)),
        pickle.dumps({"blobs": arrays["model"]}, 2),
    ]


def video_seeds() -> list[bytes]:
    """Three frames in every container and kind of picture that people have; the first byte chooses the suffix."""
    import tempfile

    import av

    frames = [np.full((16, 32, 3), 60 * index, np.uint8) for index in range(3)]
    pictures = [Image.fromarray(frame) for frame in frames]
    found = []
    for index, suffix in enumerate(VIDEO_SUFFIXES):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"v{suffix}"
            if suffix in CODECS:
                with av.open(str(path), "w") as container:
                    stream = container.add_stream(CODECS[suffix], rate=Fraction(25))
                    stream.width, stream.height = 32, 16
                    stream.pix_fmt = {".gif": "rgb8", ".avi": "yuvj420p"}.get(suffix, "yuv420p")
                    for frame in frames:
                        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                    container.mux(stream.encode(None))
            elif suffix in (".webp", ".apng", ".tiff"):
                pictures[0].save(path, format={".apng": "PNG"}.get(suffix), save_all=True, append_images=pictures[1:])
            else:
                pictures[0].save(path)
            found.append(bytes([index]) + path.read_bytes())
    return found


CODECS = {
    ".mp4": "mpeg4", ".webm": "libvpx", ".mkv": "ffv1", ".avi": "mjpeg", ".mov": "libx264", ".gif": "gif",
    ".flv": "flv",
}  # fmt: skip
VIDEO_SUFFIXES = (
    *(".mp4", ".webm", ".mkv", ".avi", ".mov", ".gif", ".flv"),
    *(".png", ".jpg", ".webp", ".apng", ".tiff", ".bmp", ".ppm", ".tga"),
)
