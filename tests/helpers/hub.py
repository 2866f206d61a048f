"""A Hub on loopback, for a real push and a real pull without a network: only the endpoints that huggingface_hub
uses."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results

TOKEN = "hf_fake"


def git_hash(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def errors_of_card(content):
    """Returns the errors in a card's metadata, as the Hub would."""
    found = re.match(r"---\n(.*?)\n---", content, re.DOTALL)
    try:
        metadata = yaml.safe_load(found[1]) if found else {}
        model_index_to_eval_results(metadata.get("model-index", []))
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        return [{"message": repr(error)}]
    return []


class HubState:
    """Repositories: name to the list of their commits, each a mapping of paths to contents.

    Repositories in `private` are shown to who has the token; `send_only["repo/path"] = n` breaks the next download of
    a file off after n bytes, and `garbled["repo/path"]` is sent in its place.
    """

    def __init__(self):
        self.commits: dict[str, list[tuple[str, dict[str, bytes]]]] = {}
        self.requests: list[str] = []
        self.messages: dict[str, str] = {}
        self.ranges: dict[str, str] = {}
        self.private: set[str] = set()
        self.send_only: dict[str, int] = {}
        self.garbled: dict[str, bytes] = {}

    def create(self, repo):
        self.commits.setdefault(repo, [self._commit({})])

    def add(self, repo, changes, deleted):
        files = {path: data for path, data in self.commits[repo][-1][1].items() if path not in deleted}
        self.commits[repo].append(self._commit({**files, **changes}, len(self.commits[repo])))
        return self.commits[repo][-1][0]

    def at(self, repo, revision):
        """Name and files of a commit: `main` is the last. `None` where there is none."""
        commits = self.commits.get(repo, [])
        if revision == "main" and commits:
            return commits[-1]
        return next((commit for commit in commits if commit[0] == revision), None)

    @staticmethod
    def _commit(files, number=0):
        text = json.dumps([number, sorted((path, hashlib.sha256(data).hexdigest()) for path, data in files.items())])
        return hashlib.sha1(text.encode()).hexdigest(), files


def handler_of(state):
    """The request handler over a state."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def answer(self, value, status=200, headers=None):
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, content in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, content)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def missing(self, code):
            self.answer({"error": code}, 404, {"X-Error-Code": code, "X-Error-Message": code})

        def hidden(self, repo):
            """True if the repository is private and the request lacks the token; then it is answered here."""
            hide = repo in state.private and self.headers.get("Authorization") != f"Bearer {TOKEN}"
            if hide:
                self.answer({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
            return hide

        def file(self, repo, revision, path):
            if self.hidden(repo):
                return None
            commit = state.at(repo, revision)
            if commit is None:
                return self.missing("RevisionNotFound" if repo in state.commits else "RepoNotFound")
            if path not in commit[1]:
                return self.missing("EntryNotFound")
            data = commit[1][path]
            headers = {"X-Repo-Commit": commit[0], "ETag": f'"{git_hash(data)}"', "Accept-Ranges": "bytes"}
            if self.command == "GET":
                place = f"{repo}/{path}"
                data = state.garbled.get(place, data)
                if place in state.send_only:
                    return self.broken_off(data, state.send_only.pop(place), headers)
                if self.headers.get("Range"):
                    state.ranges[place] = self.headers["Range"]
            start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if start and int(start[1]) < len(data):
                first = int(start[1])
                headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
                return self.answer(data[first:], 206, headers)
            return self.answer(data, 200, headers)

        def broken_off(self, data, size, headers):
            self.send_response(200)
            for name, content in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, content)
            self.end_headers()
            self.wfile.write(data[:size])
            self.close_connection = True

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            state.requests.append(f"{self.command} {self.path}")
            path = self.path.split("?")[0]
            if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                return self.file(*found.groups())
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+?)(?:/revision/([^/]+))?", path):
                if self.hidden(found[1]):
                    return None
                commit = state.at(found[1], found[2] or "main")
                if commit is None:
                    return self.missing("RevisionNotFound" if found[1] in state.commits else "RepoNotFound")
                siblings = [{"rfilename": name} for name in commit[1]]
                return self.answer({"id": found[1], "modelId": found[1], "sha": commit[0], "siblings": siblings})
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)(?:/.*)?", path):
                commit = state.at(found[1], found[2])
                if commit is None:
                    return self.missing("RevisionNotFound")
                entries = [
                    {"type": "file", "path": name, "size": len(data), "oid": git_hash(data)}
                    for name, data in commit[1].items()
                ]
                return self.answer(entries)
            return self.missing("EntryNotFound")

        def do_POST(self):
            state.requests.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.split("?")[0]
            if path == "/api/repos/create":
                asked = json.loads(body)
                repo = f"{asked.get('organization') or 'tester'}/{asked['name']}"
                state.create(repo)
                return self.answer({"url": f"http://{self.headers['Host']}/{repo}", "name": repo})
            if path == "/api/validate-yaml":
                return self.answer({"errors": errors_of_card(json.loads(body)["content"]), "warnings": []})
            if re.fullmatch(r"/api/models/.+/preupload/.+", path):
                files = [
                    {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for one in json.loads(body)["files"]
                ]
                return self.answer({"files": files})
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", path):
                lines = [json.loads(line) for line in body.decode().splitlines() if line]
                changes = {
                    line["value"]["path"]: base64.b64decode(line["value"]["content"])
                    for line in lines
                    if line["key"] == "file"
                }
                deleted = {line["value"]["path"] for line in lines if line["key"] == "deletedFile"}
                oid = state.add(found[1], changes, deleted)
                state.messages[oid] = next(line["value"]["summary"] for line in lines if line["key"] == "header")
                url = f"http://{self.headers['Host']}/{found[1]}/commit/{oid}"
                return self.answer({"success": True, "commitOid": oid, "commitUrl": url})
            return self.missing("EntryNotFound")

    return Handler


class LoopbackHub:
    """The server as a context: `url` and `state`."""

    def __enter__(self):
        self.state = HubState()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self.state))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()

    def environment(self, home):
        """The variables of a process whose Hub this is, with `home` as its cache."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
