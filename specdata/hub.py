"""The Hub: folders by name, and what a token may do there, which is asked before the work and not after it."""

import contextlib
import errno
import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from specdata.errors import SpecdataError, one_line
from specdata.files import file_sha256, find_recipe, read_recipe, shipped
from specdata.inputs import read_json
from specdata.retries import retry_after

ANSWER, CONNECT = 60.0, 10.0  # s that the Hub may take for a piece of an answer, and for a connection
QUIET = 10.0  # s after which it is said that there is no answer yet
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
_HUB_NAME = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)


def check_hub_name(name, what, option) -> None:
    """Refuse a local name where one of the Hub has to stand."""
    if not _HUB_NAME.fullmatch(name):
        raise SpecdataError(f"{what} {name!r} is not a name of the Hub: give {option} ORG/NAME")


def limit_waits() -> None:
    """Let the Hub's client give up after `ANSWER` and `CONNECT` seconds, and refuse web pages in place of answers.

    By default it waits for ever and in silence, and takes the login page of a network for an answer of the Hub. A token
    that no header may hold is refused, too.
    """
    import httpx2
    from huggingface_hub import get_session, get_token, set_client_factory

    token = get_token() or ""
    if not (token.isascii() and token.isprintable()):
        raise SpecdataError(f"the token for the Hub holds a character that no token has: {LOG_IN}")

    def refuse_page(response):
        if "/api/" in str(response.url) and "text/html" in response.headers.get("Content-Type", ""):
            raise httpx2.DecodingError("a web page came in place of the answer", request=response.request)

    class Client(httpx2.Client):
        def send(self, request, **options):
            said = f"specdata: no answer from {request.url.host} yet"
            waiting = threading.Timer(QUIET, tqdm.write, [said], {"file": sys.stderr})
            waiting.daemon = True
            waiting.start()
            asked = request.extensions.get("timeout", {})  # such as None for ever, which HfApi.repo_info asks for
            most = self.timeout.as_dict()
            request.extensions["timeout"] = {name: asked.get(name) or most[name] for name in most}
            try:
                return super().send(request, **options)
            finally:
                waiting.cancel()

    now = get_session()
    if now.timeout == httpx2.Timeout(None):  # otherwise the user has set a client of their own
        hooks = now.event_hooks | {"response": [*now.event_hooks["response"], refuse_page]}
        options = {"event_hooks": hooks, "follow_redirects": True}
        set_client_factory(lambda: Client(**options, timeout=httpx2.Timeout(ANSWER, connect=CONNECT)))


@contextlib.contextmanager
def hub_errors(what) -> Iterator[None]:
    """Turn an error of the Hub's client into one sentence that begins with `what`."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    limit_waits()
    try:
        yield
    except HfHubHTTPError as error:
        said = error.server_message or next((line for line in str(error).splitlines() if line.strip()), "")
        code, wait = error.response.status_code, retry_after(error.response.headers)
        hint = "give the same command again" if code == 429 or code >= 500 else "mend that and give the command again"
        if code == 429:
            hint += f" in {wait:.0f} s" if wait else " later"
        raise SpecdataError(f"{what}: the Hub answers {code} ({' '.join(said.split())[:200]}); {hint}") from error
    except HFValidationError as error:
        raise SpecdataError(f"{what}: is not a name of the Hub, such as ORG/NAME ({one_line(error)})") from None
    except (httpx2.DecodingError, json.JSONDecodeError, AttributeError, LookupError, TypeError) as error:
        # The client raises the last three where the answer is JSON of another kind.
        raise SpecdataError(
            f"{what}: what answers is not the Hub ({one_line(error)}); log in to your network if it asks for that, or "
            "mend HF_ENDPOINT, and give the same command again"
        ) from error
    except (httpx2.HTTPError, ConnectionError) as error:
        raise SpecdataError(
            f"{what}: the Hub was not reached ({one_line(error)}); give the same command again"
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise SpecdataError(
            f"{what}: the disk is full ({one_line(error)}); make room, or set HF_HOME to another disk, and give the "
            "same command again"
        ) from error


def token_user(*, write=False) -> str:
    """Name of the user to whom the token belongs.

    It is an error if there is none, the Hub does not accept it, or it may only read where `write` is set.
    """
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import HfHubHTTPError

    token = get_token()
    if token is None:
        raise SpecdataError(f"there is no token for the Hub: {LOG_IN}")
    with hub_errors("token"):
        try:
            user = HfApi().whoami(token=token)
            name, access = user["name"], user.get("auth", {}).get("accessToken", {})
            may_only_read = access.get("role") == "read"
        except HfHubHTTPError as error:
            if error.response.status_code != 401:
                raise
            raise SpecdataError(f"the Hub at {constants.ENDPOINT} does not accept the token: {LOG_IN}") from None
    if write and may_only_read:
        raise SpecdataError(
            f"the token {access.get('displayName', 'in use')!r} of {name} may only read: make one with the "
            f"role write on {constants.ENDPOINT}/settings/tokens and {LOG_IN}"
        )
    return name


def check_access(name, repo_type="model", *, what=None) -> None:
    """Check that a repository exists and may be downloaded from; a gated base model may not by everybody.

    Parameters
    ----------
    name : str
        A Hub name; of a local folder nothing is asked.
    repo_type : {"model", "dataset"}
    what : str, optional
        What sentences about the Hub itself begin with; by default the name.
    """
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
    from huggingface_hub.utils import validate_repo_id

    if Path(name).is_dir():
        return
    with hub_errors(what or name):
        validate_repo_id(name)
        try:
            HfApi().auth_check(name, repo_type=repo_type)
            return
        except GatedRepoError:
            who = "the token has no access" if get_token() else f"there is no token: {LOG_IN}"
            page = f"{constants.ENDPOINT}/{'' if repo_type == 'model' else 'datasets/'}{name}"
            said = f"is gated, and {who}; ask for access on {page}"
        except RepositoryNotFoundError:
            hint = "check the name" if get_token() else f"check the name, or {LOG_IN}"
            said = f"no such folder, and no {repo_type} on the Hub that may be read; {hint}"
    raise SpecdataError(f"{name}: {said}")


def check_write(repo, repo_type) -> bool:
    """Check that the token may write to a repository, or make it, and return whether the repository exists.

    It is also an error if a repository of another kind has that name.
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
        for other in {"model", "dataset", "space"} - {repo_type}:
            if HfApi().repo_exists(repo, repo_type=other):
                raise SpecdataError(f"{repo}: is a {other} on the Hub, not a {repo_type}; choose another --repo")
    return False


def preflight(names, *, repo=None, repo_type="model") -> list:
    """Check everything of the Hub that a training or a publication will need.

    Parameters
    ----------
    names : iterable of str
        Recipes of `trl sft`, whose models and data sets are checked, and names of models.
    repo : str, optional
        Repository that will be published to, and its `repo_type`, ``model`` or ``dataset``.

    Returns
    -------
    list of (str, str)
        What was checked, and what was found.

    Raises
    ------
    SpecdataError
        For the first requirement that is not met.
    """
    from huggingface_hub import get_token

    found = [] if get_token() is None else [("token", f"of {token_user(write=repo is not None)}")]
    for kind, name in [need for item in names for need in _needs(item)]:
        check_access(name, kind)
        found.append((kind, f"{name}: {'a local folder' if Path(name).is_dir() else 'access'}"))
    if repo is not None:
        found.append(("repository", f"{repo}: {'may be written to' if check_write(repo, repo_type) else 'is free'}"))
    return found


def _needs(item):
    """Kind and name of everything that a recipe needs of the Hub; any other name is taken for that of a model."""
    try:
        path = find_recipe(item)
    except SpecdataError:
        if Path(item).suffix in (".yaml", ".yml"):
            raise
        return [("model", item)]
    content = read_recipe(path)
    try:
        sets = [content.get("dataset_name"), *(part.get("path") for part in content.get("datasets") or [])]
        return [("model", content["model_name_or_path"]), *(("dataset", name) for name in sets if name)]
    except (AttributeError, KeyError, TypeError):
        raise SpecdataError(f"{item}: is not a recipe of trl sft, which names a model_name_or_path") from None


def check_there(name, repo_type="model", file=None) -> None:
    """Refuse at once a name of which there is neither a folder, nor a copy of `file` on this disk, nor a repository.

    The clients of the Hub would first try to reach it for half a minute, and then report an error of the network.
    """
    from huggingface_hub import try_to_load_from_cache

    file = file or ("config.json" if repo_type == "model" else "manifest.json")
    what = f"{name} (no such folder here)"
    if Path(name).is_dir():
        return
    with hub_errors(what):
        known = try_to_load_from_cache(str(name), file, repo_type=repo_type)
    if not isinstance(known, str):
        check_access(str(name), repo_type, what=what)


def local_folder(name, repo_type) -> Path:
    """Path of a folder of that name, or of an adapter that comes with this package, or of a download from the Hub.

    Raises
    ------
    SpecdataError
        If there is neither, the token may not download it, or the disk is full.
    """
    if Path(name).is_dir():
        return Path(name)
    if repo_type == "model" and Path(name).name == str(name) and shipped(f"adapters/{name}").is_dir():
        return shipped(f"adapters/{name}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    name = str(name)
    if not _HUB_NAME.fullmatch(name):
        raise SpecdataError(f"{name}: no such folder, and not a name of the Hub, such as ORG/NAME; check the name")
    with hub_errors(name):
        try:
            # A LoRA adapter or a data set; a base model is left to transformers.
            return Path(snapshot_download(name, repo_type=repo_type))
        except (HfHubHTTPError, LocalEntryNotFoundError, RuntimeError) as error:  # hf_xet raises RuntimeError
            if isinstance(error, HfHubHTTPError):  # not there, or gated: say what would help
                check_access(name, repo_type)
            raise SpecdataError(f"{name}: no such folder, and no download from the Hub ({one_line(error)})") from None


def public_name(name) -> str:
    """A Hub name as it is; of a local path only the last part, for the folders above it concern nobody else."""
    return Path(name).resolve().name if Path(name).exists() else str(name)


def weight_files(folder) -> list[Path]:
    """Weight files of a local model or adapter folder, in order.

    Raises
    ------
    SpecdataError
        If there are none, or only pickles, which are never loaded.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    if files:
        return files
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in Path(folder).glob(pattern))
    if pickles:
        raise SpecdataError(
            f"{folder}: holds its weights as {pickles[0]}, a pickle, which may run any code; save them as safetensors"
        )
    raise SpecdataError(f"{folder}: holds no *.safetensors; give a folder with the weights of a model or adapter")


def weights_revision(folder) -> str:
    """SHA-256 over the weight files of a local model or adapter folder and, of an adapter, over its config.

    The config's base model is left out, for it is a folder here and a name on the Hub; all else in it, such as
    `lora_alpha`, changes what the adapter answers. Errors as of `weight_files`, and if the config is not JSON.
    """
    parts = [file_sha256(file) for file in weight_files(folder)]
    config = Path(folder) / "adapter_config.json"
    if config.is_file():
        try:
            content = dict(read_json(config))
        except (OSError, ValueError, TypeError) as error:
            raise SpecdataError(f"{folder}: its {config.name} is not that of an adapter ({one_line(error)})") from None
        content.pop("base_model_name_or_path", None)
        parts.append(json.dumps(content, sort_keys=True))
    return hashlib.sha256("".join(parts).encode()).hexdigest()
