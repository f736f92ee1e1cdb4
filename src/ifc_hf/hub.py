"""To the Hub: models with processor, code and card; data sets with their pictures.

`push_model` and `push_dataset` are what `ifc-hf push` calls. `model.push_to_hub(...)` and
`embed_frames(dataset).push_to_hub(...)` do the same piece by piece.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from .cards.template import model_card
from .loading import load_config

CARD = "README.md"
# The network's errors that are no answers of the Hub. They belong to the HTTP library, which is httpx or httpx2 by the
# version of huggingface_hub; its base class is the one below the Hub's own.
NetworkError: type[Exception] = HfHubHTTPError.__bases__[0]


def push_model(
    folder: str | os.PathLike[str],
    repo_id: str,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    token: str | None = None,
) -> str:
    """Uploads a model folder: weights as safetensors, settings, processor, the code to load it, and a card.

    The model is loaded and saved anew, so nothing else goes along: no checkpoints of the training, no pickles.

    Args:
        folder: As `save_pretrained` or `ifc-hf train` leave it.
        repo_id: `user/name`; made if it doesn't exist.
        private: Whether a new repository is private; default: what the account has as its default.
        revision: Branch, made if it doesn't exist; default: main.
        commit_message: What was done.
        token: Of the Hub; default: the one that is logged in.

    Returns:
        Address of the commit.

    Raises:
        FileNotFoundError: If there is no such folder.
        PermissionError: If there is no token.
        ValueError: If the folder holds another kind of model, or the card's header is not what the Hub takes.
        ConnectionError: If the Hub refuses or the upload breaks off.
    """
    from .model.image_processing_ifc import IfcImageProcessor
    from .model.modeling_ifc import IfcForVideoInstanceSegmentation

    folder = existing_folder(folder)
    api = HfApi(token=checked_token(token))
    load_config(folder)  # refuses another kind of model
    model = IfcForVideoInstanceSegmentation.from_pretrained(folder)
    with tempfile.TemporaryDirectory() as stage:
        model.save_pretrained(stage)
        IfcImageProcessor.from_pretrained(folder).save_pretrained(stage)
        Path(stage, CARD).write_text(card_for(folder, repo_id, model.config), encoding="utf-8")
        with upload_errors(repo_id):
            repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            if revision is not None:
                api.create_branch(repo_id, branch=revision, exist_ok=True)
            return api.upload_folder(
                repo_id=repo_id, folder_path=stage, revision=revision, commit_message=commit_message
            ).commit_url


def push_dataset(
    root: str | os.PathLike[str],
    repo_id: str,
    version: str | None = None,
    splits: Sequence[str] = ("train",),
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    token: str | None = None,
) -> str:
    """Uploads a data set in YouTube-VIS format (or COCO) as Parquet files with the pictures in them.

    Args:
        root: Its folder, see `load_ytvis`.
        repo_id: As for `push_model`.
        version: "2019", "2021", "2022", "ovis", "coco", or None for any other in YouTube-VIS format.
        splits: Which ones; each is a split on the Hub.
        private: As for `push_model`.
        revision: As for `push_model`.
        commit_message: As for `push_model`.
        token: As for `push_model`.

    Returns:
        Address of the last split's commit.

    Raises:
        FileNotFoundError: If there is no such folder.
        PermissionError: If there is no token.
        ValueError: If the data has a problem.
        ConnectionError: If the Hub refuses or the upload breaks off.
    """
    from .data import load_coco, load_ytvis
    from .data.embedding import embed_frames

    root = existing_folder(root)
    token = checked_token(token)
    # All are read before the first goes out, so that a problem in one leaves no half data set on the Hub.
    loaded: dict[str, Any] = {
        split: load_coco(root, split=split) if version == "coco" else load_ytvis(root, version, split)
        for split in splits
    }
    for split, dataset in loaded.items():
        with upload_errors(repo_id):
            commit = embed_frames(dataset).push_to_hub(
                repo_id, split=split, private=private, revision=revision, commit_message=commit_message, token=token
            )
    return commit.commit_url


def existing_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder's path.

    Raises:
        FileNotFoundError: If it isn't there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    return folder


def checked_token(token: str | None) -> str:
    """The given token or the one that is logged in.

    Raises:
        PermissionError: If there is none.
    """
    token = token or get_token()
    if token is None:
        raise PermissionError("no token for the Hub: run `hf auth login`, set HF_TOKEN, or give a file with the token")
    return token


def card_for(folder: Path, repo_id: str, config: Any) -> str:
    """The folder's own card, or a new one that says what the configuration knows; its usage code loads `repo_id`."""
    if (folder / CARD).is_file():
        card = (folder / CARD).read_text(encoding="utf-8")
        return card.replace(f'model="{folder.resolve().name}"', f'model="{repo_id}"')
    labels = config.id2label
    return model_card(
        repo_id.rpartition("/")[2],
        repo_id,
        f"IFC for video instance segmentation: finds, outlines and follows the objects of {len(labels)} classes.",
        [labels[label] for label in sorted(labels)],
        config.num_frames,
        scores="Not measured.",
        training="Not described.",
    )


@contextmanager
def upload_errors(repo_id: str) -> Iterator[None]:
    """Says in one sentence what broke an upload off, and that it can be gone on with.

    Raises:
        ConnectionError: For every error of the network and every refusal of the Hub.
    """
    go_on = "run it again to go on: files that have arrived are not sent twice"
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise ConnectionError(f"{repo_id}: HF_HUB_OFFLINE is set, so nothing can be pushed") from error
    except NetworkError as error:
        reason = getattr(error, "server_message", None) or str(error) or type(error).__name__
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            raise ConnectionError(f"{repo_id}: the Hub refuses (status {status}): {reason}") from error
        where = f"the Hub answered with status {status}" if status else "the connection broke"
        raise ConnectionError(f"{repo_id}: the upload was interrupted, {where}: {reason}; {go_on}") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{repo_id}: the upload was interrupted; {go_on}") from None
