"""Secrets and local paths in what is about to be published, looked for in its real content."""

import functools
import getpass
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from specdata.errors import SpecdataError

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
# Not the path of an address: what stands before the slash tells.
_ROOTS = "home|Users|root|mnt|media|scratch|work|tmp|var|opt|lustre|gpfs|nfs|private|Volumes|workspace|data|u"
PATHS = {
    "a local path": rf"(?:^|[^\w/.:~%-])((?:file:(?://)?)?(?:/(?:{_ROOTS})/[^\s\"'<>|,;)\]`]+))",
    "a path of Windows": r"(?:^|[^\w])([A-Za-z]:\\\\?\w[^\s\"'<>|,;)\]`]+)",
    "a path in a home folder": r"(?:^|[\s\"'=(\[`])(~[\w.-]*/[^\s\"'<>|,;)\]`]+)",
}
# Login names that are words, or nobody's.
_GENERIC = {"root", "user", "users", "admin", "ubuntu", "runner", "jovyan", "galaxy", "guest", "test", "paper", "data"}


def scan(uploads, *, namespace="", allow=()):
    """Refuse secrets, absolute paths and the name of the user who publishes.

    Text is read line by line; of Parquet files every string is, also those inside of lists; of weights the header, of
    pictures the text that they carry.

    Parameters
    ----------
    uploads : iterable of specdata.publish.contents.Upload
    namespace : str
        Owner of the repository, whose name may stand in the files.
    allow : iterable of str
        Texts that are no secret, although they look like one to this function.

    Raises
    ------
    SpecdataError
        For the first that is found: the file, the place, and what it is.
    """
    allow = set(allow)
    rules = SECRETS | PATHS | _personal(namespace)
    for upload in tqdm(uploads, desc="scan", unit=" files", leave=False):
        found = _parquet_finds if upload.path.endswith(".parquet") else _text_finds
        for where, what, text in found(upload, rules):
            if text in allow:
                continue
            shown = f"{text[:8]}…" if what in SECRETS else text[:100]
            raise SpecdataError(
                f"{upload.path}, {where}: holds {what}, {shown}; take it out, or add --allow with that text if the "
                "world may read it"
            )


def _personal(namespace):
    """The login name and home folder of who publishes, as patterns."""
    names = {}
    home = str(Path.home())
    if home.count("/") >= 1 and len(home) > 1:
        names["the path of your home folder"] = rf"({re.escape(home)}/[^\s\"'<>|,;)\]`]*)"
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container without an account
        return names
    if len(user) >= 4 and user.lower() not in _GENERIC | {namespace.lower()}:
        names["your login name"] = rf"(?:^|[^\w])({re.escape(user)})(?:$|[^\w])"
    return names


@functools.cache
def _compiled(pattern):
    return re.compile(pattern, re.MULTILINE)


def _finds(text, rules):
    """Yield where in a text, what and which part of it each rule finds."""
    for what, pattern in rules.items():
        for match in _compiled(pattern).finditer(text):
            start = match.start(1) if match.re.groups else match.start()
            yield f"line {text.count(chr(10), 0, start) + 1}", what, match[1] if match.re.groups else match[0]


def _text_finds(upload, rules):
    content = upload.head() if upload.path.endswith(".safetensors") else upload.read()
    if upload.path.endswith(".png"):
        content = _png_text(content)
    if Path(upload.path).name in ("tokenizer.json", "vocab.json", "merges.txt"):  # a vocabulary holds pieces of paths
        rules = {what: rule for what, rule in rules.items() if what in SECRETS}
    yield from _finds(content.decode("utf-8", errors="replace"), rules)


def _png_text(content):
    """What a PNG file says beside its picture, a line a piece."""
    found, at = [], 8
    while at + 8 <= len(content):
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        if kind in (b"tEXt", b"iTXt", b"eXIf"):
            found.append(content[at + 8 : at + 8 + size].replace(b"\0", b" "))
        at += 12 + size
    return b"\n".join(found)


def _parquet_finds(upload, rules):
    """Look at every string of a Parquet file, and at the metadata of its schema."""
    file = pq.ParquetFile(upload.source)
    for value in (file.schema_arrow.metadata or {}).values():
        yield from _finds(value.decode("utf-8", errors="replace"), rules)
    names = [field.name for field in file.schema_arrow if _has_strings(field.type)]
    row = 0
    for batch in file.iter_batches(batch_size=10_000, columns=names):
        for name in names:
            values = _strings(batch[name])
            for what, pattern in rules.items():
                hits = pc.filter(values, pc.match_substring_regex(values, f"(?m){pattern}"))
                if len(hits):
                    for _, what_, text in _finds(hits[0].as_py(), {what: pattern}):
                        yield f"column {name}, rows from {row}", what_, text
        row += len(batch)


def _has_strings(kind):
    if pa.types.is_list(kind):
        return _has_strings(kind.value_type)
    if pa.types.is_struct(kind):
        return any(_has_strings(field.type) for field in kind)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _strings(array):
    """All strings of an array, also those inside of lists and structs, each once."""
    if pa.types.is_list(array.type):
        return _strings(array.flatten())
    if pa.types.is_struct(array.type):
        parts = [_strings(part) for part in array.flatten() if _has_strings(part.type)]
        return pa.concat_arrays([part.cast(pa.string()) for part in parts])
    return pc.unique(pc.drop_null(array))
