"""Checkpoints that would crash the process, fill its memory or never end, if they were trusted."""

import io
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch

from ifc_hf.conversion import CheckpointError, read_checkpoint


def named(module: str, name: str) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def dtype(code: str) -> bytes:
    return named("numpy", "dtype") + text(code) + b"\x89\x88\x87R"


def state(value: object) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def array(shape: tuple[int, ...], form: bytes, data: bytes) -> bytes:
    begun = named("numpy.core.multiarray", "_reconstruct") + named("numpy", "ndarray") + state((0,)) + state(b"b")
    return begun + b"\x87R(" + state(1) + state(shape) + form + b"\x89" + data + b"tb"


def in_dict(value: bytes) -> bytes:
    return b"\x80\x02}" + text("weight") + value + b"s."


FIELDS = (3, "|", None, ("a",), {"a": (1, 0)}, 2**31 - 1, 1, 0)
NESTED_KEY = b"\x80\x02}N" + b"2\x86" * 40 + b"Ns."  # a tuple of 2^40 values, of which the hash is asked

HOSTILE_PICKLES = {
    "dates with the state of other formats": in_dict(dtype("M8") + state(FIELDS) + b"b"),
    "fields without a description": in_dict(array((2,), dtype("V8") + state(FIELDS) + b"b", state(bytes(16)))),
    "a list for objects": in_dict(array((2,), dtype("O8"), b"]")),
    "a number of 2 GB": in_dict(named("numpy.core.multiarray", "scalar") + dtype("V2000000000") + b"\x85R"),
    "an array of 8 TiB": in_dict(array((2**40,), dtype("f8"), state(bytes(16)))),
    "an array whose size wraps": in_dict(array((2**32, 2**32), dtype("f8"), state(b""))),
    "an array with a negative size": in_dict(array((-2,), dtype("f8"), state(bytes(16)))),
    "an array without content": in_dict(named("numpy", "ndarray") + b")R"),
    "a tuple as key that can't be hashed in time": NESTED_KEY,
    "a frame beyond the file": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"}.",
    "lists within lists": in_dict(b"]" * 50_000 + b"a" * 49_999),
}


@pytest.mark.parametrize("content", HOSTILE_PICKLES.values(), ids=HOSTILE_PICKLES.keys())
def test_a_hostile_pickle_is_refused(tmp_path, content):
    (tmp_path / "hostile.pkl").write_bytes(content)
    with pytest.raises(CheckpointError, match="hostile.pkl: "):
        read_checkpoint(tmp_path / "hostile.pkl")


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    "expected",
    [np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(4, dtype=">i4"), np.ones((2, 3), np.float16, order="F")],
    ids=["float32", "other byte order", "columns first"],
)
def test_arrays_come_as_they_were_pickled(tmp_path, expected, protocol):
    content = {"model": {"weight": expected, "scalar": np.float64(0.5), "count": np.int64(3), "__author__": "x"}}
    (tmp_path / "arrays.pkl").write_bytes(pickle.dumps(content, protocol))
    tensors = read_checkpoint(tmp_path / "arrays.pkl")
    assert list(tensors) == ["weight"]
    np.testing.assert_array_equal(tensors["weight"].numpy(), expected)


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(1).expand(2**33),
        lambda: torch.empty(2**33, device="meta"),
        lambda: torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.long), torch.ones(1), (2**30, 2**30)),
        lambda: torch.ones(3, dtype=torch.complex64),
    ],
    ids=["expanded", "meta", "sparse", "complex"],
)
def test_a_tensor_without_its_numbers_is_refused(tmp_path, make, is_new):
    torch.save({"weight": make()}, tmp_path / "hostile.pth", _use_new_zipfile_serialization=is_new)
    with pytest.raises(CheckpointError, match="hostile.pth: 'weight': "):
        read_checkpoint(tmp_path / "hostile.pth")


def test_an_archive_that_unpacks_to_more_than_itself_is_refused(tmp_path):
    stream = io.BytesIO()
    torch.save({"weight": torch.zeros(2**20)}, stream)
    with zipfile.ZipFile(stream) as whole, zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for member in whole.infolist():
            packed.writestr(member.filename, whole.read(member))
    with pytest.raises(CheckpointError, match="b.pth: .* larger than the file"):
        read_checkpoint(tmp_path / "b.pth")


@pytest.mark.parametrize("hostile", [in_dict(dtype("M8") + state(FIELDS) + b"b"), NESTED_KEY, b"\x80\x02"])
def test_a_hostile_pickle_within_a_torch_file_is_refused(tmp_path, hostile):
    stream = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, stream)
    with zipfile.ZipFile(stream) as whole, zipfile.ZipFile(tmp_path / "b.pth", "w") as changed:
        for member in whole.infolist():
            is_pickle = member.filename.endswith(".pkl")
            changed.writestr(member.filename, hostile if is_pickle else whole.read(member))
    with pytest.raises(CheckpointError, match="b.pth: "):
        read_checkpoint(tmp_path / "b.pth")
