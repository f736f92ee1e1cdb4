"""Files and folders appear as a whole or not at all, whatever happens meanwhile."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dead_processes import part_of_a_dead_process
from full_disk import files_up_to
from ifc_hf import files
from ifc_hf.files import (
    FileError,
    inside,
    read_json,
    scratch_folder,
    temporary_name,
    whole_file,
    whole_folder,
    write_json,
    write_picture,
    write_text,
)

# What may end the writing: also what is no Exception.
ENDINGS = [ValueError, OSError, KeyboardInterrupt, SystemExit]


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def put_file(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text)


def put_folder(path: Path, text: str) -> None:
    with whole_folder(path) as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep/content.txt").write_text(text)


def text_of(path: Path) -> str:
    return (path / "deep/content.txt" if path.is_dir() else path).read_text()


BOTH = pytest.mark.parametrize("put", [put_file, put_folder], ids=["file", "folder"])


@BOTH
def test_it_makes_the_parents_and_replaces_what_was_there(put, tmp_path):
    path = tmp_path / "new/result.json"
    for text in ("first", "second"):
        put(path, text)
        assert text_of(path) == text
        assert names(tmp_path / "new") == ["result.json"]


@pytest.mark.parametrize("ending", ENDINGS)
@BOTH
def test_an_exception_leaves_what_was_there_and_nothing_else(put, ending, tmp_path):
    path = tmp_path / "result.json"
    writer = whole_file if put is put_file else whole_folder

    def interrupted() -> None:
        with pytest.raises(ending), writer(path) as temporary:
            (temporary if put is put_file else temporary / "half").write_text("half")
            raise ending

    interrupted()
    assert names(tmp_path) == []
    put(path, "old")
    interrupted()
    assert names(tmp_path) == ["result.json"] and text_of(path) == "old"


@BOTH
def test_what_a_killed_process_left_goes_with_the_next_writing(put, tmp_path):
    dead = part_of_a_dead_process("other.json")
    alive = temporary_name(Path("result.json")).name
    elsewhere = dead.replace(files.this_machine(), "0123ab")
    for name in (dead, alive, elsewhere, ".precious.part", "notes.part.json"):
        (tmp_path / name).write_text("half")
    (tmp_path / part_of_a_dead_process("folder")).mkdir()
    put(tmp_path / "result.json", "text")
    assert names(tmp_path) == sorted([alive, elsewhere, ".precious.part", "notes.part.json", "result.json"])


def test_a_scratch_folder_is_private_and_gone_even_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    pid = os.fork()
    if pid == 0:
        with scratch_folder("archive") as folder:
            (folder / "frame.png").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert len(names(tmp_path)) == 1
    with scratch_folder("archive") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert names(tmp_path) == [folder.name], "that of the killed process is gone"
    assert names(tmp_path) == []


# What libraries raise when the disk is full: safetensors says so, torch and zipfile don't.
@pytest.mark.parametrize(("text", "free"), [("I/O error: No space left on device (os error 28)", 1 << 40), ("?", 100)])
@BOTH
def test_a_full_disk_is_an_os_error_whatever_a_library_says(put, text, free, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(OSError) as caught, (whole_file if put is put_file else whole_folder)(tmp_path / "result"):
        raise RuntimeError(text)
    assert caught.value.errno == errno.ENOSPC and str(tmp_path / "result") in str(caught.value)
    assert names(tmp_path) == []


@pytest.mark.parametrize("failing", [0, 1])
def test_a_folder_comes_back_if_the_new_one_cant_take_its_place(failing, tmp_path, monkeypatch):
    path = tmp_path / "result"
    put_folder(path, "old")
    moves = []

    def replace(source, target, original=os.replace):
        moves.append(target)
        if len(moves) == failing + 1:
            raise OSError(errno.EIO, "broken")
        original(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="broken"):
        put_folder(path, "new")
    assert names(tmp_path) == ["result"] and text_of(path) == "old"


@BOTH
def test_a_full_disk_is_noticed_before_the_old_content_goes(put, tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    put(path, "old")

    def fsync(handle: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="no space"):
        put(path, "new")
    assert names(tmp_path) == ["result.json"] and text_of(path) == "old"


@BOTH
def test_content_is_on_the_disk_before_it_takes_its_name(put, tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    steps = []
    monkeypatch.setattr(files, "sync", lambda path, original=files.sync: (steps.append(path), original(path)))
    monkeypatch.setattr(os, "replace", lambda a, b, original=os.replace: (steps.append("replace"), original(a, b)))
    put(path, "text")
    before, after = steps[: steps.index("replace")], steps[steps.index("replace") + 1 :]
    assert all(step.name.endswith(".part.json") for step in (before[-1],)) and after == [tmp_path]
    if put is put_folder:
        assert [step.name for step in before[:-1]] == ["deep", "content.txt"]


def test_folders_that_cant_be_synced_are_no_failure(tmp_path, monkeypatch):
    def fsync(handle: int, original=os.fsync) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(errno.EINVAL, "not for folders")
        original(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    put_folder(tmp_path / "result", "text")
    assert text_of(tmp_path / "result") == "text"


@pytest.mark.parametrize("name", ["a.json", "b.tar.gz", "bare", ".hidden", "x" * 250 + ".png", "é" * 120 + ".mp4"])
@BOTH
def test_the_temporary_name_is_hidden_and_keeps_the_suffix(put, name, tmp_path):
    path = tmp_path / name
    writer = whole_file if put is put_file else whole_folder
    with writer(path) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == (path.suffix or ".part")
        assert temporary.name.startswith(".") and temporary != path
        if put is put_file:
            temporary.touch()
    assert names(tmp_path) == [name]


def test_the_current_folder_can_be_written_as_a_whole(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with whole_folder(".", must_be_new=True) as temporary:
        (temporary / "file").write_text("text")
    assert (tmp_path / "here/file").read_text() == "text"


def test_a_link_is_replaced_and_its_target_kept(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target/kept.txt").write_text("kept")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "broken").symlink_to("nowhere")
    for name in ("link", "broken"):
        put_folder(tmp_path / name, "new")
        assert text_of(tmp_path / name) == "new" and not (tmp_path / name).is_symlink()
    assert (tmp_path / "target/kept.txt").read_text() == "kept"


@pytest.mark.parametrize("there", ["full folder", "file", "broken link"])
def test_a_folder_that_must_be_new_replaces_nothing(there, tmp_path):
    path = tmp_path / "result"
    if there == "full folder":
        put_folder(path, "old")
    elif there == "file":
        put_file(path, "old")
    else:
        path.symlink_to("nowhere")
    message = "result exists already and is not an empty folder"
    with pytest.raises(FileExistsError, match=message), whole_folder(path, must_be_new=True):
        pytest.fail("the work began")
    assert names(tmp_path) == ["result"]


def test_a_folder_that_must_be_new_takes_an_empty_ones_place_but_not_what_came_meanwhile(tmp_path):
    path = tmp_path / "result"
    path.mkdir()
    with whole_folder(path, must_be_new=True) as temporary:
        (temporary / "file").touch()
    assert names(path) == ["file"]
    (path / "file").unlink()
    with pytest.raises(OSError), whole_folder(path, must_be_new=True) as temporary:
        (path / "of_another").touch()
    assert names(path) == ["of_another"] and names(tmp_path) == ["result"]


def run_python(code: str, *arguments: object) -> subprocess.Popen:
    # By its path: importing the package would cost seconds.
    start = "import importlib.util, sys; from pathlib import Path\n"
    start += f"spec = importlib.util.spec_from_file_location('files', {files.__file__!r})\n"
    start += "files = importlib.util.module_from_spec(spec); spec.loader.exec_module(files)\n"
    return subprocess.Popen([sys.executable, "-c", start + code, *map(str, arguments)], stdout=subprocess.PIPE)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_killed_writer_leaves_what_was_there(kind, tmp_path):
    path = tmp_path / "result.txt"
    (put_file if kind == "file" else put_folder)(path, "old")
    code = f"with files.whole_{kind}(Path(sys.argv[1])) as temporary:\n"
    code += "    (temporary if sys.argv[2] == 'file' else temporary / 'half').write_text('half')\n"
    code += "    print('ready', flush=True); time.sleep(60)\n"
    with run_python("import time\n" + code, path, kind) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    assert text_of(path) == "old"
    assert [name for name in names(tmp_path) if not name.startswith(".")] == ["result.txt"]


def test_processes_that_write_the_same_file_dont_mix_their_content(tmp_path):
    path = tmp_path / "result.txt"
    code = "for _ in range(30):\n    files.write_text(sys.argv[1], sys.argv[2] * 100_000)\n"
    writers = [run_python(code, path, letter) for letter in "ab"]
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            assert path.read_text() in ("a" * 100_000, "b" * 100_000)
    assert [writer.wait() for writer in writers] == [0, 0]
    for writer in writers:
        writer.stdout.close()
    assert names(tmp_path) == ["result.txt"]


def test_threads_that_write_the_same_file_dont_collide(tmp_path):
    path, failures = tmp_path / "result.json", []

    def work(number: int) -> None:
        try:
            for _ in range(10):
                write_json(path, [number] * 1000)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = read_json(path)
    assert not failures and len(content) == 1000 and len(set(content)) == 1
    assert names(tmp_path) == ["result.json"]


def test_json_that_cant_be_written_leaves_what_was_there(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1}, indent=2)
    assert path.read_text() == '{\n  "a": 1\n}\n'
    with pytest.raises(TypeError):
        write_json(path, {"a": [1, 2, object()]})
    assert json.loads(path.read_text()) == {"a": 1} and names(tmp_path) == ["result.json"]
    write_text(path, "é")
    assert path.read_bytes() == "é".encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"\xff\xfe{}", "not UTF-8 text"),
        (b'{"a": 1,\n]', "not valid JSON: .* at line 2, column 1"),
        (b"[" * 100_000, "not readable JSON: .* nested too deeply"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(content, message, tmp_path):
    path = tmp_path / "broken.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError, match=f"broken.json: {message}"):
        read_json(path)


def test_a_byte_order_mark_is_no_content(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(tmp_path / "a.json") == [1]


@pytest.mark.parametrize("content", [b"1" * 5000, b'{"id": ' + b"9" * 5000 + b"}"])
def test_an_integer_of_thousands_of_digits_is_one_clear_error(content, tmp_path):
    (tmp_path / "huge.json").write_bytes(content)
    with pytest.raises(FileError, match="huge.json: not readable JSON"):
        read_json(tmp_path / "huge.json")


def test_nan_and_lone_surrogates_are_read_as_json_has_them(tmp_path):
    (tmp_path / "a.json").write_bytes(b'[NaN, "\\ud800"]')
    first, second = read_json(tmp_path / "a.json")
    assert first != first and second == "\ud800"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("path", ["pipe", "/dev/zero", ".", "x" * 5000])
def test_json_is_read_from_regular_files_alone(path, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="expected a regular file|can't be read"):
        read_json(tmp_path / path)


@pytest.fixture
def tree(tmp_path):
    """`root` with a file, and links to it and to a secret beside the root; `linked`, a link to the root."""
    root = tmp_path / "root"
    (root / "v").mkdir(parents=True)
    for path in (root / "v/0.jpg", tmp_path / "secret.jpg", tmp_path / "root2.jpg"):
        path.write_text("picture")
    (root / "v/inner.jpg").symlink_to(root / "v/0.jpg")
    (root / "v/outer.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "v/dangling.jpg").symlink_to(tmp_path / "nothing.jpg")
    (root / "v/loop.jpg").symlink_to(root / "v/loop.jpg")
    (root / "away").symlink_to(tmp_path)
    os.mkfifo(root / "v/pipe.jpg")
    (tmp_path / "linked").symlink_to(root)
    return tmp_path


@pytest.mark.parametrize("name", ["v/0.jpg", "v/inner.jpg", "v/missing.jpg", "v", "...", "..x/y.jpg"])
@pytest.mark.parametrize("root", ["root", "linked"])
def test_names_below_the_root_are_taken(name, root, tree):
    assert inside(tree / root, name) == tree / root / name


OUTSIDE = ["../secret.jpg", "v/../../secret.jpg", "..", "v/..", "..\\secret.jpg", "/etc/passwd", "v/outer.jpg",
           "v/dangling.jpg", "away/secret.jpg", "away"]  # fmt: skip
NEVER = ["v/pipe.jpg", "v/loop.jpg", "x" * 5000, "v/0.jpg\0x", "", None, 3, b"v/0.jpg", ["v"]]


@pytest.mark.parametrize("name", [*OUTSIDE, *NEVER])
def test_names_that_lead_out_and_devices_are_refused(name, tree):
    with pytest.raises(FileError):
        inside(tree / "root", name)


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_outside_are_taken_on_purpose(name, tree):
    assert inside(tree / "root", name, allow_outside=True) == tree / "root" / name


@pytest.mark.parametrize("name", [*NEVER, "/dev/zero", "../root/v/pipe.jpg"])
def test_devices_are_refused_outside_too(name, tree):
    with pytest.raises(FileError):
        inside(tree / "root", name, allow_outside=True)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif"])
def test_a_picture_that_is_cut_short_is_an_error(tmp_path, suffix):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    with files_up_to(1000), pytest.raises(OSError, match="too large"):
        write_picture(picture, tmp_path / f"picture{suffix}")
    write_picture(picture, tmp_path / f"picture{suffix}")
    assert Image.open(tmp_path / f"picture{suffix}").size == (64, 64)
