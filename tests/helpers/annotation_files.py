"""Small files as annotation tools write them, and the pictures they speak of.

Every maker writes a video of three frames with one object, whose mask is `triangle()` on the first and on the last.
"""

import base64
import io
import json

import numpy as np
from PIL import Image

from ifc_hf.model.masks import decode_segmentation

HEIGHT, WIDTH, LENGTH = 20, 30, 3
TRIANGLE = [4.0, 3.0, 24.0, 3.0, 14.0, 17.0]
NAMES = [f"f{index}.png" for index in range(LENGTH)]
SIZE = {"height": HEIGHT, "width": WIDTH}
CVAT_POLYGON = '<polygon frame="0" outside="0" points="4.0,3.0;24.0,3.0;14.0,17.0"/>'


def triangle():
    """The mask (H, W) of TRIANGLE."""
    return decode_segmentation([TRIANGLE], HEIGHT, WIDTH)


def write_frames(folder, names, size=(WIDTH, HEIGHT)):
    """Pictures, each of its own colour."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        Image.new("RGB", size, (index * 20, 0, 0)).save(folder / name)


def write_video(path, num_frames, step=16):
    """A video whose frame i is gray of the value i * step."""
    import av

    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(num_frames):
            pixels = np.full((HEIGHT, WIDTH, 3), index * step, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def write_json(path, content):
    """A JSON file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def cvat_polygon(frame, outside=0, keyframe=1):
    """One shape of a track."""
    head = f'frame="{frame}" outside="{outside}" keyframe="{keyframe}"'
    return CVAT_POLYGON.replace('frame="0" outside="0"', head)


def cvat_task(name="my clip", task_id=1, size=LENGTH, start=0, step=1, kind="task", extra=""):
    """What `meta` says of a task or job."""
    frame_filter = f"step={step}" if step > 1 else ""
    return (
        f"<{kind}><id>{task_id}</id><name>{name}</name><size>{size}</size><start_frame>{start}</start_frame>"
        f"<stop_frame>{start + step * (size - 1)}</stop_frame><frame_filter>{frame_filter}</frame_filter>{extra}"
        f"<labels><label><name>dog</name></label><label><name>cat</name></label></labels><original_size>"
        f"<width>{WIDTH}</width><height>{HEIGHT}</height></original_size></{kind}>"
    )


def cvat_xml(shapes: str, track_attributes: str = 'id="7" label="cat"', task: str | None = None) -> str:
    """An XML with one track."""
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
    return f"{head}<meta>{task or cvat_task()}</meta><track {track_attributes}>{shapes}</track></annotations>"


def cvat(folder, xml=None, names=NAMES):
    """CVAT's export for video; returns the folder."""
    write_frames(folder / "images", names)
    xml = xml or cvat_xml(cvat_polygon(0) + cvat_polygon(1, outside=1) + cvat_polygon(2))
    (folder / "annotations.xml").write_text(xml)
    return folder


def coco_content(names=NAMES):
    """A COCO file of one video."""
    images = [{"id": 5 + i, "file_name": n, **SIZE, "video_id": 1, "frame_id": i} for i, n in enumerate(names)]
    annotations = [
        {"id": i, "image_id": 5 + i, "category_id": 3, "track_id": 4, "segmentation": [TRIANGLE], "iscrowd": 0,
         "area": 140.0, "bbox": [4, 3, 20, 14]} for i in (0, 2)
    ]  # fmt: skip
    categories = [{"id": 3, "name": "cat", "supercategory": "animal"}]
    videos = [{"id": 1, "name": "clip"}]
    return {"videos": videos, "images": images, "annotations": annotations, "categories": categories}


def coco_video(folder, content=None, names=NAMES):
    """A COCO file beside its frames; returns the JSON."""
    write_frames(folder, names)
    return write_json(folder / "clip.json", content or coco_content(names))


def labelme_content(**changes):
    """A labelme file with one polygon."""
    points = np.reshape(TRIANGLE, (3, 2)).tolist()
    shape = {"label": "cat", "group_id": 1, "shape_type": "polygon", "points": points, "flags": {}, **changes}
    return {"version": "5.0.1", "flags": {}, "shapes": [shape], "imageHeight": HEIGHT, "imageWidth": WIDTH,
            "imagePath": "f0.png", "imageData": None}  # fmt: skip


def labelme(folder, content=None, names=NAMES):
    """labelme files of the first and the last frame; returns the folder."""
    write_frames(folder, names)
    for name in (names[0], names[-1]):
        own = {**(content or labelme_content()), "imagePath": name}
        write_json((folder / name).with_suffix(".json"), own)
    return folder


def png_text(array):
    """A picture as labelme puts it into its JSON."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def label_studio_region(region_id="r", label="cat", kind="polygonlabels", **changes):
    """A polygon of Label Studio, in percent."""
    points = (np.reshape(TRIANGLE, (3, 2)) / [WIDTH, HEIGHT] * 100).tolist()
    value = {"points": points, "closed": True, **({kind: [label]} if label else {})}
    head = {"id": region_id, "type": kind, "from_name": "label", "to_name": "image", "image_rotation": 0}
    return {**head, "value": value, "original_height": HEIGHT, "original_width": WIDTH, **changes}


def label_studio_tasks(results, names=NAMES):
    """A task for every frame, with the regions `results[frame]`."""
    return [
        {"id": index + 1, "data": {"image": f"/data/upload/3/0a1b2c3d-{name}"}, "drafts": [], "predictions": [],
         "annotations": [{"id": index, "was_cancelled": False, "ground_truth": False, "result": results[index]}]}
        for index, name in enumerate(names)
    ]  # fmt: skip


def label_studio(folder, tasks=None, names=NAMES):
    """Label Studio's export beside its frames; returns the JSON."""
    write_frames(folder, names)
    regions = [[label_studio_region()], [], [label_studio_region()]]
    return write_json(folder / "clip.json", label_studio_tasks(regions) if tasks is None else tasks)


def encode_brush(values: np.ndarray) -> list[int]:
    """The bit stream that `decode_brush_rle` describes: runs of equal values, and one literal block at the end."""
    bits = f"{values.size:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    blocks = np.split(values, np.flatnonzero(np.diff(values)) + 1)
    for block in blocks[:-1]:
        bits += f"1{3:02b}{block.size - 1:016b}{block[0]:08b}"
    tail = blocks[-1]
    bits += f"0{3:02b}{tail.size - 1:016b}" + "".join(f"{value:08b}" for value in tail)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def brush_region(mask, **changes):
    """A brush mask of Label Studio."""
    rgba = np.repeat(mask.astype(np.uint8)[..., None] * 255, 4, axis=-1)
    value = {"format": "rle", "rle": encode_brush(rgba.ravel()), "brushlabels": ["cat"]}
    return {**label_studio_region(kind="brushlabels"), "value": value, **changes}


def mots(folder, values=(2003, 0, 2003), labels="dog\ncat\n", dtype=np.uint16, suffix=".png", extra=None):
    """A MOTS PNG export; returns the folder."""
    write_frames(folder / "clip/images", [f"f{index}{suffix}" for index in range(LENGTH)])
    instances = folder / "clip/instances"
    instances.mkdir()
    if labels is not None:
        (instances / "labels.txt").write_text(labels)
    for index, value in enumerate(values):
        numbers = (triangle() * value).astype(dtype)
        if extra is not None:
            numbers[0, 0] = extra
        Image.fromarray(numbers).save(instances / f"f{index}.png")
    return folder


MAKERS = {"cvat": cvat, "coco-video": coco_video, "labelme": labelme, "label-studio": label_studio, "mots": mots}
