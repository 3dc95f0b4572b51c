"""Cards are Jinja templates; a value that a template wants and does not get is an error."""

import jinja2

from specdata.errors import SpecdataError
from specdata.files import shipped


def render(template, **values):
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
        If a value is missing or None: a card never has a placeholder.
    """

    def present(value):
        if value is None or isinstance(value, jinja2.Undefined):
            raise jinja2.UndefinedError("a value is missing")
        return value

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(shipped("cards")),
        undefined=jinja2.StrictUndefined,
        finalize=present,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, not HTML
    )
    try:
        return environment.get_template(template).render(**values)
    except (jinja2.UndefinedError, TypeError, ValueError) as error:  # a number's format of None is a TypeError
        raise SpecdataError(f"card {template}: {error}; a card with a missing value is not written") from None
