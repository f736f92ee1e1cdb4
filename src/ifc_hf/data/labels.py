"""Classes of a loaded data set: names, ids in the JSON, and maps from one set's classes to another's."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import datasets

from .problems import read_data_file

logger = logging.getLogger(__name__)
Rows: TypeAlias = "datasets.Dataset | datasets.IterableDataset"


def id2label(dataset: Rows) -> dict[int, str]:
    """Class name of every label index, as a model's config wants it."""
    return dict(enumerate(_category_feature(dataset.features).names))


def label_names(dataset: Any) -> list[str] | None:
    """Names of the classes by label index; None for lists of rows and the like, which don't know them."""
    features = getattr(dataset, "features", None)
    return None if features is None else list(_category_feature(features).names)


def match_labels(model_classes: Mapping[int, str], data_classes: list[str], data: str) -> dict[int, int]:
    """Which label of a data set every label of a model is, by name.

    Args:
        model_classes: Name of every label of the model.
        data_classes: Name of every label of the data, in any order; they may be fewer.
        data: What the message calls the data.

    Returns:
        {label of the model: label of the data}, without the classes that the data doesn't have.

    Raises:
        ValueError: If the data has a class that the model doesn't have, or the model has two of a name.
    """
    names = list(model_classes.values())
    unknown = [name for name in data_classes if name not in names]
    if unknown or len(set(names)) < len(names):
        what = f"doesn't know {shorten(unknown)}" if unknown else "has several classes of one name"
        raise ValueError(
            f"The classes of the {data} are {shorten(data_classes)}; the model, with {shorten(names)}, {what}: give "
            "a map with --labels (ifc_hf.data.labels.map_labels), or train the model on these classes."
        )
    return {label: data_classes.index(name) for label, name in model_classes.items() if name in data_classes}


def shorten(names: list[str], number: int = 8) -> str:
    """The first names of a list as text."""
    more = f", ... ({len(names)} in all)" if len(names) > number else ""
    return f"[{', '.join(map(repr, names[:number]))}{more}]"


def category_ids(dataset: Rows) -> list[int]:
    """Category id in the annotation file of every label index: what a results file has to speak in.

    `load_ytvis` and `load_coco` keep them; of rows that went through the Hub or a Parquet file they are gathered from
    the objects. Ids ascend with the label indices: for a class without objects that leaves one id, or counting on from
    its neighbours gives one, of which a warning tells.

    Raises:
        ValueError: If the objects leave several ids open.
    """
    description = _description(dataset)
    if description is not None:
        return list(description["category_ids"])
    found = {item["category"]: item["category_id"] for row in dataset for item in row["objects"]}
    return _fill_in(found, _category_feature(dataset.features).names)


def _fill_in(found: Mapping[int, int], names: list[str]) -> list[int]:
    """Ids of all classes by label, from those that were found."""
    unknown = [label for label in range(len(names)) if label not in found]
    offsets = {found[label] - label for label in found}
    if unknown and len(offsets) != 1:
        known = sorted(found)
        between = {
            label: found[before] + label - before
            for before, after in pairwise(known)
            for label in range(before + 1, after)
            if found[after] - found[before] == after - before
        }
        found = {**found, **between}
        unknown = [label for label in unknown if label not in found]
        if unknown:
            listed = shorten([names[label] for label in unknown])
            raise ValueError(f"no row tells the category id of {listed}: load the set from its annotation file")
    assumed = {names[label]: label + min(offsets) for label in unknown}
    if assumed:
        logger.warning("no row tells these category ids, taken as those that come next: %s", assumed)
    return [found[label] if label in found else assumed[name] for label, name in enumerate(names)]


def source_file(dataset: Rows) -> str:
    """The annotation file of rows that were read from one.

    Raises:
        ValueError: If they came another way.
    """
    file = (_description(dataset) or {}).get("file")
    if file is None:
        raise ValueError("these rows were not read from an annotation file")
    return str(file)


def classes_without_tracks(rows: Rows) -> list[str]:
    """Names of the classes that no object of the rows belongs to, crowds apart."""
    found = {track["category"] for row in rows for track in row["objects"] if not track["iscrowd"]}
    return [name for label, name in id2label(rows).items() if label not in found]


def has_annotations(dataset: Rows) -> bool:
    """Whether the split's file has annotations; the official valid.json and test.json have none."""
    description = _description(dataset)
    return any(row["objects"] for row in dataset) if description is None else bool(description["has_annotations"])


def read_label_map(mapping: Mapping[str, str | None] | str | os.PathLike[str]) -> dict[str, str | None]:
    """Reads a map of class names.

    Args:
        mapping: `{"name in the data": "name wanted"}`, or a JSON file with it; null leaves a class's objects out.

    Raises:
        ValueError: If it is anything else.
    """
    content = dict(mapping) if isinstance(mapping, Mapping) else read_data_file(Path(mapping))
    is_map = isinstance(content, dict) and all(value is None or isinstance(value, str) for value in content.values())
    if not is_map or not any(content.values()):
        raise ValueError(f'expected a map of class names {{"name": "name wanted" or null}}, got {str(content)[:200]}')
    return content


def map_labels(
    dataset: Rows, mapping: Mapping[str, str | None] | str | os.PathLike[str], label_names: list[str] | None = None
) -> Rows:
    """Gives objects the classes of another data set.

    Args:
        dataset: Rows of `load_ytvis` or `load_coco`.
        mapping: See `read_label_map`. Classes that it doesn't name are left out, as are those mapped to null; several
            classes may become one.
        label_names: The classes wanted, in the order of their label indices (for instance those of the model); by
            default the new names in the order of the mapping.

    Returns:
        The rows with the objects that are left; rows without any stay. Category ids are 1 + label index from now on.

    Raises:
        ValueError: If the mapping names a class that the data, or `label_names`, doesn't have.

    Example:
        >>> animals = map_labels(dataset, {"giant_panda": "bear", "bear": "bear"})  # doctest: +SKIP
    """
    new_name_of = read_label_map(mapping)
    old_names = _category_feature(dataset.features).names
    wanted = label_names or list(dict.fromkeys(name for name in new_name_of.values() if name is not None))
    unknown = sorted(set(new_name_of) - set(old_names))
    if unknown:
        raise ValueError(f"label map: the data has no class {unknown}; it has {old_names}")
    unwanted = sorted({name for name in new_name_of.values() if name is not None} - set(wanted))
    if unwanted:
        raise ValueError(f"label map: {unwanted} is not among the classes wanted: {wanted}")
    index_of = {name: index for index, name in enumerate(wanted)}
    new_label = {
        old: index_of[new] for old, name in enumerate(old_names) if (new := new_name_of.get(name)) is not None
    }
    features = datasets.Features(dataset.features)
    features["objects"] = datasets.List({**features["objects"].feature, "category": datasets.ClassLabel(names=wanted)})
    description = {
        **(_description(dataset) or {"has_annotations": has_annotations(dataset)}),
        "category_ids": list(range(1, len(wanted) + 1)),
    }
    options = {} if isinstance(dataset, datasets.IterableDataset) else {"desc": "Mapping classes"}
    mapped = dataset.map(_relabel, fn_kwargs={"new_label": new_label}, features=features, **options)
    mapped.info.description = json.dumps(description)
    return mapped


def _relabel(row: Mapping[str, Any], new_label: dict[int, int]) -> Mapping[str, Any]:
    kept = [
        {**item, "category": new_label[item["category"]], "category_id": new_label[item["category"]] + 1}
        for item in row["objects"]
        if item["category"] in new_label
    ]
    return {"objects": kept}


def _category_feature(features: datasets.Features) -> datasets.ClassLabel:
    return features["objects"].feature["category"]


def _description(dataset: Rows) -> dict[str, Any] | None:
    """What our readers wrote into the data set's info; None for rows that lost it (the Hub keeps no description)."""
    try:
        content = json.loads(dataset.info.description)
    except (TypeError, ValueError):
        return None
    return content if isinstance(content, dict) and {"category_ids", "has_annotations"} <= content.keys() else None
