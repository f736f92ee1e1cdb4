"""The packages that pictures come from: which they are, how to get them, check them and read them."""

from __future__ import annotations

import json
import shlex
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ifc_hf.files import content_hash

MANIFEST = Path(__file__).with_name("assets.json")
PROFILES = ("permissive", "full")

AR_MAGIC = b"!<arch>\n"
AR_HEADER_BYTES = 60


@dataclass(frozen=True)
class Package:
    """One package file.

    Attributes:
        family: Short name of its pictures, the first part of their ids.
        registry: npm, pypi or debian.
        name: Name in the registry.
        version: Version in the registry.
        file: Name of the file that the registry's client saves.
        sha256: Of the file.
        licence: Of its pictures.
        credit: Whom the licence wants named.
        profile: "permissive": what is made from it may be shipped; "full": for use on the own machine only.
        reader: Name of the function of `pictures` that decodes it.
        pictures: Path of a picture inside the package, with {} in place of the picture's name; or of the one file
            that holds all of them.
    """

    family: str
    registry: str
    name: str
    version: str
    file: str
    sha256: str
    licence: str
    credit: str
    profile: str
    reader: str
    pictures: str

    @property
    def command(self) -> tuple[str, ...]:
        """The command that saves the file into the current folder."""
        if self.registry == "npm":
            return ("npm", "pack", f"{self.name}@{self.version}")
        if self.registry == "debian":
            return ("apt-get", "download", f"{self.name}={self.version}")
        # The same wheel everywhere, whatever Python and machine run this: it is read, not installed.
        wheel = ("--only-binary", ":all:", "--python-version", "3.11", "--platform", "manylinux2014_x86_64")
        kind = wheel if self.file.endswith(".whl") else ("--no-binary", ":all:")
        return ("pip", "download", "--no-deps", *kind, f"{self.name}=={self.version}")


def read_manifest(profile: str, path: Path = MANIFEST) -> dict[str, Package]:
    """The packages of a profile by family; "full" includes "permissive".

    Raises:
        ValueError: If the profile is unknown.
    """
    if profile not in PROFILES:
        raise ValueError(f"expected a profile of {PROFILES}, got {profile!r}")
    packages = [Package(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    return {package.family: package for package in packages if package.profile in ("permissive", profile)}


def check_packages(folder: Path, packages: list[Package]) -> None:
    """Makes sure that every package is in the folder, as expected.

    Raises:
        FileNotFoundError: If some are missing: names them all, with the command that gets each.
        ValueError: If a file's content is another.
    """
    missing = [package for package in packages if not (folder / package.file).is_file()]
    if missing:
        lines = [f"  {package.file}: {shlex.join(package.command)}" for package in missing]
        raise FileNotFoundError(
            f"{len(missing)} asset packages are missing in {folder}; run in that folder:\n" + "\n".join(lines)
        )
    for package in packages:
        check_content(folder, package)


def check_content(folder: Path, package: Package) -> None:
    """Makes sure that a package file holds what was used when the manifest was written.

    Raises:
        ValueError: If it does not.
    """
    found = content_hash(folder / package.file)
    if found != package.sha256:
        raise ValueError(f"{folder / package.file}: expected sha256 {package.sha256}, got {found}; delete it")


def fetch_packages(folder: Path, profile: str = "permissive", manifest: Path = MANIFEST) -> list[Path]:
    """Gets every package of a profile that is not there yet, with npm, pip and apt-get.

    Args:
        folder: Made if it does not exist. A second call goes on where the first one stopped.
        profile: "permissive" or "full".
        manifest: The list of packages.

    Returns:
        The package files.

    Raises:
        RuntimeError: If a command fails: with what it printed.
        ValueError: If a file is not the expected one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    packages = read_manifest(profile, manifest).values()
    for package in packages:
        if not (folder / package.file).is_file():
            run_command(package.command, folder)
        check_content(folder, package)
    return [folder / package.file for package in packages]


def run_command(command: tuple[str, ...], folder: Path) -> None:
    """Runs a registry's client in the folder.

    Raises:
        RuntimeError: If it is not installed or fails.
    """
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise RuntimeError(f"{shlex.join(command)}: {command[0]} is not installed") from error
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)} failed with {done.returncode}:\n{done.stderr.strip()[-1000:]}")


def read_members(path: Path, names: set[str]) -> Iterator[tuple[str, bytes]]:
    """Files out of a package, in the order in which they lie there.

    Args:
        path: A .tgz, .tar.gz, .whl or .deb.
        names: Paths inside, without a leading "./".

    Yields:
        Path inside and content.

    Raises:
        ValueError: If the package lacks some of them.
    """
    missing = set(names)
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            for name in sorted(names & set(archive.namelist())):
                missing.discard(name)
                yield name, archive.read(name)
    else:
        with open(path, "rb") as stream:
            if path.suffix == ".deb":
                _seek_data_of_deb(stream, path)
            with tarfile.open(fileobj=stream, mode="r|*") as archive:
                for member in archive:
                    name = member.name.removeprefix("./")
                    file = archive.extractfile(member) if name in missing and member.isfile() else None
                    if file is not None:
                        missing.discard(name)
                        yield name, file.read()
    if missing:
        raise ValueError(f"{path}: has no {', '.join(sorted(missing)[:5])} ({len(missing)} files are missing)")


def _seek_data_of_deb(stream: BinaryIO, path: Path) -> None:
    """Moves to the start of data.tar inside a .deb, an `ar` archive whose last member it is."""
    if stream.read(len(AR_MAGIC)) != AR_MAGIC:
        raise ValueError(f"{path}: expected a Debian package, which begins with {AR_MAGIC!r}")
    while len(header := stream.read(AR_HEADER_BYTES)) == AR_HEADER_BYTES:
        if header[:16].startswith(b"data.tar"):
            return
        size = int(header[48:58])
        stream.seek(size + size % 2, 1)  # members begin at even offsets
    raise ValueError(f"{path}: has no data.tar")
