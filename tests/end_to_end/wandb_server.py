"""A small stand-in for the Weights & Biases server: what wandb 0.31 asks for, kept in memory.

It answers the GraphQL operations of a run and of an artifact, takes uploads, and the stream of history rows. It can
break as a network does: `refuse` closes each connection unanswered, `hang` never answers.
"""

import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

ENTITY = "somebody"
NO_FILES = {"uploadHeaders": [], "uploadMultipartUrls": None}
Json = dict[str, Any]
Fault = Literal["refuse", "hang"]


@dataclass
class Run:
    """What the server knows of a run."""

    history: list[Json] = field(default_factory=list)
    events: int = 0
    summary: Json = field(default_factory=dict)
    info: Json = field(default_factory=dict)  # group, tags, config ..., each as last given
    exits: list[int] = field(default_factory=list)

    def rows(self) -> list[Json]:
        """The history by step: a row that is sent again, as by `wandb sync`, takes the place of the same row.

        Raises:
            AssertionError: If two different rows have the same step.
        """
        steps: dict[int, Json] = {}
        for row in self.history:
            assert steps.setdefault(row["_step"], row) == row
        return [steps[step] for step in sorted(steps)]

    def take(self, sent: Json) -> None:
        """Takes one message of the run's stream."""
        if "exitcode" in sent:
            self.exits.append(sent["exitcode"])
        for name, part in sent.get("files", {}).items():
            start, content = part["offset"], part["content"]
            if name == "wandb-events.jsonl":
                self.events = max(self.events, start + len(content))
            elif name == "wandb-summary.json":
                self.summary = json.loads(content[-1])
            elif name == "wandb-history.jsonl":
                assert start <= len(self.history)  # no line is missing
                self.history[start : start + len(content)] = map(json.loads, content)


@dataclass
class Artifact:
    """An artifact's name, files, and whether it is whole."""

    name: str
    kind: str
    run: str
    files: dict[str, bytes] = field(default_factory=dict)
    committed: bool = False


class WandbServer(ThreadingHTTPServer):
    """Keeps runs, artifacts and what was asked; `fault` says how it fails."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.runs: dict[str, Run] = {}
        self.artifacts: list[Artifact] = []
        self.asked: list[tuple[str, Json]] = []
        self.fault: Fault | None = None
        self.breaks_on: tuple[str, Fault] | None = None  # as soon as this key is in a history
        self.lock = threading.Lock()
        self.closing = threading.Event()

    def repair(self) -> None:
        """Answers again."""
        self.fault = self.breaks_on = None

    def answer(self, operation: str, given: Json) -> Json:
        """The data of one GraphQL operation; of an unknown one, that there are none."""
        self.asked.append((operation, given))
        known = getattr(self, f"_{operation}", None)
        return known(given) if known else dict.fromkeys(("project", "entity", "serverInfo"))

    def stream(self, name: str, sent: Json) -> None:
        """Takes a message of a run's stream, and may break on it."""
        run = self.runs[name]
        run.take(sent)
        if self.breaks_on and any(self.breaks_on[0] in row for row in run.history):
            self.fault = self.breaks_on[1]

    def _upload(self, *parts: str) -> str:
        return "/".join([self.url, "upload", *(urllib.parse.quote(p, safe="") for p in parts)])

    # GraphQL operations, by their names ----------------------------------------------------------

    def _Viewer(self, _: Json) -> Json:  # noqa: N802
        names = {"id": "1", "entity": ENTITY, "username": ENTITY, "flags": "{}"}
        return {"viewer": {**names, "teams": {"edges": []}}}

    def _bucket(self, name: str, project: str) -> Json:
        run = self.runs[name]
        return {
            "id": name,
            "name": name,
            "displayName": run.info.get("displayName"),
            "config": run.info.get("config", "{}"),
            "tags": run.info.get("tags", []),
            "project": {"id": project, "name": project, "entity": {"id": ENTITY, "name": ENTITY}},
            "logLineCount": 0,
            "historyLineCount": len(run.history),
            "eventsLineCount": run.events,
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsTail": "[]",
            "summaryMetrics": json.dumps(run.summary),
            "wandbConfig": '{"t": 1}',
        }

    def _RunResumeStatus(self, given: Json) -> Json:  # noqa: N802
        name, project = given["name"], given["project"]
        bucket = self._bucket(name, project) if name in self.runs else None
        return {"model": {"id": project, "name": project, "bucket": bucket}}

    def _UpsertBucket(self, given: Json) -> Json:  # noqa: N802
        inserted = given["name"] not in self.runs
        run = self.runs.setdefault(given["name"], Run())
        run.info |= {key: value for key, value in given.items() if value is not None}
        bucket = self._bucket(given["name"], given["project"])
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _CreateRunFiles(self, given: Json) -> Json:  # noqa: N802
        run = given["run"]
        files = [{"name": n, "uploadUrl": self._upload("run", run, n)} for n in given["files"]]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}

    def _CreateArtifact(self, given: Json) -> Json:  # noqa: N802
        new = given["input"]
        name, kind = new["artifactCollectionName"], new["artifactTypeName"]
        self.artifacts.append(Artifact(name, kind, new["runName"]))
        artifact = {"id": str(len(self.artifacts) - 1), "state": "PENDING"}
        sequence = {"artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": {**artifact, **sequence}}}

    def _CreateArtifactManifest(self, given: Json) -> Json:  # noqa: N802
        identity = given["artifactID"]
        file = {"id": identity, "uploadUrl": self._upload("artifact", identity, "manifest")}
        manifest = {"id": identity, "file": {**file, **NO_FILES}}
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def _CreateArtifactFiles(self, given: Json) -> Json:  # noqa: N802
        edges = []
        for file in given["input"]["artifactFiles"]:
            name, identity = file["name"], file["artifactID"]
            url = self._upload("artifact", identity, name)
            node = {"storagePath": name, "uploadUrl": url, "artifact": {"id": identity}}
            edges.append({"node": {**node, **NO_FILES}})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _CommitArtifact(self, given: Json) -> Json:  # noqa: N802
        self.artifacts[int(given["artifactID"])].committed = True
        return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": ""}}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WandbServer

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def handle(self) -> None:
        """Serves a connection; clients may end it as they like."""
        with suppress(ConnectionError):
            super().handle()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.fault == "hang":
            self.server.closing.wait()
        if self.server.fault:
            self.close_connection = True
            return
        with self.server.lock:
            content = json.dumps(self._reply(body)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _reply(self, body: bytes) -> Json:
        parts = [urllib.parse.unquote(part) for part in self.path.split("/")[1:]]
        if parts[0] == "graphql":
            asked = json.loads(body)
            operation = re.findall(r"(?:query|mutation)\s+(\w+)", asked["query"])[0]
            return {"data": self.server.answer(operation, asked.get("variables") or {})}
        if parts[:2] == ["upload", "artifact"]:
            self.server.artifacts[int(parts[2])].files[parts[3]] = body
        elif parts[-1] == "file_stream":
            self.server.stream(parts[-2], json.loads(body))
        return {}

    do_GET = do_POST = do_PUT = _serve  # noqa: N815


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """A server that answers until the end of the block."""
    with WandbServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
