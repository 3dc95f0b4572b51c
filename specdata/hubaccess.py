"""Whether a repository of the Hub may be read, such as a gated base model. Asked before the work, not after it."""

import contextlib
from pathlib import Path

from specdata.errors import SpecdataError

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


@contextlib.contextmanager
def hub_errors(what):
    """Turn an error of the Hub's client into one sentence that begins with `what`."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise SpecdataError(f"{what}: not to be had from the Hub ({reason})") from error


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
    from huggingface_hub import auth_check, constants, get_token
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if Path(name).is_dir():
        return
    with hub_errors(name):
        try:
            auth_check(name, repo_type=repo_type)
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
