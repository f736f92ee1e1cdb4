"""Names in other people's files and archives never lead out of their folder, and devices are not read."""

import os
import stat
import zipfile

import pytest
from PIL import Image

from annotation_files import MAKERS, coco_content, coco_video, cvat, cvat_xml, label_studio, labelme, triangle
from ifc_hf.data.check import check_split, read_split
from ifc_hf.data.converters import convert
from ifc_hf.data.problems import DataSetError
from ifc_hf.model.masks import decode_rle


def is_whole(folder):
    """Whether the conversion holds the object on the first and last frame."""
    assert not [problem for problem in check_split(folder) if problem.fatal]
    (video,) = read_split(folder)[1].videos
    (track,) = video.tracks
    masks = [rle is not None and (decode_rle(rle) == triangle()).all() for rle in track.segmentations]
    return masks == [True, False, True]


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.png", "a/../../secret.png", "..\\secret.png", "link.png",
                                  "/dev/zero", "fifo.png", "a\0b", "", "x" * 300])  # fmt: skip
def test_names_in_a_coco_file(tmp_path, name):
    content = coco_content()
    content["images"][1]["file_name"] = name
    json_file = coco_video(tmp_path / "in", content)
    Image.new("RGB", (30, 20)).save(tmp_path / "secret.png")
    (tmp_path / "in/link.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(tmp_path / "in/fifo.png")
    with pytest.raises(DataSetError, match=r"clip\.json"):
        convert(json_file, "coco-video", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.*"))


@pytest.mark.parametrize("source_format", MAKERS)
def test_linked_frames_on_purpose_only(tmp_path, source_format):
    source = MAKERS[source_format](tmp_path / "in")
    frame = next(path for path in (tmp_path / "in").rglob("f1.png") if "instances" not in path.parts)
    (tmp_path / "elsewhere").mkdir()
    frame.rename(tmp_path / "elsewhere/f1.png")
    frame.symlink_to(tmp_path / "elsewhere/f1.png")
    with pytest.raises(DataSetError, match="a link that leads to"):
        convert(source, source_format, tmp_path / "out")
    convert(source, source_format, tmp_path / "out", allow_outside=True)
    assert is_whole(tmp_path / "out")
    frame.unlink()
    os.mkfifo(frame)
    with pytest.raises(DataSetError, match="a device, pipe or socket"):
        convert(source, source_format, tmp_path / "out", allow_outside=True)


@pytest.mark.parametrize("make", [cvat, labelme, label_studio, coco_video])
def test_annotations_that_are_pipes(tmp_path, make):
    source = make(tmp_path / "in")
    file = source if source.is_file() else next(path for path in source.iterdir() if path.suffix in (".xml", ".json"))
    file.unlink()
    os.mkfifo(file)
    source_format = next(name for name, maker in MAKERS.items() if maker is make)
    with pytest.raises(DataSetError, match="device, pipe or socket"):
        convert(source, source_format, tmp_path / "out")


@pytest.mark.parametrize("name", ["..", ".", "../up", "a/b", "/abs", "nul\1", "x" * 300, " .. "])
def test_names_of_videos(tmp_path, name):
    content = coco_content()
    content["videos"][0]["name"] = name
    json_file = coco_video(tmp_path / "in", content)
    try:
        convert(json_file, "coco-video", tmp_path / "deep/out")
    except DataSetError as error:
        assert "expected a name of up to" in str(error)
        assert not (tmp_path / "deep").exists()
    else:
        assert is_whole(tmp_path / "deep/out")
        assert len(list((tmp_path / "deep/out/train/JPEGImages").iterdir())) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "deep"}


@pytest.mark.parametrize("split", ["..", "../x", "/abs", "a/b", ".hidden", ""])
def test_names_of_splits(tmp_path, split):
    with pytest.raises(DataSetError, match="expected a"):
        convert(labelme(tmp_path / "in"), "labelme", tmp_path / "deep/out", split)
    assert not (tmp_path / "deep").exists()


def zipped(folder, path, extra=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.rglob("*"):
            if file.is_file():
                archive.write(file, file.relative_to(folder.parent))
        for name, data in extra:
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("source_format", MAKERS)
def test_zips(tmp_path, source_format):
    MAKERS[source_format](tmp_path / "in")
    if source_format == "coco-video":
        (tmp_path / "in/clip.json").rename(tmp_path / "in/annotations.json")
    convert(zipped(tmp_path / "in", tmp_path / "export.zip"), source_format, tmp_path / "out")
    assert is_whole(tmp_path / "out")


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "in/../../evil.png", "in/annotations.xml", "link"])
def test_hostile_zips(tmp_path, name):
    cvat(tmp_path / "in")
    entry = zipfile.ZipInfo(name)
    if name == "link":
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.warns(UserWarning) if name.endswith("xml") else pytest.MonkeyPatch.context():
        archive = zipped(tmp_path / "in", tmp_path / "export.zip", [(entry, "/etc/passwd")])
    with pytest.raises(DataSetError, match=r"export\.zip: "):
        convert(archive, "cvat", tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.rglob("evil*"))


def test_a_zip_that_is_broken_or_declares_too_much(tmp_path, monkeypatch):
    archive = zipped(cvat(tmp_path / "in"), tmp_path / "export.zip")
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-100])
    with pytest.raises(DataSetError, match=r"export\.zip: can't be unpacked"):
        convert(archive, "cvat", tmp_path / "out")
    archive.write_bytes(whole)
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr("ifc_hf.data.converters.archives.shutil.disk_usage", lambda folder: usage)
    with pytest.raises(DataSetError, match=r"export\.zip: 4 files of [0-9]+ bytes in all: there is room for .* 100"):
        convert(archive, "cvat", tmp_path / "out")


BOMB = "<!DOCTYPE a [" + "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "x" * 10}">' for i in range(30)) + "]>"


@pytest.mark.parametrize("xml", [
    BOMB + cvat_xml("&e29;").partition("\n")[2],
    '<!DOCTYPE a [<!ENTITY e SYSTEM "/etc/passwd">]>' + cvat_xml("&e;").partition("\n")[2],
    '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">' + cvat_xml("").partition("\n")[2],
    "<a>" * 100_000,
])  # fmt: skip
def test_xml_bombs(tmp_path, xml):
    with pytest.raises(DataSetError, match=r"annotations\.xml: (has a document type|its elements are nested)"):
        convert(cvat(tmp_path / "in", xml), "cvat", tmp_path / "out")


@pytest.mark.parametrize("source_format", MAKERS)
def test_pictures_beyond_the_limit(tmp_path, monkeypatch, source_format):
    source = MAKERS[source_format](tmp_path / "in")
    monkeypatch.setattr("ifc_hf.model.limits.LIMITS.pixels", 500)
    with pytest.raises(DataSetError, match="20x30 .* is more than the limit of 500 pixels"):
        convert(source, source_format, tmp_path / "out")
    assert not (tmp_path / "out").exists()
