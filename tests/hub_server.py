"""A small Hugging Face Hub on this machine: the endpoints that the real `huggingface_hub` client asks for.

Repositories live in memory as commits; `.safetensors` goes through LFS and a redirect, as on the real Hub. Written for
`huggingface_hub` 1.x and 2.x without Xet (`HF_HUB_DISABLE_XET=1`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

TOKEN = "hf_test"  # the one account

Files = dict[str, bytes]


@dataclass
class Repo:
    private: bool = False
    commits: dict[str, Files] = field(default_factory=dict)  # by 40-digit name
    refs: dict[str, str] = field(default_factory=dict)  # branch to commit

    def commit(self, changes: Files, branch: str = "main") -> str:
        files = {**self.commits.get(self.refs.get(branch, ""), {}), **changes}
        name = hashlib.sha1(f"{len(self.commits)} {branch}".encode()).hexdigest()
        self.commits[name], self.refs[branch] = files, name
        return name


@dataclass
class Hub:
    url: str = ""
    store_url: str = ""  # of LFS objects: another host, as on the real Hub, so that the client treats it as one
    repos: dict[str, Repo] = field(default_factory=dict)
    objects: Files = field(default_factory=dict)  # LFS, by SHA-256
    requests: list[str] = field(default_factory=list)  # "GET /org/name/resolve/main/config.json", ...
    spoilt: Files = field(default_factory=dict)  # what is sent instead of an object, by the SHA-256 of the true one

    def add(self, name: str, files: Files, *, private: bool = False, branch: str = "main") -> str:
        """Put files into a repository as a user of the web page would; returns the commit."""
        self.objects |= {hashlib.sha256(content).hexdigest(): content for content in files.values()}
        return self.repos.setdefault(name, Repo(private)).commit(files, branch)


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests read `hub.requests`."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value: object, status: int = 200) -> None:
        self.answer(status, json.dumps(value).encode(), Content_Type="application/json")

    def fail(self, status: int, code: str, message: str) -> None:
        self.answer(status, X_Error_Code=code, X_Error_Message=message)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def route(self) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {path}")
        body = self.body()
        for methods, pattern, action in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command in methods:
                return action(self, body, *map(unquote, found.groups()))
        return self.fail(404, "NoRoute", f"{self.command} {path}")

    do_GET = do_HEAD = do_POST = do_PUT = route

    @property
    def signed_in(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def repo(self, name: str) -> Repo | None:
        """A repository this client may see; else the answer is sent, the same for missing and for private ones."""
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not self.signed_in):
            self.fail(404 if self.signed_in else 401, "RepoNotFound", "Repository not found")
            return None
        return repo

    # ---- reading

    def resolve(self, body: bytes, name: str, revision: str, file: str) -> None:
        repo = self.repo(name)
        if repo is None:
            return None
        commit = repo.refs.get(revision, revision)
        if commit not in repo.commits:
            return self.fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if file not in repo.commits[commit]:
            self.answer(404, X_Error_Code="EntryNotFound", X_Error_Message="Entry not found", X_Repo_Commit=commit)
            return None
        content = repo.commits[commit][file]
        if not large(file):
            etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return self.answer(200, content, X_Repo_Commit=commit, ETag=f'"{etag}"')
        oid = hashlib.sha256(content).hexdigest()
        return self.answer(
            302,
            Location=f"{self.hub.store_url}/objects/{oid}",
            X_Repo_Commit=commit,
            X_Linked_ETag=f'"{oid}"',
            X_Linked_Size=str(len(content)),
        )

    def object(self, body: bytes, oid: str) -> None:
        self.answer(200, self.hub.spoilt.get(oid, self.hub.objects[oid]), ETag=f'"{oid}"')

    # ---- writing

    def create_repo(self, body: bytes) -> None:
        if not self.signed_in:
            return self.fail(401, "", "Invalid username or password")
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        taken = name in self.hub.repos
        if not taken:
            self.hub.repos[name] = Repo(private=asked.get("visibility") == "private" or bool(asked.get("private")))
            self.hub.repos[name].commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        return self.json({"url": f"{self.hub.url}/{name}"}, 409 if taken else 200)

    def create_branch(self, body: bytes, name: str, branch: str) -> None:
        repo = self.repo(name)
        if repo is not None and branch in repo.refs:
            self.json({"error": "Reference already exists"}, 409)
        elif repo is not None:
            repo.refs[branch] = repo.refs["main"]
            self.json({}, 201)

    def validate(self, body: bytes) -> None:
        content = json.loads(body)["content"]
        good = content.startswith("---\n") and "\n---\n" in content
        self.json({"errors": [] if good else [{"message": "no front matter"}], "warnings": []}, 200 if good else 400)

    def preupload(self, body: bytes, name: str, revision: str) -> None:
        if self.repo(name) is not None:
            paths = [file["path"] for file in json.loads(body)["files"]]
            modes = {True: "lfs", False: "regular"}
            files = [{"path": path, "uploadMode": modes[large(path)], "shouldIgnore": False} for path in paths]
            self.json({"files": files})

    def batch(self, body: bytes, name: str) -> None:
        wanted = json.loads(body)["objects"]
        for item in wanted:
            if item["oid"] not in self.hub.objects:
                item["actions"] = {"upload": {"href": f"{self.hub.store_url}/objects/{item['oid']}"}}
        self.json({"transfer": "basic", "objects": wanted})

    def store(self, body: bytes, oid: str) -> None:
        good = hashlib.sha256(body).hexdigest() == oid
        if good:
            self.hub.objects[oid] = body
        self.answer(200 if good else 400)

    def commit(self, body: bytes, name: str, revision: str) -> None:
        repo = self.repo(name)
        if repo is None:
            return None
        if not self.signed_in:
            return self.fail(403, "", "You have no right to write here")
        changes: Files = {}
        for line in filter(None, body.splitlines()):
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                changes[value["path"]] = self.hub.objects[value["oid"]]
        pull = "create_pr=1" in self.path
        commit = repo.commit(changes, "refs/pr/1" if pull else revision)
        answer = {"commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit}
        return self.json(answer | ({"pullRequestUrl": f"{self.hub.url}/{name}/discussions/1"} if pull else {}))


def large(file: str) -> bool:
    return file.endswith((".safetensors", ".bin"))


NAME = r"([\w.-]+/[\w.-]+)"
ROUTES: list[tuple[tuple[str, ...], str, Callable[..., None]]] = [
    (("GET", "HEAD"), rf"/{NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
    (("GET",), r"/objects/(\w+)", Handler.object),
    (("PUT",), r"/objects/(\w+)", Handler.store),
    (("POST",), r"/api/repos/create", Handler.create_repo),
    (("POST",), r"/api/validate-yaml", Handler.validate),
    (("POST",), rf"/api/models/{NAME}/branch/(.+)", Handler.create_branch),
    (("POST",), rf"/api/models/{NAME}/preupload/([^/]+)", Handler.preupload),
    (("POST",), rf"/{NAME}\.git/info/lfs/objects/batch", Handler.batch),
    (("POST",), rf"/api/models/{NAME}/commit/([^/]+)", Handler.commit),
]


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A Hub on a free port of this machine, for the time of a `with`."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url, hub.store_url = (f"http://{host}:{server.server_port}" for host in ("127.0.0.1", "localhost"))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
