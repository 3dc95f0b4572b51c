"""What the test Hub keeps: repositories with their commits, branches, tags and large files, users and collections."""

import hashlib
import os
import shutil
import struct
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

XET_SEGMENT = 48  # bytes of an entry in a shard of the xet store


class HubError(Exception):
    """An answer that is no success: status, `X-Error-Code` and `X-Error-Message`."""

    def __init__(self, status, message, code=None, **headers):
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers


@dataclass(frozen=True)
class User:
    """Who a token belongs to; its role is read or write."""

    name: str
    role: str = "write"
    orgs: tuple = ()


@dataclass(frozen=True)
class Entry:
    """A file in a commit. `oid` is git's name of it, or of the pointer to a large one."""

    size: int
    sha256: str
    oid: str
    lfs: bool
    xet: str | None = None


@dataclass(frozen=True)
class Commit:
    """A state of a repository."""

    sha: str
    parent: str | None
    files: dict
    title: str
    message: str
    author: str
    date: str


@dataclass
class Repo:
    """A repository; who may read it is said by `private` and `gated`, with the users that were let in."""

    kind: str
    name: str
    private: bool = False
    gated: bool = False
    admitted: set = field(default_factory=set)
    commits: dict = field(default_factory=dict)
    branches: dict = field(default_factory=dict)
    tags: dict = field(default_factory=dict)

    def history(self, revision="main"):
        """Commits from a revision back to the first."""
        found, sha = [], self.resolve(revision).sha
        while sha:
            found.append(self.commits[sha])
            sha = found[-1].parent
        return found

    def resolve(self, revision):
        """The `Commit` that a branch, a tag or a hash names."""
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        if sha not in self.commits:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[sha]


class Storage:
    """Everything of a Hub, its large files in a folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        for name in ("objects", "xet", "parts"):
            (self.folder / name).mkdir(parents=True)
        self.users, self.repos, self.collections = {}, {}, {}
        self.lock, self.views = threading.RLock(), 0

    # Repositories

    def create(self, kind, name, user, *, private=False, gated=False):
        """Make a repository with a first commit, as the Hub does."""
        with self.lock:
            if (kind, name) in self.repos:
                raise HubError(409, "You already created this repository")
            if user is not None and name.partition("/")[0] not in (user.name, *user.orgs):
                raise HubError(403, "You don't have the rights to create a repository under this namespace")
            repo = self.repos[kind, name] = Repo(kind, name, private, gated)
            attributes = (
                b"*.parquet filter=lfs diff=lfs merge=lfs -text\n*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
            )
            self.commit(repo, "main", {".gitattributes": self.blob(attributes)}, [], "initial commit", "", user)
            return repo

    def blob(self, content):
        """Store a small file; its `Entry`."""
        sha256 = hashlib.sha256(content).hexdigest()
        self.object(sha256).write_bytes(content)
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return Entry(len(content), sha256, oid, lfs=False)

    def large(self, sha256):
        """The `Entry` of a large file that was uploaded, by LFS or into the xet store; None if it was not."""
        xet = None
        if not self.object(sha256).is_file():
            xet = self._from_xet(sha256)
            if xet is None:
                return None
        size = self.object(sha256).stat().st_size
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        oid = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()
        mark = self.folder / "objects" / f"{sha256}.xet"
        if xet:
            mark.write_text(xet)
        return Entry(size, sha256, oid, lfs=True, xet=mark.read_text() if mark.is_file() else None)

    def object(self, sha256):
        """Where the bytes of a file are."""
        return self.folder / "objects" / sha256

    def commit(self, repo, branch, added, deleted, title, message, user, parent=None):
        """Add a commit to a branch, if that still ends in `parent`."""
        with self.lock:
            head = repo.branches.get(branch)
            if parent is not None and parent != head:
                raise HubError(412, "A commit has happened since. Please refresh and try again.")
            files = dict(repo.commits[head].files) if head else {}
            for path in deleted:
                if path not in files and not any(name.startswith(f"{path.rstrip('/')}/") for name in files):
                    raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
                files = {
                    name: entry
                    for name, entry in files.items()
                    if name != path and not name.startswith(f"{path.rstrip('/')}/")
                }
            files |= added
            date = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
            state = repr((head, sorted(files.items()), title, message, date, len(repo.commits)))
            sha = hashlib.sha1(state.encode()).hexdigest()
            author = user.name if user else "system"
            repo.commits[sha] = Commit(sha, head, dict(sorted(files.items())), title, message, author, date)
            repo.branches[branch] = sha
            return repo.commits[sha]

    # The xet store: a folder that one client at a time writes into, and a view of it for everybody who reads

    def xet_folder(self):
        """Folder that a client writes chunks into."""
        return self.folder / "xet"

    def xet_view(self):
        """The store as it is now, in a folder of its own, for its index lets one process in at a time."""
        with self.lock:
            self.views += 1
            view = self.folder / "views" / str(self.views)
            for path in self.folder.glob("xet/xet/xorbs/**/*"):
                target = view / path.relative_to(self.folder / "xet")
                if path.is_file():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    (shutil.copyfile if path.suffix == ".redb" else os.link)(path, target)
            return view

    def _from_xet(self, sha256):
        """Put a file that the xet store has together; its xet hash, or None."""
        import hf_xet

        known = {}
        for path in self.folder.glob("xet/xet/xorbs/shards/*.mdb"):
            known |= _shard_files(path.read_bytes())
        if sha256 not in known:
            return None
        token = {"token": "server", "token_expiry_unix_secs": int(time.time()) + 3600}
        partial = self.folder / "parts" / sha256
        with hf_xet.XetSession().new_file_download_group(endpoint=f"local://{self.xet_view()}", **token) as group:
            group.start_download_file(hf_xet.XetFileInfo(known[sha256][0], known[sha256][1]), str(partial))
        assert hashlib.sha256(partial.read_bytes()).hexdigest() == sha256
        partial.rename(self.object(sha256))
        return known[sha256][0]


def _shard_files(content):
    """The files that a shard of the xet store describes: SHA-256 to xet hash and size."""
    found, at = {}, 48
    while content[at : at + 32] != b"\xff" * 32:
        name, (flags, count) = content[at : at + 32], struct.unpack("<II", content[at + 32 : at + 40])
        at += XET_SEGMENT
        size = sum(struct.unpack("<I", content[at + i * 48 + 36 : at + i * 48 + 40])[0] for i in range(count))
        at += XET_SEGMENT * count * (1 + (flags >> 31))
        if flags >> 30 & 1:
            found[_hex(content[at : at + 32])] = (_hex(name), size)
            at += XET_SEGMENT
    return found


def _hex(content):
    """A hash as the xet store writes it: four little-endian numbers."""
    return "".join(f"{part:016x}" for part in struct.unpack("<4Q", content))
