"""Packages that a plain ``pip install specdata`` leaves out, asked for before any work or network access."""

import importlib.util

from specdata.errors import SpecdataError


def need(extra, *modules, what) -> None:
    """Refuse to go on where a package of an extra is not installed.

    Parameters
    ----------
    extra : str
        Of ``pip install 'specdata[EXTRA]'``.
    *modules : str
        Names to import.
    what : str
        What needs them, for the sentence.

    Raises
    ------
    SpecdataError
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        are = "are" if len(missing) > 1 else "is"
        raise SpecdataError(
            f"{', '.join(missing)} {are} not installed, which {what} needs: pip install 'specdata[{extra}]'"
        )


def need_model(what) -> None:
    """Refuse to go on where torch, transformers or peft is not installed; see `need`."""
    need("eval", "torch", "transformers", "peft", what=what)
