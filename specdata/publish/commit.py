"""One commit that holds everything that changed, or none; and the tag that names it.

`upload_folder` of the client makes a commit every few files, between which readers would see half of a data set, and
does not look at what others commit. Here all large files go first, which nobody sees; then one commit names them.
"""

import fnmatch
import time
import warnings
from dataclasses import dataclass

from specdata.errors import SpecdataError, one_line
from specdata.hub import hub_errors
from specdata.retries import LONGEST_WAIT, retry_after

_TRIES = 5
_PASSING = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class State:
    """A repository as it is: its last commit, None if there is no repository, its files and its tags.

    `files` holds for each path whether it is a large file, and the SHA-256 of a large one or git's name of another.
    """

    head: str | None
    files: dict
    tags: dict
    private: bool


@dataclass(frozen=True)
class Changes:
    """What a commit has to do: uploads that are new or changed, uploads that are there already, paths to take away."""

    added: list
    changed: list
    same: list
    removed: list

    def __bool__(self):
        return bool(self.added or self.changed or self.removed)


def read_state(repo, repo_type, revision="main"):
    """Ask the Hub what a repository holds; `State`."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    api = HfApi()
    with hub_errors(repo):
        try:
            info = api.repo_info(repo, repo_type=repo_type, revision=revision)
        except RepositoryNotFoundError:
            return State(None, {}, {}, False)
        tree = api.list_repo_tree(repo, repo_type=repo_type, revision=info.sha, recursive=True)
        files = {
            item.path: (True, item.lfs.sha256) if item.lfs else (False, item.blob_id)
            for item in tree
            if isinstance(item, RepoFile)
        }
        tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(repo, repo_type=repo_type).tags}
    return State(info.sha, files, tags, bool(info.private))


def compare(uploads, state, owns):
    """What is to be done so that a repository holds the uploads; `Changes`.

    Parameters
    ----------
    uploads : list of specdata.publish.contents.Upload
    state : State
    owns : sequence of str
        Patterns of files that are taken away where no upload has their path.
    """
    added, changed, same = [], [], []
    for upload in uploads:
        large, oid = state.files.get(upload.path, (None, None))
        if oid is None:
            added.append(upload)
        else:
            (same if oid == (upload.sha256 if large else upload.git_oid) else changed).append(upload)
    paths = {upload.path for upload in uploads}
    stale = [p for p in state.files if p not in paths and any(fnmatch.fnmatch(p, pattern) for pattern in owns)]
    return Changes(added, changed, same, stale)


def check_owner(repo, state, marker):
    """Refuse a repository that holds something else than an earlier state of what we publish."""
    others = [p for p in state.files if p not in (".gitattributes", "README.md") and not p.startswith("LICENSE")]
    if others and marker not in state.files:
        raise SpecdataError(
            f"{repo}: holds {others[0]} and no {marker}, so it was not published by specdata; choose another --repo"
        )


def check_tag(repo, state, changes, tag):
    """Refuse a tag that names another state: what was published under a name stays that."""
    if tag in state.tags and (changes or state.tags[tag] != state.head):
        raise SpecdataError(
            f"{repo}: the tag {tag} is there already and names commit {state.tags[tag][:7]}, with other content; a tag "
            "is never moved, so choose another --tag"
        )


def make_repository(repo, repo_type, private):
    """Make the repository, which is empty until the one commit; its `State`."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    with hub_errors(repo):
        try:
            HfApi().create_repo(repo, repo_type=repo_type, private=private or None, exist_ok=True)
        except HfHubHTTPError as error:
            if error.response.status_code != 403:
                raise
            space = repo.partition("/")[0]
            raise SpecdataError(
                f"{repo}: the token may not make a repository of {space}; ask {space} for the role write, or choose "
                "another --repo"
            ) from None
    return read_state(repo, repo_type)


def commit(repo, repo_type, uploads, changes, state, message, owns):
    """Send what changed, and make it visible in one commit on top of the state that was compared with.

    Large files go first, and what has arrived is not sent again; until the commit nobody sees any of it. The Hub takes
    the commit only if no other came in between.

    Returns
    -------
    str
        The commit that holds all uploads.

    Raises
    ------
    SpecdataError
        If somebody else published meanwhile, or the Hub is not to be reached for longer.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    sources = [
        (u.path, u.source if isinstance(u.source, bytes) else str(u.source)) for u in changes.added + changes.changed
    ]
    operations = [CommitOperationAdd(path, source) for path, source in sources]
    operations += [CommitOperationDelete(path) for path in changes.removed]
    for attempt in range(1, _TRIES + 1):
        wait = 2**attempt / 2
        try:
            with warnings.catch_warnings():
                # Of the predictions that lie beside an adapter the client thinks that they belong elsewhere.
                warnings.filterwarnings("ignore", "It seems that you are about to commit a data file", UserWarning)
                options = {"commit_message": message, "parent_commit": state.head}
                made = HfApi().create_commit(repo, operations, repo_type=repo_type, **options).oid
            break
        except Exception as error:  # of the client, of the transport, of hf_xet
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status == 412 or status is None or status in _PASSING:
                # The commit may be there, only its answer was lost; or another one is.
                found = _published(repo, repo_type, uploads, state, owns)
                if found:
                    return found
            if status == 429:
                wait = retry_after(error.response.headers, wait)
            if attempt == _TRIES or wait > LONGEST_WAIT or not _may_pass(error, status):
                _give_up(repo, error)
        time.sleep(wait)
    missing = compare(uploads, read_state(repo, repo_type, made), owns)
    if missing:
        first = [*(upload.path for upload in missing.added + missing.changed), *missing.removed][0]
        raise SpecdataError(
            f"{repo}: commit {made[:7]} is not what was sent, for {first} is not as it is here; look for a .gitignore "
            "in the repository"
        )
    return made


def _may_pass(error, status):
    """Whether another try may help: the Hub was busy, or the connection broke."""
    import httpx2

    return status in _PASSING or isinstance(error, (httpx2.TransportError, ConnectionError))


def _published(repo, repo_type, uploads, state, owns):
    """The last commit if it holds all that was to go up; None if nothing has changed; otherwise somebody won."""
    try:
        now = read_state(repo, repo_type)
    except SpecdataError:
        return None
    if now.head == state.head:
        return None
    if not compare(uploads, now, owns):
        return now.head
    raise SpecdataError(
        f"{repo}: somebody else published there meanwhile (commit {now.head[:7]}), and nothing of yours was mixed into "
        "it; look at it, and give the same command again to publish on top"
    )


def _give_up(repo, error):
    """Say what stopped an upload, and that it goes on."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    with hub_errors(repo):
        if isinstance(error, (HfHubHTTPError, httpx2.HTTPError, ConnectionError)):
            raise error
    if isinstance(error, (RuntimeError, OSError)):
        cause = error.__cause__ or error
        reason = one_line(cause)
        raise SpecdataError(
            f"{repo}: the upload stopped ({reason}), and nothing of it is visible; give the same command again to go on"
        ) from error
    raise error


def name_commit(repo, repo_type, oid, tag):
    """Give a commit its tag, if it has not got it."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    with hub_errors(repo):
        try:
            HfApi().create_tag(repo, tag=tag, revision=oid, repo_type=repo_type)
        except HfHubHTTPError as error:
            if error.response.status_code != 409:
                raise
            named = {t.name: t.target_commit for t in HfApi().list_repo_refs(repo, repo_type=repo_type).tags}
            if named.get(tag) != oid:
                raise SpecdataError(
                    f"{repo}: somebody else took the tag {tag} meanwhile; all is published, give it another --tag"
                ) from None
