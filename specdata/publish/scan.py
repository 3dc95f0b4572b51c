"""Secrets, local paths and files of a wrong kind in what is about to be published, looked for in the real content."""

import contextlib
import getpass
import io
import itertools
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from specdata.errors import SpecdataError, one_line
from specdata.inference.adapter import safetensors_header

# Regular expressions that Python's `re` and Arrow's RE2 read alike.
SECRETS = {
    "a token of the Hub": r"\bhf_[A-Za-z0-9]{30,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a key of AWS": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a token of GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60})",
    "an API key": r"\bsk-[A-Za-z0-9_-]{32,}",
    "a token of Slack": r"\bxox[abprs]-[A-Za-z0-9-]{20,}",
    "a password in an address": r"[a-z]+://[^/\s:@'\"]+:[^/\s:@'\"]+@[A-Za-z0-9]",
}
# What stands before the slash tells a local path from the path of an address.
_ROOTS = "home|Users|root|mnt|media|scratch|work|tmp|var|opt|lustre|gpfs|nfs|private|Volumes|workspace|data|u"
PATHS = {
    "a local path": rf"(?:^|[^\w/.:~%-])((?:file:(?://)?)?(?:/(?:{_ROOTS})/[^\s\"'<>|,;)\]`]+))",
    "a path of Windows": r"(?:^|[^\w])([A-Za-z]:\\\\?\w[^\s\"'<>|,;)\]`]+)",
    "a path in a home folder": r"(?:^|[\s\"'=(\[`])(~[\w.-]*/[^\s\"'<>|,;)\]`]+)",
}
# Login names that are common words, or belong to nobody in particular.
_GENERIC = {"root", "user", "users", "admin", "ubuntu", "runner", "jovyan", "galaxy", "guest", "test", "paper", "data"}
_VOCABULARIES = ("tokenizer.json", "vocab.json", "merges.txt")  # which hold pieces of paths


def scan(uploads, *, owner="", allow=()) -> None:
    """Refuse secrets, absolute paths, the name of the user who publishes, and files that are not what their names say.

    Text is read whole, of Parquet files every string, of weights the header, of pictures the text in them.

    Parameters
    ----------
    uploads : dict of str to (bytes or Path)
        Content by path in the repository.
    owner : str
        Owner of the repository, whose name may stand in the files.
    allow : iterable of str
        Texts that look like secrets or local paths and are none.
    """
    rules = SECRETS | PATHS | _personal(owner)
    for path, content in tqdm(uploads.items(), desc="scan", unit=" files", leave=False):
        found = _parquet_finds(path, content, rules) if path.endswith(".parquet") else _text_finds(path, content, rules)
        for where, what, text in found:
            if text not in allow:
                shown = f"{text[:8]}…" if what in SECRETS else text[:100]
                raise SpecdataError(
                    f"{path}, {where}: holds {what}, {shown}; take it out, or add --allow with that text if everybody "
                    "may read it"
                )


def _personal(owner):
    """The home folder and the login name of the user who publishes, as patterns."""
    home, rules = str(Path.home()), {}
    if home != "/":
        rules["the path of your home folder"] = rf"({re.escape(home)}/[^\s\"'<>|,;)\]`]*)"
    with contextlib.suppress(OSError, KeyError):  # a container without an account
        user = getpass.getuser()
        if len(user) >= 4 and user.lower() not in _GENERIC | {owner.lower()}:
            rules["your login name"] = rf"(?:^|[^\w])({re.escape(user)})(?:$|[^\w])"
    return rules


def _finds(text, rules):
    """Yield the line, the rule and the part of a text that each rule finds."""
    for what, pattern in rules.items():
        for match in re.finditer(pattern, text, re.MULTILINE):
            start = match.start(1) if match.re.groups else match.start()
            yield f"line {text.count(chr(10), 0, start) + 1}", what, match[1] if match.re.groups else match[0]


def _text_finds(path, content, rules):
    if path.endswith(".safetensors"):
        content = safetensors_header(content)
    elif not isinstance(content, bytes):
        content = content.read_bytes()
    try:
        text = _png_text(content) if path.endswith(".png") else content.decode("utf-8")
        if path.endswith((".json", ".safetensors")):
            json.loads(text)
    except (ValueError, OverflowError) as error:
        raise SpecdataError(f"{path}: is not what its name says ({one_line(error)}); make the folder again") from None
    if Path(path).name in _VOCABULARIES:
        rules = {what: rule for what, rule in rules.items() if what in SECRETS}
    yield from _finds(text, rules)


def _png_text(content):
    """The text in a PNG file, a line for each piece; a file with anything but a picture and text is an error."""
    from PIL import Image

    if not content.startswith(b"\x89PNG\r\n\x1a\n") or not content.endswith(b"IEND\xaeB`\x82"):
        raise ValueError("not a PNG, or one that is cut or that something follows")
    try:
        image = Image.open(io.BytesIO(content), formats=["PNG"])
        image.load()
    except (OSError, SyntaxError):
        raise ValueError("a PNG that cannot be read") from None
    if image.private_chunks:
        raise ValueError("a PNG with something beside a picture and text")
    return "\n".join(str(value) for value in [*image.info.values(), *image.getexif().values()])


def _parquet_finds(path, content, rules):
    """Search every string of a Parquet file, and the metadata of its schema."""
    try:
        file = pq.ParquetFile(content)
    except (OSError, pa.ArrowInvalid) as error:
        raise SpecdataError(f"{path}: cannot be read ({one_line(error)}); make the folder again") from None
    for value in (file.schema_arrow.metadata or {}).values():
        yield from _finds(value.decode("utf-8", errors="replace"), rules)
    for field in file.schema_arrow:
        if "binary" in str(field.type):
            raise SpecdataError(f"{path}: column {field.name} has the type {field.type}, which is not searched")
    names, row = [field.name for field in file.schema_arrow if "string" in str(field.type)], 0
    for batch in file.iter_batches(batch_size=10_000, columns=names):
        for name, (what, pattern) in itertools.product(names, rules.items()):
            for values in _strings(batch[name]):
                hits = values.filter(pc.match_substring_regex(values, f"(?m){pattern}"))
                for _, _, text in _finds(hits[0].as_py(), {what: pattern}) if len(hits) else ():
                    yield f"column {name}, rows from {row}", what, text
        row += len(batch)


def _strings(array):
    """Arrays of the strings in an array, also of those inside lists, structs, maps and dictionaries."""
    if pa.types.is_dictionary(array.type):
        return [array.dictionary_decode()]
    if pa.types.is_map(array.type):
        return [*_strings(array.keys), *_strings(array.items)]
    if pa.types.is_nested(array.type):
        parts = array.flatten()
        return [found for part in (parts if isinstance(parts, list) else [parts]) for found in _strings(part)]
    return [array.drop_null()] if "string" in str(array.type) else []
