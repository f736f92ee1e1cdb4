"""The library of pictures: packages are found, checked, fetched and decoded; splits share nothing."""

import base64
import hashlib
import io
import json
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_factory.library import CATALOGUE, READERS, SCENERY, SPLITS, AssetLibrary
from clip_factory.packages import MANIFEST, PROFILES, fetch_packages, read_manifest, read_members
from clip_factory.pictures import CUTOUT_PIXELS, tone_map
from ifc_hf.data.class_names import YTVIS_2019

PERMISSIVE_LICENCES = {
    "MIT",
    "Apache-2.0",
    "BSD-3-Clause",
    "ISC",
    "CC0-1.0",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "public domain",
}
ASSETS = os.environ.get("IFC_HF_ASSETS")


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def square(size: int, margin: int) -> np.ndarray:
    """A red square on a transparent border."""
    pixels = np.zeros((size, size, 4), np.uint8)
    pixels[margin:-margin, margin:-margin] = (255, 0, 0, 255)
    return pixels


def tar(files: dict[str, bytes], mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def deb(files: dict[str, bytes]) -> bytes:
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": tar(files, "w:xz")}
    archive = b"!<arch>\n"
    for name, content in parts.items():
        archive += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content
        archive += b"\n" * (len(content) % 2)
    return archive


def entry(family: str, file: str, content: bytes, reader: str, pictures: str, **changes: str) -> dict[str, str]:
    return {
        "family": family,
        "registry": "npm",
        "name": f"@fake/{family}",
        "version": "1.2.3",
        "file": file,
        "sha256": hashlib.sha256(content).hexdigest(),
        "licence": "MIT",
        "credit": "nobody",
        "profile": "permissive",
        "reader": reader,
        "pictures": pictures,
        **changes,
    }


@pytest.fixture
def fake(tmp_path: Path) -> dict[str, Path]:
    """Three packages, a manifest and a catalogue; "clips" is a Debian package and "photos" a wheel."""
    two_parts = np.zeros((40, 40, 4), np.uint8)
    two_parts[:10, :10], two_parts[20:, 20:] = 255, 255
    icons = {
        "width": 16,
        "height": 16,
        "icons": {"cat": {"body": '<rect x="4" y="6" width="8" height="4" fill="#f00"/>'}},
    }
    packages = {
        "icons-1.2.3.tgz": tar({"package/icons.json": json.dumps(icons).encode()}, "w:gz"),
        "clips_1.2.3_all.deb": deb(
            {"./share/large.png": png(square(1000, 100)), "./share/tree.png": png(two_parts), "./share/b": b"x"}
        ),
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("data/wall.png", png(np.full((30, 50, 3), 9, np.uint8)))
        archive.writestr("data/lawn.png", png(np.full((30, 50, 3), 99, np.uint8)))
    packages["photos-1.2.3-py3-none-any.whl"] = stream.getvalue()

    folder = tmp_path / "assets"
    folder.mkdir()
    for name, content in packages.items():
        (folder / name).write_bytes(content)
    first, second, third = packages.values()
    entries = [
        entry("icons", "icons-1.2.3.tgz", first, "iconify", "package/icons.json"),
        entry("clips", "clips_1.2.3_all.deb", second, "raster", "share/{}.png", registry="debian", name="clips"),
        entry(
            "photos", "photos-1.2.3-py3-none-any.whl", third, "photo", "data/{}.png", registry="pypi", name="photos"
        ),
    ]
    catalogue = {
        "objects": {
            "icons": {"split": "val-style", "pictures": {"cat": ["cat"]}},
            "clips": {
                "split": "train",
                "single_part": ["tree"],
                "pictures": {"dog": ["large"], SCENERY: ["tree"]},
            },
        },
        "backgrounds": {"photos": {"train": ["wall"], "val-style": ["lawn"]}},
    }
    paths = {"folder": folder, "manifest": tmp_path / "assets.json", "catalogue": tmp_path / "catalogue.json"}
    paths["manifest"].write_text(json.dumps(entries))
    paths["catalogue"].write_text(json.dumps(catalogue))
    return paths


def test_pictures_of_a_split_are_decoded(fake):
    library = AssetLibrary(**fake)
    assert library.labels == tuple(YTVIS_2019)
    (dog,) = library.objects["dog"]
    assert (dog.asset_id, dog.label, dog.family, dog.licence) == ("clips/large", "dog", "clips", "MIT")
    assert library.objects["cat"] == ()
    cutout = library.cutout(dog)
    assert cutout.shape == (CUTOUT_PIXELS, CUTOUT_PIXELS, 4)
    assert cutout.dtype == np.uint8
    np.testing.assert_array_equal(cutout[100, 100], (255, 0, 0, 255))
    with pytest.raises(ValueError, match="read-only"):
        cutout[0] = 0
    (background,) = library.backgrounds
    assert (background.background_id, background.kind) == ("photos/wall", "photo")
    assert (library.background(background) == 9).all()


def test_of_a_single_part_the_others_are_taken_away(fake):
    library = AssetLibrary(**fake)
    (tree,) = library.scenery
    assert tree.label is None
    assert library.cutout(tree).shape == (20, 20, 4)


def test_icons_are_drawn_large_and_cropped(fake):
    pytest.importorskip("resvg_py", reason="drawing icons needs scripts/clip_factory/requirements.txt")
    library = AssetLibrary(**fake, split="val-style")
    (cat,) = library.objects["cat"]
    height, width, _ = library.cutout(cat).shape
    assert width == pytest.approx(CUTOUT_PIXELS / 2, abs=2)
    assert height == pytest.approx(CUTOUT_PIXELS / 4, abs=2)


def test_glyphs_are_painted_as_opaque_stickers_of_two_colours(tmp_path):
    pytest.importorskip("resvg_py", reason="drawing icons needs scripts/clip_factory/requirements.txt")
    frame = {"body": '<path fill="none" stroke="currentColor" stroke-width="2" d="M3 3h10v10h-10z"/>'}
    icons = {"width": 16, "height": 16, "icons": {"frame": frame, "other": frame}}
    path = tmp_path / "glyphs.tgz"
    path.write_bytes(tar({"package/icons.json": json.dumps(icons).encode()}, "w:gz"))
    glyphs = dict(READERS["iconify_glyph"](path, "package/icons.json", ["frame", "other"]))
    glyph = glyphs["frame"]
    assert glyph.shape == (288, 288, 4)
    assert (glyph[..., 3] == 255).all(), "what the lines enclose is filled"
    line, body = glyph[5, 5, :3].astype(int), glyph[144, 144, :3].astype(int)
    assert abs(line.max() + line.min() - body.max() - body.min()) > 128, "HSL lightness"
    assert len(np.unique(glyph.reshape(-1, 4), axis=0)) == 2
    assert (glyph != glyphs["other"]).any(), "colours differ by name"
    ((_, again),) = READERS["iconify_glyph"](path, "package/icons.json", ["frame"])
    np.testing.assert_array_equal(glyph, again)
    with pytest.raises(ValueError, match="glyphs.tgz: has no icon 'square'"):
        list(READERS["iconify_glyph"](path, "package/icons.json", ["square"]))


def test_pictures_are_decoded_once(fake):
    AssetLibrary(**fake)
    times = {path: path.stat().st_mtime_ns for path in fake["folder"].rglob("*.png")}
    assert len(times) == 3
    AssetLibrary(**fake)
    assert times == {path: path.stat().st_mtime_ns for path in fake["folder"].rglob("*.png")}


def test_the_hash_tells_of_another_catalogue(fake):
    before = AssetLibrary(**fake).manifest_sha256
    fake["catalogue"].write_text(fake["catalogue"].read_text() + " ")
    assert AssetLibrary(**fake).manifest_sha256 != before


def test_missing_packages_are_named_with_their_commands(fake):
    (fake["folder"] / "clips_1.2.3_all.deb").unlink()
    (fake["folder"] / "photos-1.2.3-py3-none-any.whl").unlink()
    with pytest.raises(FileNotFoundError) as error:
        AssetLibrary(**fake)
    assert "2 asset packages are missing" in str(error.value)
    assert "clips_1.2.3_all.deb: apt-get download clips=1.2.3" in str(error.value)
    assert "photos-1.2.3-py3-none-any.whl: pip download --no-deps" in str(error.value)
    assert "icons" not in str(error.value), "the split does not need them"


def test_another_content_is_refused(fake):
    with open(fake["folder"] / "clips_1.2.3_all.deb", "ab") as stream:
        stream.write(b"!")
    with pytest.raises(ValueError, match="clips_1.2.3_all.deb: expected sha256 .{64}, got .{64}; delete it"):
        AssetLibrary(**fake)


def test_a_picture_that_the_package_lacks_is_named(fake):
    content = json.loads(fake["catalogue"].read_text())
    content["objects"]["clips"]["pictures"]["dog"].append("poodle")
    fake["catalogue"].write_text(json.dumps(content))
    with pytest.raises(ValueError, match="clips_1.2.3_all.deb: has no share/poodle.png"):
        AssetLibrary(**fake)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "test"}, "expected a split of .*got 'test'"),
        ({"profile": "all"}, "expected a profile of .*got 'all'"),
        ({"split": "val-photo"}, "split 'val-photo' has no pictures in profile 'permissive'"),
    ],
)
def test_bad_arguments(fake, changes, message):
    with pytest.raises(ValueError, match=message):
        AssetLibrary(**fake, **changes)


def test_a_file_that_is_no_debian_package(tmp_path):
    (tmp_path / "a.deb").write_bytes(b"something else")
    with pytest.raises(ValueError, match="expected a Debian package"):
        list(read_members(tmp_path / "a.deb", {"b"}))


@pytest.fixture
def registries(fake, tmp_path, monkeypatch) -> Path:
    """Clients that copy from a store and log their calls, in place of npm, pip and apt-get."""
    store, programs = tmp_path / "store", tmp_path / "programs"
    fake["folder"].rename(store)
    programs.mkdir()
    for program in ("npm", "pip", "apt-get"):
        script = programs / program
        wanted = {"npm": "*.tgz", "pip": "*.whl", "apt-get": "*.deb"}[program]
        script.write_text(f'#!/bin/sh\necho "{program} $@" >> {tmp_path}/calls\ncp {store}/{wanted} .\n')
        script.chmod(script.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    return tmp_path


def test_packages_are_fetched_and_a_second_call_goes_on(fake, registries):
    files = fetch_packages(fake["folder"], manifest=fake["manifest"])
    assert [file.exists() for file in files] == [True, True, True]
    assert (registries / "calls").read_text().startswith("npm pack @fake/icons@1.2.3\napt-get download clips=1.2.3\n")
    files[1].unlink()
    (registries / "calls").unlink()
    fetch_packages(fake["folder"], manifest=fake["manifest"])
    assert (registries / "calls").read_text() == "apt-get download clips=1.2.3\n"


def test_a_client_that_fails_is_quoted(fake, registries):
    (registries / "programs" / "npm").write_text("#!/bin/sh\necho no such package >&2\nexit 3\n")
    with pytest.raises(RuntimeError, match=r"npm pack @fake/icons@1.2.3 failed with 3:\nno such package"):
        fetch_packages(fake["folder"], manifest=fake["manifest"])


def test_a_client_that_brings_something_else_is_refused(fake, registries):
    (registries / "programs" / "npm").write_text("#!/bin/sh\necho other > icons-1.2.3.tgz\n")
    with pytest.raises(ValueError, match="icons-1.2.3.tgz: expected sha256"):
        fetch_packages(fake["folder"], manifest=fake["manifest"])


def test_the_sun_is_white_and_the_order_of_light_is_kept():
    light = np.tile(np.linspace(0.01, 2, 32)[:, None, None], (1, 64, 3))
    light[4, 5] = (0, -3, 12000)  # what the compression leaves of the sun
    shown = tone_map(light)
    assert (shown[4, 5] == 255).all()
    assert (np.diff(shown[8:, 40, 0].astype(int)) >= 0).all()


def test_panoramas_are_read_from_javascript(tmp_path):
    openexr = pytest.importorskip("OpenEXR", reason="reading panoramas needs scripts/clip_factory/requirements.txt")
    light = np.full((8, 16, 3), 0.5, np.float32)
    openexr.File({"type": openexr.scanlineimage}, {"RGB": light}).write(str(tmp_path / "a.exr"))
    script = b"export default 'data:application/exr;base64," + base64.b64encode((tmp_path / "a.exr").read_bytes())
    (tmp_path / "a.tgz").write_bytes(tar({"hdri/hall.exr.js": script + b"'"}, "w:gz"))
    ((name, picture),) = READERS["panorama"](tmp_path / "a.tgz", "hdri/{}.exr.js", ["hall"])
    assert (name, picture.shape, picture.dtype) == ("hall", (8, 16, 3), np.uint8)


def catalogue() -> dict:
    return json.loads(CATALOGUE.read_text(encoding="utf-8"))


def test_the_catalogue_knows_only_classes_and_scenery():
    labels = {label for family in catalogue()["objects"].values() for label in family["pictures"]}
    assert labels - {SCENERY} <= set(YTVIS_2019)


def test_no_object_and_no_background_is_in_two_splits():
    content = catalogue()
    assert {family["split"] for family in content["objects"].values()} == set(SPLITS)
    for name, family in content["objects"].items():
        pictures = [picture for pictures in family["pictures"].values() for picture in pictures]
        assert len(pictures) == len(set(pictures)), name
    for name, splits in content["backgrounds"].items():
        places = [place for places in splits.values() for place in places]
        assert len(places) == len(set(places)), name


def test_every_split_has_backgrounds_and_scenery():
    content = catalogue()
    for split in SPLITS:
        assert any(places.get(split) for places in content["backgrounds"].values())
        assert any(SCENERY in f["pictures"] for f in content["objects"].values() if f["split"] == split)


def test_the_manifest_covers_the_catalogue_and_names_terms():
    packages = read_manifest("full")
    content = catalogue()
    assert packages.keys() == {*content["objects"], *content["backgrounds"]}
    assert len(json.loads(MANIFEST.read_text(encoding="utf-8"))) == len(packages)
    for package in packages.values():
        assert package.profile in PROFILES
        assert package.reader in READERS
        assert len(package.sha256) == 64
        assert package.credit
        assert package.profile == "full" or package.licence in PERMISSIVE_LICENCES
    for name, family in content["objects"].items():
        if family["split"] != "val-photo":
            assert packages[name].profile == "permissive", "nothing is trained on what may not be shipped"


@pytest.mark.skipif(not ASSETS, reason="set IFC_HF_ASSETS to a folder that `make_clips.py assets` has filled")
@pytest.mark.parametrize("split", SPLITS)
def test_every_picture_of_the_catalogue_exists(split):
    library = AssetLibrary(ASSETS, "full", split)
    for asset in [*library.scenery, *(asset for assets in library.objects.values() for asset in assets)]:
        cutout = library.cutout(asset, asset.num_views - 1, asset.num_phases - 1)
        assert cutout.ndim == 3 and cutout.shape[2] == 4, asset.asset_id
        assert max(cutout.shape) <= CUTOUT_PIXELS, asset.asset_id
    for background in library.backgrounds:
        assert library.background(background).shape[2] == 3, background.background_id
