"""A small Hub on the loopback interface that unmodified clients accept, with history, permissions, LFS, xet and faults.

`huggingface_hub`, `datasets`, `transformers` and what reads ``hf://`` speak to it through ``HF_ENDPOINT``. Large files
come by LFS or by xet, whose store is a folder here: a token request that is answered with an
address ``local://`` makes hf_xet use it. Nothing is canned: what is served is what was committed.
"""

import asyncio
import contextlib
import re
import socket
import threading
from dataclasses import dataclass, field
from urllib.parse import unquote

import uvicorn
from hub_routes import LARGE, application
from hub_storage import Storage, User
from starlette.responses import HTMLResponse, JSONResponse


@dataclass
class Fault:
    """What goes wrong with requests whose method and path match, `times` times.

    `kind` is a status such as 500 or 429, ``cut`` (the connection is reset after `after` bytes of the request),
    ``lost`` (the request is carried out and the connection is reset before the answer), ``page`` (the answer is a web
    page with status 200, as the login page of a network), ``list`` (it is JSON, but an empty list) or ``held``: a
    request that has arrived raises the count of `arrived`, and is carried out when `go` is set.
    """

    pattern: str
    kind: object
    times: int = 1
    after: int = 0
    retry_after: int | None = None
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    go: threading.Event = field(default_factory=threading.Event)


@dataclass
class Hub:
    """A running test Hub: its address, what it keeps, what it was asked, and what is to go wrong."""

    storage: Storage
    url: str = ""
    requests: list = field(default_factory=list)
    received: dict = field(default_factory=dict)  # bytes of each large file that came by LFS
    faults: list = field(default_factory=list)
    tokens: dict = field(default_factory=dict)  # of the users, by name

    def user(self, name, role="write", orgs=()):
        """Make a user; their token."""
        token = f"hf_{name}{role}token"
        self.storage.users[token] = User(name, role, tuple(orgs))
        return token

    def repo(self, kind, name):
        """A repository, without a look at permissions."""
        return self.storage.repos[kind, name]

    def put(self, kind, name, files, **options):
        """Make a repository that holds files, dict of path to bytes."""
        repo = self.storage.create(kind, name, None, **options)
        entries = {path: self.storage.blob(content) for path, content in files.items()}
        for path in entries:
            if path.endswith(LARGE):
                entries[path] = self.storage.large(entries[path].sha256)
        self.storage.commit(repo, "main", entries, [], "put", "", None)
        return repo

    def bytes_of(self, kind, name, path, revision="main"):
        """Content of a file."""
        return self.storage.object(self.repo(kind, name).resolve(revision).files[path].sha256).read_bytes()


@contextlib.contextmanager
def running_hub(folder):
    """Run a Hub in a thread; yields `Hub`.

    Its users alice and bob may write to `org`, reader may only read there, and mallory has no part in it.
    """
    hub = Hub(Storage(folder))
    hub.tokens = {name: hub.user(name, orgs=["org"]) for name in ("alice", "bob")}
    hub.tokens |= {"reader": hub.user("reader", "read", orgs=["org"]), "mallory": hub.user("mallory")}
    server = uvicorn.Server(uvicorn.Config(_faulty(hub, application(hub)), log_level="error", lifespan="off"))
    # Clients may connect as soon as the socket listens, and are answered when the server runs.
    listening = socket.create_server(("127.0.0.1", 0))
    hub.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        for fault in hub.faults:
            fault.go.set()
        server.should_exit = server.force_exit = True
        thread.join()


def _faulty(hub, application):
    """Keep a list of requests, and let go wrong what shall."""

    async def run(scope, receive, send):
        line = f"{scope['method']} {unquote(scope['raw_path'].decode())}"
        fault = next((f for f in hub.faults if f.times and re.search(f.pattern, line)), None)
        transport = receive.__self__.transport
        seen = 0

        async def faulty_receive():
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if fault and fault.kind == "cut" and seen > fault.after:
                transport.abort()
                return {"type": "http.disconnect"}
            return message

        async def noted_send(message):
            if message["type"] == "http.response.start":
                hub.requests.append((line, message["status"]))
            if fault and fault.kind == "lost":
                transport.abort()
            else:
                await send(message)

        if fault:
            fault.times -= 1
            if isinstance(fault.kind, int) or fault.kind in ("page", "list"):
                while (await receive()).get("more_body"):
                    pass
                headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
                answer = HTMLResponse("<html>Log in</html>")
                if fault.kind == "list":
                    answer = JSONResponse([])
                elif fault.kind != "page":
                    answer = JSONResponse({"error": "it is broken today"}, fault.kind, headers)
                await answer(scope, receive, noted_send)
                return
        if fault and fault.kind == "held":
            fault.arrived.release()
            await asyncio.to_thread(fault.go.wait)
        with contextlib.suppress(ConnectionError):
            await application(scope, faulty_receive, noted_send)

    return run
