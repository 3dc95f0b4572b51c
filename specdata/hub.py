"""The Hub: folders by name, and what a token may do there, which is asked before the work and not after it."""

import contextlib
import hashlib
from pathlib import Path

from specdata.errors import SpecdataError, one_line
from specdata.files import file_sha256
from specdata.retries import retry_after

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


@contextlib.contextmanager
def hub_errors(what):
    """Turn an error of the Hub's client into one sentence that begins with `what`."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except HfHubHTTPError as error:
        said = error.server_message or next((line for line in str(error).splitlines() if line.strip()), "")
        code = error.response.status_code
        if code == 429:
            wait = retry_after(error.response.headers)
            hint = f"give the same command again {f'in {wait:.0f} s' if wait else 'later'}"
        else:
            hint = "give the same command again" if code >= 500 else "mend that and give the same command again"
        raise SpecdataError(f"{what}: the Hub answers {code} ({' '.join(said.split())[:200]}); {hint}") from error
    except HFValidationError as error:
        raise SpecdataError(f"{what}: is not a name of the Hub, such as ORG/NAME ({error})") from None
    except (httpx2.HTTPError, ConnectionError) as error:
        reason = one_line(error)
        raise SpecdataError(f"{what}: the Hub was not reached ({reason}); give the same command again") from error


def token_user(*, write=False):
    """Who the token belongs to.

    Parameters
    ----------
    write : bool
        Also refuse a token that only reads.

    Returns
    -------
    str
        Name of the user.

    Raises
    ------
    SpecdataError
        If there is no token, the Hub does not take it, or it only reads where `write` is set.
    """
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import HfHubHTTPError

    token = get_token()
    if token is None:
        raise SpecdataError(f"there is no token for the Hub: {LOG_IN}")
    with hub_errors("token"):
        try:
            user = HfApi().whoami(token=token)
        except HfHubHTTPError as error:
            if error.response.status_code != 401:
                raise
            raise SpecdataError(f"the Hub at {constants.ENDPOINT} does not take the token: {LOG_IN}") from None
    access = user.get("auth", {}).get("accessToken", {})
    if write and access.get("role") == "read":
        name = access.get("displayName", "in use")
        raise SpecdataError(
            f"the token {name!r} of {user['name']} only reads: make one with the role write on "
            f"{constants.ENDPOINT}/settings/tokens and {LOG_IN}"
        )
    return user["name"]


def check_access(name, repo_type="model"):
    """Check that a repository is there and may be downloaded from, as a gated base model may not by everybody.

    Parameters
    ----------
    name : str
        A Hub name; of a local folder nothing is asked.
    repo_type : {"model", "dataset"}

    Raises
    ------
    SpecdataError
        If it is not there, or is gated and the token has no access.
    """
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
    from huggingface_hub.utils import validate_repo_id

    if Path(name).is_dir():
        return
    with hub_errors(name):
        validate_repo_id(name)
        try:
            HfApi().auth_check(name, repo_type=repo_type)
        except GatedRepoError:
            kind = "" if repo_type == "model" else f"{repo_type}s/"
            who = "the token has no access" if get_token() else f"there is no token: {LOG_IN}"
            raise SpecdataError(
                f"{name}: is gated, and {who}; ask for access on {constants.ENDPOINT}/{kind}{name}"
            ) from None
        except RepositoryNotFoundError:
            hint = "check the name" if get_token() else f"check the name, or {LOG_IN}"
            raise SpecdataError(
                f"{name}: no such folder, and no {repo_type} on the Hub that may be read; {hint}"
            ) from None


def check_write(repo, repo_type):
    """Check that a repository may be written to, or made where there is none.

    Parameters
    ----------
    repo : str
        ``ORG/NAME``.
    repo_type : {"model", "dataset"}

    Returns
    -------
    bool
        Whether it is there.

    Raises
    ------
    SpecdataError
        If the token may not, or the name is taken by a repository of another kind.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    user = token_user(write=True)
    with hub_errors(repo):
        try:
            HfApi().auth_check(repo, repo_type=repo_type, write=True)
            return True
        except RepositoryNotFoundError:
            pass
        except HfHubHTTPError as error:
            if error.response.status_code != 403:
                raise
            raise SpecdataError(
                f"{repo}: the token of {user} may not write there; ask its owner for the role write, give the token "
                "that right, or choose another --repo"
            ) from None
        for other in ("model", "dataset", "space"):
            if other != repo_type and HfApi().repo_exists(repo, repo_type=other):
                raise SpecdataError(f"{repo}: is a {other} on the Hub, and no {repo_type}; choose another --repo")
    return False


def preflight(names, *, repo=None, repo_type="model"):
    """Check everything of the Hub that a training or a publication will need.

    Parameters
    ----------
    names : iterable of str
        Recipes of `trl sft`, whose models and data sets are checked, and names of models.
    repo : str, optional
        Repository that will be published to.
    repo_type : {"model", "dataset"}

    Returns
    -------
    list of (str, str)
        What was checked, and what was found.

    Raises
    ------
    SpecdataError
        For the first that is not as it must be.
    """
    from huggingface_hub import get_token

    found = []
    if get_token() is not None:
        found.append(("token", f"of {token_user(write=repo is not None)}"))
    for kind, name in [need for item in names for need in _needs(item)]:
        check_access(name, kind)
        found.append((kind, f"{name}: {'a local folder' if Path(name).is_dir() else 'access'}"))
    if repo is not None:
        there = check_write(repo, repo_type)
        found.append(("repository", f"{repo}: {'may be written to' if there else 'is free'}"))
    return found


def _needs(item):
    """What a recipe needs of the Hub, or the model of that name: pairs of kind and name."""
    import yaml

    from specdata.files import find_recipe

    path = Path(item)
    if path.suffix not in (".yaml", ".yml"):
        try:
            path = find_recipe(item)
        except SpecdataError:
            return [("model", item)]
    try:
        content = yaml.safe_load(find_recipe(path).read_text(encoding="utf-8"))
        sets = [content.get("dataset_name"), *(part.get("path") for part in content.get("datasets") or [])]
        return [("model", content["model_name_or_path"]), *(("dataset", name) for name in sets if name)]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, KeyError, TypeError):
        raise SpecdataError(f"{item}: is not a recipe of trl sft, which names a model_name_or_path") from None


def local_folder(name, repo_type):
    """Path of a folder, downloaded from the Hub if `name` is not a local one.

    Raises
    ------
    SpecdataError
        If it is neither here nor on the Hub.
    """
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        # A LoRA adapter or a data set; a base model is left to transformers.
        return Path(snapshot_download(str(name), repo_type=repo_type))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        if isinstance(error, RepositoryNotFoundError):  # or one that is gated: say what would help
            check_access(str(name), repo_type)
        reason = one_line(error)
        raise SpecdataError(f"{name}: no such folder, and not to be had from the Hub ({reason})") from None


def public_name(name):
    """A Hub name as it is; of a local path the last part only, for the folders above it are nobody's business."""
    return Path(name).resolve().name if Path(name).exists() else str(name)


def weights_revision(folder):
    """SHA-256 over the weight files of a local model or adapter folder.

    Raises
    ------
    SpecdataError
        If there are none.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise SpecdataError(f"{folder}: holds no *.safetensors; give a folder with the weights of a model or adapter")
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()
