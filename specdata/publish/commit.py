"""One commit that holds everything, or none, and a collection that shows it.

`upload_folder` of the client makes a commit every few files, between which readers would see half of a data set, and
it does not notice what others commit meanwhile. `create_commit` sends the large files first, which nobody sees, skips
files that have not changed, and makes no commit where nothing has.
"""

import fnmatch
import sys
import time
import warnings
from dataclasses import dataclass, field

from tqdm import tqdm

from specdata.errors import SpecdataError, one_line
from specdata.hub import hub_errors
from specdata.retries import LONGEST_WAIT, retry_after

_WAITS = (1, 4, 16, None)  # seconds after each try, None after the last


@dataclass(frozen=True)
class Repository:
    """What the Hub holds under a name and on a branch: its last commit, files, and tags.

    `head` is None if there is no such repository or branch; `exists` tells which.
    """

    name: str
    kind: str  # "model" or "dataset", as the Hub calls it
    head: str | None = None
    files: frozenset = frozenset()
    tags: dict = field(default_factory=dict)
    private: bool = False
    branch: str = "main"
    exists: bool = False


def read_repository(name, kind, branch="main") -> Repository:
    """Ask the Hub what it holds under a name; of a branch that is not there yet, what it would begin with."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    with hub_errors(name):
        try:
            refs = HfApi().list_repo_refs(name, repo_type=kind)
        except RepositoryNotFoundError:
            return Repository(name, kind, branch=branch)
        begun = any(found.name == branch for found in refs.branches)
        info = HfApi().repo_info(name, repo_type=kind, revision=branch if begun else None)
    tags, files = {tag.name: tag.target_commit for tag in refs.tags}, frozenset(f.rfilename for f in info.siblings)
    return Repository(name, kind, info.sha if begun else None, files, tags, info.private, branch, exists=True)


def outdated(files, uploads, owned) -> list:
    """Files of a repository that an earlier publication left there and this one does not have, in order."""
    return sorted(path for path in set(files) - set(uploads) if any(fnmatch.fnmatch(path, own) for own in owned))


def commit(repository, uploads, message, owned, *, as_pull_request=False) -> tuple[str, str | None]:
    """Publish files in one commit on top of the state that was looked at.

    Parameters
    ----------
    repository : Repository
    uploads : dict of str to (bytes or Path)
        Content by path in the repository. What has arrived of large files is not sent again by a later try.
    message : str
    owned : sequence of str
        Patterns of files that are removed unless `uploads` has them.
    as_pull_request : bool
        Open a pull request with the commit, and leave the branch as it is.

    Returns
    -------
    oid : str
        The commit that holds all uploads; the last one there is, if nothing has changed.
    pull_request : str or None
        Address of the pull request, if one was made.
    """
    import httpx2
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api, name, kind, branch = HfApi(), repository.name, repository.kind, repository.branch
    for wait in _WAITS:
        try:
            with hub_errors(name), warnings.catch_warnings():
                # The client thinks that Parquet files belong into data sets; the predictions lie beside their adapter.
                warnings.filterwarnings("ignore", "It seems that you are about to commit a data file", UserWarning)
                # Files are listed anew in each try: where only the answer to a commit was lost, nothing is left to do.
                operations = [CommitOperationAdd(path, content) for path, content in uploads.items()]
                present = api.list_repo_files(name, repo_type=kind, revision=branch)
                operations += [CommitOperationDelete(path) for path in outdated(present, uploads, owned)]
                options = {"commit_message": message, "parent_commit": repository.head, "revision": branch}
                done = api.create_commit(name, operations, repo_type=kind, create_pr=as_pull_request, **options)
                made = done.oid
                missing = sorted(set(uploads) - set(api.list_repo_files(name, repo_type=kind, revision=made)))
            break
        except SpecdataError as error:
            answer = getattr(error.__cause__, "response", None)
            status = answer.status_code if answer is not None else None
            if status == 412:
                raise SpecdataError(
                    f"{name}: somebody else published there meanwhile, and nothing of yours was mixed into it; look at "
                    "it, and give the same command again to publish on top"
                ) from None
            broken = isinstance(error.__cause__, (httpx2.TransportError, ConnectionError))
            # A pull request whose answer was lost may be there: another try would open a second one.
            if wait is None or as_pull_request or not (broken or status in (429, 500, 502, 503, 504)):
                raise
            if status == 429 and (wait := retry_after(answer.headers, wait)) > LONGEST_WAIT:
                raise
        except (RuntimeError, OSError, ValueError) as error:  # from hf_xet or a thread, or an answer that is no JSON
            raise SpecdataError(
                f"{name}: the upload stopped ({one_line(error.__cause__ or error)}), and nothing of it is visible; "
                "give the same command again to go on"
            ) from error
        tqdm.write(f"specdata: no answer to the commit; the next try is in {wait:.0f} s", file=sys.stderr)
        time.sleep(wait)
    if missing:
        raise SpecdataError(f"{name}: commit {made[:7]} lacks {missing[0]}; remove the .gitignore of the repository")
    return made, done.pr_url


def add_to_collection(title, owner, items, *, private=False) -> str:
    """Put repositories and papers, pairs of name and kind, into a collection on the Hub; its address.

    The title is that of a collection of `owner`, which is made if there is none, or a collection's name with its slash.
    """
    from huggingface_hub import HfApi, constants

    api, slug = HfApi(), title
    with hub_errors(f"collection {title}"):
        if "/" not in title:
            slugs = [found.slug for found in api.list_collections(owner=owner) if found.title == title]
            text = "Spectra as text for language models: the data, the adapters trained on it, and the paper."
            options = {"namespace": owner, "description": text, "private": private}
            slug = slugs[0] if slugs else api.create_collection(title, **options).slug
        for name, kind in items:
            api.add_collection_item(slug, name, kind, exists_ok=True)
    return f"{constants.ENDPOINT}/collections/{slug}"
