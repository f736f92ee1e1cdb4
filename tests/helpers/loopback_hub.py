"""A small Hub on the loopback interface: repositories that can be created, pushed to and read, all in memory.

It serves what huggingface_hub asks for when models and data sets are pushed and loaded, and can fail on demand.
Clients find it through the environment of a fresh process, because they read `HF_ENDPOINT` at their import.
"""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

from hub_metadata import metadata_errors

TOKEN = "hf_loopback"
DATE = "2026-01-01T00:00:00.000Z"
LFS_SUFFIXES = (".safetensors", ".parquet", ".mp4", ".png", ".jpg")

WEIGHTS_AND_SETTINGS = {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"}


@dataclass
class Repository:
    """One repository: its commits in the order of their arrival, each the sha and all files, and its branches."""

    private: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=lambda: [("0" * 40, {})])
    branches: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})

    def sha(self, revision: str) -> str:
        """Commit of a branch; a commit is its own."""
        return self.branches.get(revision, revision)

    def files(self, revision: str) -> dict[str, bytes] | None:
        """Files of a branch or commit, or None if it doesn't exist."""
        return dict(self.commits).get(self.sha(revision))


@dataclass
class LoopbackHub:
    """State of the server, for tests to look at and to meddle with.

    Attributes:
        endpoint: Its address.
        repositories: By name ("user/model"; data sets as "datasets/user/data").
        failures: Pattern of "METHOD path" -> how many of the next such requests get status 500.
        hang_ups: Likewise, for requests that get no answer because the connection is closed.
        uploads: Large files by their SHA-256.
        requests: "METHOD path" of every request that was answered.
    """

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    hang_ups: dict[str, int] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def environment(self, cache: str, token: str = TOKEN) -> dict[str, str]:
        """What a client's process needs."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": cache,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": token,
            "NO_PROXY": "127.0.0.1",
        }


@contextmanager
def loopback_hub() -> Iterator[LoopbackHub]:
    """Runs a Hub while the `with` statement lasts."""
    hub = LoopbackHub()
    handler = type("Handler", (HubHandler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield hub
        finally:
            server.shutdown()


class HubHandler(BaseHTTPRequestHandler):
    """Answers one request; `ROUTES` says which method serves which path."""

    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    ROUTES = [
        (r"POST /api/repos/create", "create"),
        (r"POST /api/validate-yaml", "validate_yaml"),
        (r"GET /api/whoami-v2", "who_am_i"),
        (r"POST /api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)/preupload/(?P<revision>[^/]+)", "preupload"),
        (r"POST /api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)/commit/(?P<revision>[^/]+)", "commit"),
        (r"POST /api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)/branch/(?P<branch>[^/]+)", "create_branch"),
        (r"POST /api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)/paths-info/(?P<revision>[^/]+)", "paths_info"),
        (
            r"GET /api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)(/(?P<folder>.+))?",
            "tree",
        ),
        (r"GET /api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)(/revision/(?P<revision>[^/]+))?", "info"),
        (r"POST /(?P<name>.+)\.git/info/lfs/objects/batch", "lfs_batch"),
        (r"PUT /uploads/(?P<oid>\w+)", "lfs_upload"),
        (r"(GET|HEAD) /(?P<name>.+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
    ]

    def handle_any(self) -> None:
        """Finds the route of a request, or fails as the test wants it."""
        request = f"{self.command} {unquote(urlsplit(self.path).path)}"
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if is_due(self.hub.hang_ups, request):
            self.close_connection = True
            return None
        if is_due(self.hub.failures, request):
            return self.answer(500, {"error": "the test wants this to fail"})
        self.hub.requests.append(request)
        for pattern, method in self.ROUTES:
            if match := re.fullmatch(pattern, request):
                return getattr(self, method)(**match.groupdict())
        return self.answer(404, {"error": f"no route for {request}"})

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815 -- http.server wants these names

    def answer(self, status: int, content: object = None, **headers: str) -> None:
        """Sends JSON, or bytes as they are."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def repository(self, name: str, kind: str = "models") -> Repository | None:
        """The repository, if it exists and the client may know of it; otherwise answers."""
        repository = self.hub.repositories.get(name if kind == "models" else f"{kind}/{name}")
        if repository is None or (repository.private and not self.is_owner()):
            self.answer(401, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return None
        return repository

    def is_owner(self) -> bool:
        """Whether the request carries the token."""
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def create(self) -> None:
        """Creates a repository."""
        wish = json.loads(self.body)
        name = f"{wish['organization'] or 'user'}/{wish['name']}"
        name = name if wish.get("type", "model") == "model" else f"{wish['type']}s/{name}"
        if not self.is_owner():
            return self.answer(401, {"error": "Invalid token"})
        repository = Repository(private=wish.get("visibility") == "private" or wish.get("private") is True)
        self.hub.repositories.setdefault(name, repository)
        return self.answer(200, {"url": f"{self.hub.endpoint}/{name}", "name": name})

    def validate_yaml(self) -> None:
        """Looks at the header of a card."""
        wish = json.loads(self.body)
        errors = metadata_errors(wish["content"]) if wish["repoType"] == "model" else []
        self.answer(400 if errors else 200, {"errors": [{"message": text} for text in errors], "warnings": []})

    def who_am_i(self) -> None:
        """Names the only user."""
        if not self.is_owner():
            return self.answer(401, {"error": "Invalid token"})
        return self.answer(200, {"type": "user", "name": "user", "orgs": []})

    def create_branch(self, kind: str, name: str, branch: str) -> None:
        """Makes a branch of main."""
        repository = self.repository(name, kind)
        if repository is None:
            return None
        if branch in repository.branches:
            return self.answer(409, {"error": "the branch exists"})
        repository.branches[branch] = repository.branches["main"]
        return self.answer(200, {})

    def preupload(self, kind: str, name: str, revision: str) -> None:
        """Says which files go by LFS."""
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LFS_SUFFIXES) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(self.body)["files"]
        ]
        self.answer(200, {"files": modes})

    def lfs_batch(self, name: str) -> None:
        """Says where large files go; those that are here already need not be sent."""
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            upload = {"upload": {"href": f"{self.hub.endpoint}/uploads/{wanted['oid']}"}}
            objects.append(wanted if wanted["oid"] in self.hub.uploads else {**wanted, "actions": upload})
        self.answer(200, {"transfer": "basic", "objects": objects})

    def lfs_upload(self, oid: str) -> None:
        """Takes a large file."""
        self.hub.uploads[oid] = self.body
        self.answer(200, {})

    def commit(self, kind: str, name: str, revision: str) -> None:
        """Makes a commit of the files that were sent and those before."""
        repository = self.repository(name, kind)
        if repository is None:
            return None
        if not self.is_owner():
            return self.answer(403, {"error": "not yours"})
        files = repository.files(revision)
        if files is None:
            return self.answer(404, {"error": "no such revision"}, X_Error_Code="RevisionNotFound")
        files = dict(files)
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
            elif entry["key"] == "deletedFile":
                files.pop(value["path"])
        sha = hashlib.sha1(self.body + str(len(repository.commits)).encode()).hexdigest()
        repository.commits.append((sha, files))
        repository.branches[revision] = sha
        url = f"{self.hub.endpoint}/{name}/commit/{sha}"
        return self.answer(200, {"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def info(self, kind: str, name: str, revision: str | None) -> None:
        """Describes a repository."""
        repository = self.repository(name, kind)
        if repository is None:
            return None
        files = repository.files(revision or "main")
        if files is None:
            return self.answer(404, {"error": "no such revision"}, X_Error_Code="RevisionNotFound")
        return self.answer(
            200,
            {
                "id": name,
                "sha": repository.sha(revision or "main"),
                "private": repository.private,
                "lastModified": DATE,
                "siblings": [{"rfilename": path} for path in sorted(files)],
            },
        )

    def tree(self, kind: str, name: str, revision: str, folder: str | None) -> None:
        """Lists a folder: with `recursive=true` all files below it, else its files and folders."""
        repository = self.repository(name, kind)
        if repository is None:
            return None
        files = repository.files(revision)
        if files is None:
            return self.answer(404, {"error": "no such revision"}, X_Error_Code="RevisionNotFound")
        start = f"{folder}/" if folder else ""
        below = {path: data for path, data in sorted(files.items()) if path.startswith(start)}
        if folder and not below:
            return self.answer(404, {"error": "no such folder"}, X_Error_Code="EntryNotFound")
        if parse_qs(urlsplit(self.path).query).get("recursive") == ["true"]:
            return self.answer(200, [describe(path, data) for path, data in below.items()])
        here = {start + path.removeprefix(start).partition("/")[0]: data for path, data in below.items()}
        return self.answer(200, [describe(path, files.get(path)) for path in here])

    def paths_info(self, kind: str, name: str, revision: str) -> None:
        """Describes those of the asked paths that exist."""
        repository = self.repository(name, kind)
        if repository is None:
            return None
        files = repository.files(revision) or {}
        asked = parse_qs(self.body.decode())["paths"]
        return self.answer(200, [describe(path, files[path]) for path in asked if path in files])

    def resolve(self, name: str, revision: str, path: str) -> None:
        """Sends a file."""
        repository = self.repository(name)
        if repository is None:
            return None
        files = repository.files(revision)
        if files is None:
            return self.answer(404, {"error": "no such revision"}, X_Error_Code="RevisionNotFound")
        sha = repository.sha(revision)
        if path not in files:
            return self.answer(404, {"error": "no such file"}, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
        etag = f'"{hashlib.sha256(files[path]).hexdigest()}"'
        return self.answer(200, files[path], ETag=etag, X_Repo_Commit=sha)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name in http.server
        """Keeps quiet."""


def is_due(wishes: dict[str, int], request: str) -> bool:
    """Whether a request has to go wrong; counts it."""
    for pattern, times in wishes.items():
        if times and re.fullmatch(pattern, request):
            wishes[pattern] -= 1
            return True
    return False


def describe(path: str, data: bytes | None) -> dict[str, object]:
    """An entry of a listing: a file, or a folder if there is no data."""
    if data is None:
        return {"type": "directory", "path": path, "oid": hashlib.sha1(path.encode()).hexdigest()}
    return {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}


def run_client(program: str, hub: LoopbackHub, cache: Path, fails_with: str | None = None, **environment: str) -> str:
    """Runs a client and returns what it prints; or checks its last words, if it has to fail."""
    result = subprocess.run(
        [sys.executable, "-c", f"HELPERS = {str(Path(__file__).parent)!r}\n{program}"],
        capture_output=True,
        text=True,
        env={**os.environ, **hub.environment(str(cache)), **environment},
    )
    if fails_with is None:
        assert result.returncode == 0, result.stderr
    else:
        assert result.returncode == 1
        assert fails_with in result.stderr
    return result.stdout
