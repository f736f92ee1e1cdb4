"""`ifc-hf push` of models and data sets: what arrives, and what it says when it can't."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hub_clients import CODE_FILES
from hub_metadata import metadata_errors
from ifc_hf import IfcImageProcessor
from ifc_hf.cli.main import main
from ifc_hf.data.synthetic import write_synthetic_ytvis
from ifc_hf.hub import upload_errors
from loopback_hub import WEIGHTS_AND_SETTINGS, LoopbackHub, loopback_hub, run_client
from tiny_models import tiny_model

LABELS = {0: "cat", 1: "dog", 2: "bird"}


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with loopback_hub() as hub:
        yield hub


def save_model(folder: Path, seed: int = 0) -> Path:
    """A model folder as a training leaves it, with things that are nobody's business."""
    tiny_model(seed, id2label=LABELS).save_pretrained(folder)
    IfcImageProcessor(size={"shortest_edge": 32, "longest_edge": 64}).save_pretrained(folder)
    (folder / "checkpoint-2").mkdir(exist_ok=True)
    for name in ("training_args.bin", "checkpoint-2/optimizer.pt"):
        (folder / name).write_bytes(b"a pickle")
    return folder


def push(hub: LoopbackHub, cache: Path, *arguments: object, fails_with: str | None = None, **environment: str) -> str:
    """Runs `ifc-hf push` in a process of its own; returns what it prints."""
    words = ["push", *map(str, arguments)]
    program = f"from ifc_hf.cli.main import main\nraise SystemExit(main({words}))"
    return run_client(program, hub, cache, fails_with, **environment)


@pytest.mark.slow
def test_everything_that_belongs_to_a_model_and_nothing_else(hub, tmp_path):
    address = push(hub, tmp_path / "cache", save_model(tmp_path / "run"), "user/pushed", "--private")
    repository = hub.repositories["user/pushed"]
    files = repository.files("main")
    assert repository.private
    assert set(files) == CODE_FILES | WEIGHTS_AND_SETTINGS
    assert address == f"{hub.endpoint}/user/pushed/commit/{repository.sha('main')}\n"
    card = files["README.md"].decode()
    assert metadata_errors(card) == [] and 'model="user/pushed"' in card
    assert "## Classes\n\ncat, dog, bird.\n" in ModelCard(card).text


@pytest.mark.slow
def test_a_card_of_the_folder_is_kept_and_loads_from_the_repository(hub, tmp_path):
    folder = save_model(tmp_path / "mine")
    (folder / "README.md").write_text('---\nlicense: mit\n---\n# Mine\npipeline("x", model="mine")\n')
    push(hub, tmp_path / "cache", folder, "user/carded", "--commit-message", "First")
    assert hub.repositories["user/carded"].files("main")["README.md"].decode().endswith(', model="user/carded")\n')
    (folder / "README.md").write_text("---\nlicense: my own\n---\n")
    push(hub, tmp_path / "cache", folder, "user/carded", fails_with="error: Invalid metadata in README.md.")
    assert len(hub.repositories["user/carded"].commits) == 2


@pytest.mark.slow
def test_a_branch(hub, tmp_path):
    push(hub, tmp_path / "cache", save_model(tmp_path / "first"), "user/branched")
    push(hub, tmp_path / "cache", save_model(tmp_path / "second", seed=1), "user/branched", "--revision", "v2")
    main_files, files = map(hub.repositories["user/branched"].files, ("main", "v2"))
    assert files["config.json"] == main_files["config.json"]
    assert files["model.safetensors"] != main_files["model.safetensors"]


@pytest.mark.slow
def test_running_again_goes_on_after_an_interruption(hub, tmp_path):
    folder = save_model(tmp_path / "run", seed=2)
    hub.hang_ups["POST /api/models/user/interrupted/commit/main"] = 99
    said = "error: user/interrupted: the upload was interrupted, the connection broke"
    push(hub, tmp_path / "cache", folder, "user/interrupted", fails_with=said)
    assert hub.repositories["user/interrupted"].files("main") == {}
    hub.hang_ups.clear()
    hub.requests.clear()
    push(hub, tmp_path / "cache", folder, "user/interrupted")
    assert "model.safetensors" in hub.repositories["user/interrupted"].files("main")
    assert not any(request.startswith("PUT /uploads/") for request in hub.requests)  # it was there already


@pytest.mark.slow
def test_errors_of_the_server_in_one_line(hub, tmp_path):
    folder = save_model(tmp_path / "run", seed=3)
    hub.failures["POST /api/models/user/failing/commit/main"] = 99
    said = "the Hub answered with status 500: the test wants this to fail; run it again to go on"
    push(hub, tmp_path / "cache", folder, "user/failing", fails_with=said)
    hub.failures.clear()
    (tmp_path / "token").write_text("hf_someone_else\n")
    push(
        hub, tmp_path / "cache", folder, "user/refused", "--token-file", tmp_path / "token",
        fails_with="error: user/refused: the Hub refuses (status 401)",
    )  # fmt: skip


@pytest.mark.slow
def test_a_data_set_goes_with_its_pictures_and_comes_back(hub, tmp_path):
    write_synthetic_ytvis(tmp_path / "shapes", num_videos=3, num_frames=4, size_hw=(32, 48), num_valid_videos=2)
    cache = tmp_path / "cache"
    push(
        hub, cache, tmp_path / "shapes", "user/shapes", "--type", "dataset", "--split", "train", "valid", "--private"
    )  # fmt: skip
    repository = hub.repositories["datasets/user/shapes"]
    assert repository.private and sum(path.endswith(".parquet") for path in repository.files("main")) == 2
    shutil.rmtree(tmp_path / "shapes")
    program = """
from datasets import load_dataset
from ifc_hf.data.clips import VideoClipDataset
from ifc_hf.data.embedding import without_decoding
data = load_dataset("user/shapes")
print({split: len(rows) for split, rows in data.items()}, data["train"][0]["frames"][0].size)
clip = VideoClipDataset(without_decoding(data["train"]), num_frames=2)[0]
print(sorted(clip), data["valid"].features["objects"].feature["category"].names)
"""
    said = run_client(program, hub, tmp_path / "reader")
    assert "{'train': 3, 'valid': 2} (48, 32)\n" in said and "['circle', " in said
    run_client(program, hub, tmp_path / "stranger", fails_with="user/shapes", HF_TOKEN="hf_other")


def test_no_such_folder(capsys, tmp_path):
    assert main(["push", str(tmp_path / "none"), "user/x"]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path / 'none'}: no such folder\n"


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_no_token(kind, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("ifc_hf.hub.get_token", lambda: None)
    assert main(["push", str(tmp_path), "user/x", "--type", kind]) == 1
    assert capsys.readouterr().err.startswith("error: no token for the Hub: run `hf auth login`, set HF_TOKEN")


def test_not_a_model_of_ours(capsys, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "resnet"}')
    (tmp_path / "token").write_text("hf_any")
    assert main(["push", str(tmp_path), "user/x", "--token-file", str(tmp_path / "token")]) == 1
    assert "holds a model of type 'resnet', expected 'ifc'" in capsys.readouterr().err


def test_ctrl_c_says_that_it_can_go_on():
    said = "user/x: the upload was interrupted; run it again to go on"
    with pytest.raises(KeyboardInterrupt, match=said), upload_errors("user/x"):
        raise KeyboardInterrupt
