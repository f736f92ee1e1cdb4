"""Generated clips: the same bytes every time, exact masks, interruptions that leave nothing half-written."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

import cv2
import numpy as np
import pytest
from scipy.interpolate import CubicSpline

import make_clips
from clip_factory import compositing, writer
from clip_factory.boards import BOARDS, HUES, draw_board
from clip_factory.camera import Drift, PanoramaCamera, PhotoCamera
from clip_factory.compositing import moments, render_clip
from clip_factory.contact_sheet import write_contact_sheet
from clip_factory.library import Asset, Background
from clip_factory.look import Film, Look
from clip_factory.motion import CarriedPath, Path, Pose, draw_path, placement
from clip_factory.scene import Layer, Scene, draw_scene
from clip_factory.warp import Bend
from clip_factory.writer import generate_dataset
from dead_processes import part_of_a_dead_process
from ifc_hf import load_coco, load_ytvis
from ifc_hf.cli.main import main as ifc_hf_main
from ifc_hf.data.check import check_split
from ifc_hf.data.class_names import YTVIS_2019
from ifc_hf.model.masks import decode_rle
from paths import SCRIPTS
from running_processes import all_end, members

SIZE_HW = (48, 64)


class Shapes:
    """An asset library of coloured shapes."""

    labels = tuple(YTVIS_2019)
    manifest_sha256 = "0" * 64

    def __init__(self):
        names = {"person": 2, "cat": 1, "fish": 1}
        self.objects = {
            label: tuple(
                Asset(f"shapes/{label}-{n}", label, "shapes", 1, 1, "CC0-1.0") for n in range(names.get(label, 0))
            )
            for label in self.labels
        }
        self.scenery = (Asset("shapes/rock", None, "shapes", 1, 1, "CC-BY-4.0"),)
        self.backgrounds = (Background("a/photo", "photo", "CC0-1.0"), Background("b/panorama", "panorama", "CC0-1.0"))

    def cutout(self, asset, view=0, phase=0):
        rows, columns = (60, 30) if asset.label == "person" else (40, 50)
        rgba = np.zeros((rows, columns, 4), np.uint8)
        color = np.random.default_rng(list(asset.asset_id.encode())).integers(0, 256, 3).tolist()
        cv2.ellipse(rgba, (columns // 2, rows // 2), (columns // 2 - 1, rows // 2 - 1), 0, 0, 360, (*color, 255), -1)
        return rgba

    def background(self, background):
        shape = (60, 90) if background.kind == "photo" else (32, 64)
        return np.random.default_rng(len(background.background_id)).integers(0, 256, (*shape, 3), dtype=np.uint8)


def generate(root, num_clips=4, **options):
    options = {"split": "train", "num_frames": 3, "size_hw": SIZE_HW, "num_workers": 1, **options}
    return generate_dataset(root, Shapes(), num_clips=num_clips, **options)


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("generated")
    generate(root)
    return root


def test_the_same_bytes_every_time_with_any_number_of_workers(written, tmp_path):
    generate(tmp_path, num_workers=2)
    assert contents(tmp_path) == contents(written)


def test_another_seed_or_split_gives_other_clips(written, tmp_path):
    generate(tmp_path, num_clips=1, seed=1)
    generate(tmp_path, num_clips=1, split="val-style")
    frame = "JPEGImages/000000/00000.jpg"
    first = (written / "train" / frame).read_bytes()
    assert first not in ((tmp_path / "train" / frame).read_bytes(), (tmp_path / "val-style" / frame).read_bytes())


def test_a_larger_number_of_clips_keeps_the_first(written, tmp_path):
    generate(tmp_path, num_clips=2)
    generate(tmp_path, num_clips=4)
    assert contents(tmp_path) == contents(written)


def test_it_is_read_as_youtube_vis(written):
    rows = load_ytvis(written, version="2019", split="train")
    assert rows.features["objects"].feature["category"].names == YTVIS_2019
    assert [row["length"] for row in rows] == [3] * 4
    assert any(row["objects"] for row in rows)
    assert [problem.kind for problem in check_split(written, "2019", "train")] == ["unused class"]


def test_the_file_says_where_it_comes_from(written):
    info = json.loads((written / "train" / "instances.json").read_text())["info"]
    assert info["seed"] == 0 and info["profile"] == "permissive" and info["manifest_sha256"] == "0" * 64
    assert "CC0-1.0" in info["licences"]


def test_stills_are_read_as_coco(tmp_path):
    generate(tmp_path, num_clips=6, num_frames=1, output_format="coco")
    rows = load_coco(tmp_path, split="train")
    assert len(rows) == 6 and any(row["objects"] for row in rows)
    assert not [problem for problem in check_split(tmp_path, "coco", "train") if problem.fatal]


def test_masks_in_the_file_never_share_a_pixel(tmp_path):
    generate(tmp_path, num_clips=12)
    content = json.loads((tmp_path / "train" / "instances.json").read_text())
    covered = {video["id"]: np.zeros((3, *SIZE_HW), int) for video in content["videos"]}
    for track in content["annotations"]:
        for t, rle in enumerate(track["segmentations"]):
            if rle is not None:
                covered[track["video_id"]][t] += decode_rle(rle)
    assert max(count.max() for count in covered.values()) == 1


@pytest.mark.parametrize("moment", ["between two files", "in a clip"])
def test_an_interrupted_run_goes_on_to_the_same_bytes(written, tmp_path, monkeypatch, moment):
    stop_after(monkeypatch, KeyboardInterrupt(), 7)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path)
    assert [path.name for path in sorted((tmp_path / "train/JPEGImages").iterdir())] == ["000000", "000001"]
    monkeypatch.undo()
    if moment == "in a clip":  # what a killed process leaves
        unfinished = tmp_path / "train/JPEGImages" / part_of_a_dead_process("000002")
        unfinished.mkdir()
        (unfinished / "00000.jpg").write_bytes(b"half a pict")
    generate(tmp_path)
    assert contents(tmp_path) == contents(written)


def test_a_full_disk_is_one_clear_error(written, tmp_path, monkeypatch):
    stop_after(monkeypatch, OSError(errno.ENOSPC, "No space left on device"), 4)
    with pytest.raises(OSError, match="no space left for train in .*; free some and run the same command again"):
        generate(tmp_path)
    assert [path.name for path in (tmp_path / "train/JPEGImages").iterdir()] == ["000000"]
    monkeypatch.undo()
    generate(tmp_path)
    assert contents(tmp_path) == contents(written)


def stop_after(monkeypatch, error, count):
    """Let the writing of pictures fail after `count` of them."""
    calls = []
    write_bytes = FilePath.write_bytes

    def failing(path, content):
        calls.append(path)
        if len(calls) > count:
            raise error
        return write_bytes(path, content)

    monkeypatch.setattr(FilePath, "write_bytes", failing)


def test_a_killed_worker_is_one_clear_error(tmp_path, monkeypatch):
    def die(*args):
        import os

        os._exit(9)

    monkeypatch.setattr(writer, "draw_scene", die)
    with pytest.raises(OSError, match="was ended, perhaps for want of memory; .* fewer than 2 workers"):
        generate(tmp_path, num_workers=2)


def end(process: subprocess.Popen, number: int) -> str:
    """Sends a signal; gives what the process wrote to the standard error.

    Python drops what a handler raises within a destructor or a weak reference's callback, so the signal comes again.
    """
    for _ in range(6):
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=10)[1]
    raise AssertionError(f"signal {number} doesn't end the process")


@pytest.mark.slow
@pytest.mark.skipif(not FilePath("/proc").is_dir(), reason="looks at Linux' list of processes")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_the_process_that_started_them(tmp_path, number):
    start = f"import sys; sys.path[:0] = [{str(SCRIPTS)!r}]; from fault_injection.commands import make_clips; "
    options = ["--assets", "none", "--clips", "100000", "--frames", "3", "--size", "48x64", "--workers", "2"]
    command = [sys.executable, "-c", f"{start}sys.exit(make_clips(sys.argv[1:]))", "generate", tmp_path / "clips"]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        while not list(tmp_path.glob("clips/train/JPEGImages/0*")):
            assert process.poll() is None
            time.sleep(0.05)
        assert len(members(process.pid)) == 3
        errors = end(process, number)
        assert all_end(process.pid)
    finally:
        for pid in members(process.pid):
            os.kill(pid, signal.SIGKILL)
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 143)
    assert number == signal.SIGKILL or errors.endswith("terminated\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_program_with_one_line(tmp_path, monkeypatch, capsys, number, code):
    monkeypatch.setattr(make_clips, "AssetLibrary", lambda *arguments: os.kill(os.getpid(), number))
    former = signal.signal(signal.SIGINT, signal.default_int_handler)  # who started the tests may ignore it
    try:
        assert make_clips.main(["generate", str(tmp_path), "--assets", "none"]) == code
    finally:
        signal.signal(signal.SIGINT, former)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_other_settings_are_refused(tmp_path):
    generate(tmp_path, num_clips=1)
    with pytest.raises(ValueError, match=r"train was begun with seed 0, not 3; num_frames 3, not 2: go on with"):
        generate(tmp_path, num_clips=1, seed=3, num_frames=2)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="train holds files of something else"):
        generate(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_clips": 0}, "expected at least 1 clip and 1 worker, got 0 and 1"),
        ({"num_frames": 0}, "at least 1 frame, .* got 0 frames"),
        ({"size_hw": (8, 64)}, "sides of 32 pixels; got .* size 8x64"),
        ({"output_format": "coco"}, "'coco' holds stills: expected 1 frame, got 3"),
        ({"output_format": "voc"}, "format: expected one of .*, got 'voc'"),
    ],
)
def test_bad_settings_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        generate(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_library_without_backgrounds_is_refused():
    library = Shapes()
    library.backgrounds = ()
    with pytest.raises(ValueError, match="split 'train' needs backgrounds and objects"):
        draw_scene(library, "train", np.random.default_rng(0), 2, SIZE_HW)


@dataclass
class StillCamera:
    """Sees gray, and never moves."""

    size_hw: tuple

    def view(self, t):
        return np.full((*self.size_hw, 3), 128, np.uint8)

    def displacement(self, t):
        return np.eye(3)


def constant(value):
    return Drift(np.array([0.0, 1.0]), np.array([value, value]))


NO_FILM = Film(constant(1.0), constant(0.0), np.ones(3, np.float32), 1.0, 0.0, 0.0, 0.0, 90)
NO_LOOK = Look(False, 0.0, 0.0, 1.0, 1.0, np.ones(3, np.float32), 0.0, 0.0, 0.0)


def square(label, depth, color, poses_xy, side=40):
    """A square whose centre is at these places, one per frame from t = -1 on."""
    picture = np.full((side, side, 4), 255, np.uint8)
    picture[..., :3] = color
    values = np.array([[x, y, 0, 0, 0, 0] for x, y in poses_xy], float)
    path = Path(CubicSpline(np.arange(len(values)) - 1.0, values))
    return Layer(
        f"squares/{label}", label, "CC0-1.0", lambda view, phase: picture, 1, 1, 0, 0, 0, path, False, depth, NO_LOOK,
        Bend(), False,
    )  # fmt: skip


def render(layers, num_frames=1, size_hw=(100, 120), shutter=0.0):
    scene = Scene(
        StillCamera(size_hw), tuple(layers), 0.0, 0.0, 0.1, shutter, np.zeros((4, 4), np.float32), NO_FILM, ()
    )
    return render_clip(scene, np.random.default_rng(0), num_frames, size_hw)


def region(rows, columns, size_hw=(100, 120)):
    mask = np.zeros(size_hw, bool)
    mask[rows, columns] = True
    return mask


def test_a_mask_is_exactly_what_is_drawn():
    clip = render([square("cat", 0, (250, 20, 20), [(50.5, 40.5)] * 4)])
    expected = region(slice(21, 61), slice(31, 71))
    assert np.array_equal(clip.masks[0, 0], expected)
    assert np.array_equal((clip.frames[0] == (250, 20, 20)).all(axis=2), expected)
    assert (clip.frames[0][~expected] == 128).all()


def test_an_occluder_hides_exactly_the_pixels_it_covers():
    behind = square("cat", 0, (250, 20, 20), [(50.5, 40.5)] * 4)
    scenery = replace(square("cat", 1, (20, 250, 20), [(70.5, 50.5)] * 4), label=None)
    front = square("dog", 2, (20, 20, 250), [(40.5, 60.5)] * 4)
    clip = render([behind, scenery, front])
    cat, rock, dog = (
        region(slice(21, 61), slice(31, 71)),
        region(slice(31, 71), slice(51, 91)),
        region(slice(41, 81), slice(21, 61)),
    )
    assert clip.labels == ["cat", "dog"]
    assert np.array_equal(clip.masks[0, 0], cat & ~rock & ~dog)
    assert np.array_equal(clip.masks[1, 0], dog)
    assert (clip.frames[0][rock & ~dog] == (20, 250, 20)).all()


def test_an_object_enters_and_leaves_and_is_dropped_if_never_seen():
    crossing = square("cat", 0, (250, 20, 20), [(-79.5 + 50 * step, 40.5) for step in range(7)])
    outside = square("dog", 1, (20, 20, 250), [(500, 40)] * 7)
    hidden = square("fox", -1, (20, 20, 250), [(-79.5 + 50 * step, 40.5) for step in range(7)])
    clip = render([hidden, crossing, outside], num_frames=5)
    assert clip.labels == ["cat"]
    assert clip.masks[0].any(axis=(1, 2)).tolist() == [False, True, True, True, False]


def test_motion_blur_smears_the_picture_and_leaves_the_mask_of_the_middle():
    moving = square("cat", 0, (250, 20, 20), [(20.5 + 30 * step, 40.5) for step in range(4)])
    sharp, blurred = render([moving]), render([moving], shutter=0.5)
    assert np.array_equal(sharp.masks, blurred.masks)
    rims = [len(np.unique(clip.frames[0][40, :, 0])) for clip in (sharp, blurred)]
    assert rims[0] == 2 and rims[1] > 4


def test_few_moments_are_enough_for_slow_movement_and_fast_is_exposed_for_less():
    assert moments(3, 0.5, 1.0) == [3]
    assert moments(3, 0.5, 5.0) == pytest.approx([2.75, 3, 3.25])
    fast = moments(3, 0.5, 270.0)
    assert len(fast) == compositing.MAX_MOMENTS and fast[-1] - fast[0] == pytest.approx(0.05)


def test_a_shadow_darkens_the_ground_at_the_foot():
    standing = replace(square("cat", 0, (250, 20, 20), [(60.5, 40.5)] * 4), has_shadow=True)
    scene = Scene(StillCamera((100, 120)), (standing,), 5.0, 0.8, -0.1, 0.0, np.zeros((4, 4), np.float32), NO_FILM, ())
    frame = render_clip(scene, np.random.default_rng(0), 1, (100, 120)).frames[0]
    assert frame[62, 60, 0] < 110 and (frame[2] == 128).all()


def test_placement_keeps_the_centre_and_turns_out_of_the_plane():
    flat = placement(Pose(30, 20, 2.0), (11, 21))
    assert flat @ (10, 5, 1) == pytest.approx((30, 20, 1))
    turned = placement(Pose(30, 20, 2.0, yaw=0.6), (11, 21))
    corners = turned @ np.array([[0, 20], [5, 5], [1, 1]])
    left, right = corners[:2].T / corners[2][:, None]
    assert right[0] - left[0] < 40 * np.cos(0.6) * 1.05 and 30 - left[0] != pytest.approx(right[0] - 30, rel=0.02)


def test_a_rider_moves_and_turns_with_the_board():
    board = Path(CubicSpline([0, 1], [[10, 20, 0, 0, 0, 0], [40, 20, np.log(2), np.pi / 2, 0, 0]]))
    rider = CarriedPath(board, (0, -10), 0.5)
    start, end = rider(0), rider(1)
    assert (start.x, start.y, start.scale) == pytest.approx((10, 10, 0.5))
    assert (end.x, end.y, end.scale) == pytest.approx((60, 20, 1.0))


def test_paths_are_smooth_and_some_enter_or_leave():
    outside = 0
    for seed in range(60):
        path = draw_path(np.random.default_rng(seed), (320, 180), 1.0, (80, 80), 24, (360, 640), may_be_absent=True)
        x = np.array([path(t).x for t in range(24)])
        outside += bool(((x < -40) | (x > 680)).any())
        assert np.abs(np.diff(x, 2)).max() < 64
    assert 10 < outside < 50


@pytest.mark.parametrize("camera", [PhotoCamera, PanoramaCamera])
def test_the_scene_moves_as_the_camera_says(camera):
    """A corner of the background, followed by `displacement`, stays where it is in the picture."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (24, 48, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (768, 384), interpolation=cv2.INTER_CUBIC)
    seen = camera(picture, np.random.default_rng(3), 20, (96, 128))
    first, last = seen.view(9.5).astype(float), seen.view(19).astype(float)
    matrix = seen.displacement(19)
    assert np.abs(matrix - np.eye(3)).max() > 1
    predicted = cv2.warpPerspective(first, matrix, (128, 96))
    inside = cv2.warpPerspective(np.ones_like(first), matrix, (128, 96)) > 0.99
    inside[:24], inside[-24:], inside[:, :32], inside[:, -32:] = False, False, False, False
    assert np.abs(predicted - last)[inside].mean() < 0.3 * np.abs(first - last)[inside].mean()


def test_boards_of_two_splits_share_no_colour():
    ranges = sorted(HUES.values())
    assert all(high < low for (_, high), (low, _) in zip(ranges, ranges[1:], strict=False))
    for label in BOARDS:
        for is_ridden in (False, True):
            picture = draw_board(np.random.default_rng(0), label, "train", is_ridden)
            assert picture.shape[1] == 360 and picture[0, 0, 3] == 0 and (picture[..., 3] > 127).mean() > 0.2


def test_contact_sheet(written):
    sheet = cv2.imread(str(write_contact_sheet(written, "train", num_clips=3, num_columns=2)))
    assert sheet.shape == (6 * 180, 2 * 240, 3)
    (written / "contact_sheet_train.jpg").unlink()


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(make_clips, "AssetLibrary", lambda folder, profile, split: Shapes())
    arguments = ["generate", str(tmp_path / "set"), "--assets", str(tmp_path), "--workers", "1"]
    arguments += ["--clips", "2", "--frames", "2"]
    assert make_clips.main([*arguments, "--size", "48x64"]) == 0
    assert "2 clips of 2 frames" in capsys.readouterr().out
    assert (tmp_path / "set/contact_sheet_train.jpg").is_file()
    assert ifc_hf_main(["dataset", "check", str(tmp_path / "set"), "--version", "2019"]) == 0
    assert make_clips.main([*arguments, "--size", "48x32"]) == 1
    assert "was begun with width 64, not 32" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        make_clips.main([*arguments, "--size", "48"])
    assert caught.value.code == 2
    assert "--size: expected height x width in pixels, such as 360x640, got '48'" in capsys.readouterr().err


def test_command_composes_all_splits_of_a_profile(tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(make_clips, "AssetLibrary", lambda folder, profile, split: Shapes())
    monkeypatch.setattr(make_clips, "fetch_packages", lambda folder, profile: fetched.append((folder, profile)))
    arguments = ["all", str(tmp_path / "set"), "--assets", str(tmp_path), "--workers", "1", "--size", "48x64"]
    assert make_clips.main([*arguments, "--clips", "1", "--frames", "1"]) == 0
    assert fetched == [(tmp_path, "permissive")]
    assert sorted(path.parent.name for path in (tmp_path / "set").rglob("instances.json")) == ["train", "val-style"]
