"""A small Hub on the loopback interface: repositories that can be created, pushed to and read, all in memory.

It serves what huggingface_hub asks for when models and data sets are pushed and loaded, and can fail on demand.
Clients find it through the environment of a fresh process, because they read `HF_ENDPOINT` at their import.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

TOKEN = "hf_loopback"
LFS_SUFFIXES = (".safetensors", ".parquet", ".mp4", ".png", ".jpg")


@dataclass
class Repository:
    """One repository: its commits, oldest first, each the sha and all files."""

    private: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=lambda: [("0" * 40, {})])

    def files(self, revision: str) -> dict[str, bytes] | None:
        """Files of a commit, or of the newest one for "main"."""
        return self.commits[-1][1] if revision == "main" else dict(self.commits).get(revision)


@dataclass
class LoopbackHub:
    """State of the server, for tests to look at and to meddle with.

    Attributes:
        endpoint: Its address.
        repositories: By name ("user/model"; data sets as "datasets/user/data").
        failures: Pattern of "METHOD path" -> how many of the next such requests get status 500.
    """

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)

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
        (r"GET /api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)/tree/(?P<revision>[^/]+).*", "tree"),
        (r"GET /api/(?P<kind>models|datasets)/(?P<name>[^/]+/[^/]+)(/revision/(?P<revision>[^/]+))?", "info"),
        (r"POST /(?P<name>.+)\.git/info/lfs/objects/batch", "lfs_batch"),
        (r"PUT /uploads/(?P<oid>\w+)", "lfs_upload"),
        (r"(GET|HEAD) /(?P<name>.+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
    ]

    def handle_any(self) -> None:
        """Finds the route of a request, or fails as the test wants it."""
        request = f"{self.command} {unquote(urlsplit(self.path).path)}"
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        for pattern, times in self.hub.failures.items():
            if times and re.fullmatch(pattern, request):
                self.hub.failures[pattern] -= 1
                return self.answer(500, {"error": "the test wants this to fail"})
        for pattern, method in self.ROUTES:
            if match := re.fullmatch(pattern, request):
                return getattr(self, method)(**match.groupdict())
        return self.answer(404, {"error": f"no route for {request}"})

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815

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
        """Accepts every model card."""
        self.answer(200, {"errors": [], "warnings": []})

    def who_am_i(self) -> None:
        """Names the only user."""
        self.answer(200, {"type": "user", "name": "user", "orgs": []})

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
        """Says where large files go."""
        objects = [
            {**wanted, "actions": {"upload": {"href": f"{self.hub.endpoint}/uploads/{wanted['oid']}"}}}
            for wanted in json.loads(self.body)["objects"]
        ]
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
        files = dict(repository.files("main") or {})
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
        sha = repository.commits[-1][0] if revision in (None, "main") else revision
        siblings = [{"rfilename": path} for path in sorted(files)]
        return self.answer(200, {"id": name, "sha": sha, "private": repository.private, "siblings": siblings})

    def tree(self, kind: str, name: str, revision: str) -> None:
        """Lists the files."""
        repository = self.repository(name, kind)
        if repository is None:
            return None
        files = repository.files(revision) or {}
        entries = [
            {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for path, data in sorted(files.items())
        ]
        return self.answer(200, entries)

    def resolve(self, name: str, revision: str, path: str) -> None:
        """Sends a file."""
        repository = self.repository(name)
        if repository is None:
            return None
        files = repository.files(revision)
        if files is None:
            return self.answer(404, {"error": "no such revision"}, X_Error_Code="RevisionNotFound")
        sha = repository.commits[-1][0] if revision == "main" else revision
        if path not in files:
            return self.answer(404, {"error": "no such file"}, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
        etag = f'"{hashlib.sha256(files[path]).hexdigest()}"'
        return self.answer(200, files[path], ETag=etag, X_Repo_Commit=sha)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keeps quiet."""
