"""The pictures that clips are composed of: objects with their class, scenery and backgrounds, per split."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ifc_hf.data.class_names import YTVIS_2019
from ifc_hf.files import whole_file

from .film import film
from .packages import MANIFEST, Package, check_packages, read_manifest
from .pictures import iconify, iconify_glyph, largest_part, panorama, photo, raster
from .renders import NUM_PHASES, NUM_VIEWS, picture_name, walking_pandas, walking_skins

CATALOGUE = Path(__file__).with_name("catalogue.json")
SPLITS = ("train", "val-style", "val-photo")
SCENERY = "scenery"
READERS = {
    "iconify": iconify,
    "iconify_glyph": iconify_glyph,
    "raster": raster,
    "photo": photo,
    "panorama": panorama,
    "film": film,
    "walking_pandas": walking_pandas,
    "walking_skins": walking_skins,
}
RENDERED = ("walking_pandas", "walking_skins")
CACHED_PICTURES = 1024  # about 0.5 MB each


@dataclass(frozen=True)
class Asset:
    """A thing that is pasted into a clip.

    Attributes:
        asset_id: Family and name, as in "noto/rabbit-face".
        label: Its YouTube-VIS 2019 class; None for scenery.
        family: The art style, which decides the split.
        num_views: Directions from which it was rendered, evenly around it; 1 for a flat picture.
        num_phases: Steps of its animation cycle.
        licence: Of its picture.
    """

    asset_id: str
    label: str | None
    family: str
    num_views: int
    num_phases: int
    licence: str

    @property
    def name(self) -> str:
        """Name within the family."""
        return self.asset_id.removeprefix(f"{self.family}/")


@dataclass(frozen=True)
class Background:
    """A picture of a place without any object of a class.

    Attributes:
        background_id: Family and name.
        kind: "photo", or "panorama": its left and right edges meet.
        licence: Of the picture.
    """

    background_id: str
    kind: str
    licence: str


class AssetLibrary:
    """The pictures of one split, decoded from packages in a folder.

    Which picture shows which class is in catalogue.json, made by looking at each. There, families belong to one split
    each: "val-style" has art styles that "train" never shows, "val-photo" photographs. No background is in two splits.
    Of people and hands, the n-th picture of a family's list has skin tone n modulo 6 (yellow, then light to dark).

    Of the pictures under "single_part" the largest part alone is kept: the racket without the ball.

    Pictures are decoded once, into `folder/decoded`.

    Attributes:
        labels: The 40 YouTube-VIS 2019 classes in the order of their ids.
        objects: Assets by label, sorted by id; a class without a picture in the split has an empty tuple.
        scenery: Assets without a label: trees, houses, furniture, food.
        backgrounds: Of the split.
        manifest_sha256: Identifies the packages, the catalogue and so every picture.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        profile: str = "permissive",
        split: str = "train",
        manifest: Path = MANIFEST,
        catalogue: Path = CATALOGUE,
    ) -> None:
        """Finds, checks and decodes the packages of a split.

        Args:
            folder: Holds the package files; `fetch_packages` fills it.
            profile: "permissive": only what may be shipped in rendered form; "full": more, for the own machine.
            split: "train", "val-style" or "val-photo" (which "full" only has).
            manifest: The list of packages.
            catalogue: The list of pictures.

        Raises:
            FileNotFoundError: If packages are missing: names them and the command that gets each.
            ValueError: If a package is not the expected one, or profile or split are unknown, or have no pictures.
        """
        if split not in SPLITS:
            raise ValueError(f"expected a split of {SPLITS}, got {split!r}")
        self.labels = tuple(YTVIS_2019)
        self.manifest_sha256 = hashlib.sha256(manifest.read_bytes() + catalogue.read_bytes()).hexdigest()
        packages = read_manifest(profile, manifest)
        content = json.loads(catalogue.read_text(encoding="utf-8"))
        families = {name: value for name, value in content["objects"].items() if value["split"] == split}
        places = {name: value[split] for name, value in content["backgrounds"].items() if split in value}
        self._single_parts = {f"{name}/{part}" for name in families for part in families[name].get("single_part", [])}
        self._packages = {name: packages[name] for name in {*families, *places} & packages.keys()}
        self._decoded = Path(folder) / "decoded"

        assets = [asset for name in families if name in packages for asset in _assets(packages[name], families[name])]
        assets.sort(key=lambda asset: asset.asset_id)
        self.objects = {label: tuple(asset for asset in assets if asset.label == label) for label in self.labels}
        self.scenery = tuple(asset for asset in assets if asset.label is None)
        if not any(self.objects.values()):
            raise ValueError(f"split {split!r} has no pictures in profile {profile!r}")
        self.backgrounds = tuple(
            Background(f"{name}/{place}", _kind(packages[name]), packages[name].licence)
            for name in sorted(places)
            if name in packages
            for place in places[name]
        )
        check_packages(Path(folder), list(self._packages.values()))
        self._decode(Path(folder), assets)

    def cutout(self, asset: Asset, view: int = 0, phase: int = 0) -> np.ndarray:
        """Picture of an asset.

        Args:
            asset: Of this split.
            view: Of num_views.
            phase: Of num_phases.

        Returns:
            (h, w, 4) uint8 RGBA, straight alpha, cropped to what is visible; longest side at most 384 pixels. Shared
            with later calls, so read-only.
        """
        return _read_picture(self._file(_picture_id(asset, view, phase)))

    def background(self, background: Background) -> np.ndarray:
        """Picture (H, W, 3) uint8 of a background, read-only."""
        return _read_picture(self._file(background.background_id))

    def _file(self, picture_id: str) -> Path:
        """Where a picture's decoded form is; another version of a package gets another folder."""
        family, name = picture_id.split("/", 1)
        return self._decoded / f"{family}-{self._packages[family].sha256[:8]}" / f"{name}.png"

    def _decode(self, folder: Path, assets: list[Asset]) -> None:
        """Decodes what has not been decoded by an earlier run."""
        picture_ids = [
            _picture_id(asset, view, phase)
            for asset in assets
            for view in range(asset.num_views)
            for phase in range(asset.num_phases)
        ]
        families: dict[str, list[str]] = {}
        for picture_id in [*picture_ids, *(background.background_id for background in self.backgrounds)]:
            family, name = picture_id.split("/", 1)
            families.setdefault(family, []).append(name)
        for family, names in sorted(families.items()):
            package = self._packages[family]
            missing = [name for name in names if not self._file(f"{family}/{name}").exists()]
            if not missing:
                continue
            if package.reader not in RENDERED:  # a render depends, by a pixel or so, on those before it
                names = missing
            pictures = READERS[package.reader](folder / package.file, package.pictures, names)
            for name, picture in tqdm(pictures, desc=f"decoding {family}", total=len(names), unit="picture"):
                if f"{family}/{name}" in self._single_parts:
                    picture = largest_part(picture)
                with whole_file(self._file(f"{family}/{name}")) as temporary:
                    Image.fromarray(picture).save(temporary, "PNG", compress_level=3)


def _assets(package: Package, family: dict[str, dict[str, list[str]]]) -> list[Asset]:
    """Assets of a family of the catalogue."""
    num_views, num_phases = (NUM_VIEWS, NUM_PHASES) if package.reader in RENDERED else (1, 1)
    return [
        Asset(
            asset_id=f"{package.family}/{name}",
            label=None if label == SCENERY else label,
            family=package.family,
            num_views=num_views,
            num_phases=num_phases,
            licence=package.licence,
        )
        for label, names in family["pictures"].items()
        for name in names
    ]


def _picture_id(asset: Asset, view: int, phase: int) -> str:
    """Family and name of one picture of an asset."""
    if asset.num_views == asset.num_phases == 1:
        return asset.asset_id
    return picture_name(asset.asset_id, view, phase)


def _kind(package: Package) -> str:
    return "panorama" if package.reader == "panorama" else "photo"


@lru_cache(maxsize=CACHED_PICTURES)
def _read_picture(path: Path) -> np.ndarray:
    """A decoded picture, read-only because it is shared."""
    with Image.open(path) as picture:
        pixels = np.array(picture)
    pixels.flags.writeable = False
    return pixels
