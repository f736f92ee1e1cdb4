"""What the options of the image processor must be, whether a file or a call gives them."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers.image_utils import PILImageResampling

from .limits import LIMITS, brief, check_size_hw, is_id, is_integer, is_number

FLAGS = ("do_resize", "do_rescale", "do_normalize", "do_flip_channel_order", "do_pad", "do_reduce_labels")
EDGES = ("height", "width", "shortest_edge", "longest_edge")


def check_options(options: Mapping[str, Any]) -> None:
    """Refuses options with which no frame can be prepared.

    Args:
        options: By name, with `size` and `pad_size` as mappings; those that are missing or None are not checked.

    Raises:
        ValueError: Names the option, what it has to be and what it is.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in FLAGS:
        if name in given and not isinstance(given[name], bool):
            raise _wrong(name, "True or False", given[name])
    if "rescale_factor" in given and not _is_positive(given["rescale_factor"]):
        raise _wrong("rescale_factor", "a number above 0", given["rescale_factor"])
    if "image_mean" in given and not all(map(is_number, _channels(given["image_mean"]))):
        raise _wrong("image_mean", "a number, or three", given["image_mean"])
    if "image_std" in given and not all(map(_is_positive, _channels(given["image_std"]))):
        raise _wrong("image_std", "a number above 0, or three", given["image_std"])
    for name in ("image_mean", "image_std"):
        if given.get("do_normalize") and name in options and options[name] is None:
            raise _wrong(name, "a number, or three, for do_normalize is True", None)
    resample = given.get("resample", PILImageResampling.BILINEAR)
    if isinstance(resample, bool) or not isinstance(resample, int) or resample not in list(PILImageResampling):
        raise _wrong("resample", f"one of {sorted(map(int, PILImageResampling))}", resample)
    for name in ("size", "pad_size"):
        edges = {edge: given[name].get(edge) for edge in EDGES} if name in given else {}
        for edge, value in edges.items():
            if value is not None and (not is_integer(value) or not 1 <= value <= LIMITS.pixels):
                raise _wrong(f"{name}['{edge}']", f"an integer from 1 to {LIMITS.pixels}", value)
        if edges.get("height") and edges.get("width"):
            check_size_hw(edges["height"], edges["width"], name)
    if "num_labels" in given and (not is_integer(given["num_labels"]) or not 0 <= given["num_labels"] <= LIMITS.width):
        raise _wrong("num_labels", f"an integer from 0 to {LIMITS.width}", given["num_labels"])
    if "ignore_index" in given and not is_id(given["ignore_index"]):
        raise _wrong("ignore_index", "an integer", given["ignore_index"])
    mapping = given.get("category_id_to_label", {})
    if not isinstance(mapping, Mapping) or not all(is_id(number) for item in mapping.items() for number in item):
        raise _wrong("category_id_to_label", "a label for every category id, both integers", mapping)


def integer_keys(mapping: Any) -> Any:
    """A mapping of numbers as it was before JSON turned the keys into texts; what is none stays as it is."""
    if not isinstance(mapping, Mapping):
        return mapping
    return {int(key) if isinstance(key, str) and key.isdecimal() and len(key) < 20 else key: label
            for key, label in mapping.items()}  # fmt: skip


def _channels(values: Any) -> Sequence[Any]:
    """The three values, or the one for all channels."""
    if not isinstance(values, list | tuple):
        return (values,)
    return values if len(values) in (1, 3) else (None,)


def _is_positive(value: Any) -> bool:
    return is_number(value) and value > 0


def _wrong(name: str, expected: str, value: Any) -> ValueError:
    return ValueError(f"{name}: expected {expected}, got {brief(value)}")
