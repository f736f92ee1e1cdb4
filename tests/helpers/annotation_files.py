"""Small files as annotation tools write them, and the pictures they speak of."""

from PIL import Image

HEIGHT, WIDTH = 20, 30


def write_frames(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        Image.new("RGB", (WIDTH, HEIGHT), (index * 20, 0, 0)).save(folder / name)


def cvat_xml(shapes: str, track_attributes: str = 'id="7" label="cat"') -> str:
    return f"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><name>my clip</name><size>3</size>
<labels><label><name>dog</name></label><label><name>cat</name></label></labels>
<original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size></task></meta>
<track {track_attributes}>{shapes}</track></annotations>"""


CVAT_POLYGON = '<polygon frame="0" outside="0" points="4.0,3.0;24.0,3.0;14.0,17.0"/>'
