"""Cards are Jinja templates; a value that a template wants and does not get is an error."""

import functools
import importlib.metadata
import math
from pathlib import Path

import jinja2

from specdata.errors import SpecdataError
from specdata.files import shipped
from specdata.hub import check_access, hub_errors


def render(template, **values) -> str:
    """Fill a card template of ``cards/``.

    Parameters
    ----------
    template : str
        File name, such as ``dataset.md``.
    **values
        What the template names.

    Returns
    -------
    str

    Raises
    ------
    SpecdataError
        If a value is missing, None or not a finite number: a card never has a placeholder.
    """
    try:
        return _environment(shipped("cards")).get_template(template).render(**values)
    except (jinja2.UndefinedError, TypeError, ValueError) as error:  # a number's format of None is a TypeError
        raise SpecdataError(f"card {template}: {error}; a card with a missing value is not written") from None


@functools.cache
def _environment(folder):
    """What knows the templates of a folder, and compiles each once, which takes most of the time of a small card."""

    def present(value):
        if value is None or isinstance(value, jinja2.Undefined):
            raise jinja2.UndefinedError("a value is missing")
        if isinstance(value, float) and not math.isfinite(value):
            raise jinja2.UndefinedError(f"a value is {value}")
        return value

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        finalize=present,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, not HTML
    )


def project_url() -> str | None:
    """Address of this project as the metadata of the installed package states it, None if it states none."""
    try:
        stated = importlib.metadata.metadata("specdata").get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    urls = {label.strip().lower(): url.strip() for label, _, url in (entry.partition(",") for entry in stated)}
    return urls.get("repository") or urls.get("homepage")


def licence(base_model) -> dict | None:
    """Read the licence of a base model from its card, on the Hub or in its folder.

    Returns
    -------
    dict or None
        `license`, `license_name` and `license_link` as far as the card states them; None if it states nothing.
    """
    from huggingface_hub import ModelCard
    from huggingface_hub.errors import EntryNotFoundError

    check_access(base_model)  # without a network, ModelCard tries for half a minute
    with hub_errors(base_model):
        try:
            source = Path(base_model) / "README.md" if Path(base_model).is_dir() else base_model
            stated = ModelCard.load(source, ignore_metadata_errors=True).data.to_dict()
        except (EntryNotFoundError, FileNotFoundError, ValueError):
            return None
    return {key: stated[key] for key in ("license", "license_name", "license_link") if stated.get(key)} or None
