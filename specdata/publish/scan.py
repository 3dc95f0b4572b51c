"""Secrets, local paths and files of a wrong kind in what is about to be published, looked for in the real content."""

import contextlib
import getpass
import io
import json
import re
import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from specdata.errors import SpecdataError, one_line
from specdata.files import shipped
from specdata.inference.adapter import safetensors_header

# Regular expressions that Python's `re` and Arrow's RE2 read alike. `detect-secrets`, the best kept set of such rules
# in Python, is not used: it knows neither Hugging Face nor Google nor W&B, its last release is of 2024, and its rules
# for passwords and random text find something in every card.
SECRETS = {
    "a token of the Hub": r"\b(?:hf_[A-Za-z0-9]{16,}|api_org_[A-Za-z0-9]{30,})",
    "a private key": r"-{4,5} ?BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)? ?-{4,5}|PuTTY-User-Key-File-\d",
    "a key of AWS": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a secret key of AWS": (
        r"(?i:aws)[\w.-]{0,30}(?i:secret|key)[\w.-]{0,20}[\"']?\s*[:=]\s*[\"']?[A-Za-z0-9/+]{40}(?:$|[^\w/+])"
    ),
    "a token of GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60})",
    "a token of GitLab": r"\bgl(?:pat|dt|rt|cbt|ptt|ft|soat)-[A-Za-z0-9_-]{20}",
    "an API key": r"\bsk-[A-Za-z0-9_-]{32,}",
    "a key of Google": r"\b(?:AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{28}|ya29\.[A-Za-z0-9_-]{30,})",
    "a key of Stripe": r"\b(?:[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9]{24,})",
    "a token of Slack": (
        r"\bxox[abeprs]-[A-Za-z0-9-]{16,}|\bxapp-[A-Za-z0-9-]{20,}|hooks\.slack\.com/services/T\w+/B\w+/\w+"
    ),
    "a token of PyPI": r"\bpypi-[A-Za-z0-9_-]{32,}",
    "a token of npm": r"\bnpm_[A-Za-z0-9]{36}\b",
    "a key of Weights & Biases": (
        r"\bwandb_v1_[A-Za-z0-9_]{20,}|(?i:wandb)[\w.-]*[\"'\s]{0,3}[:=\s][\"'\s]{0,3}[0-9a-f]{40}\b"
    ),
    "a JSON web token": r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    "a secret in a setting": (
        r"(?i:(?:api|account)_?key|secret(?:_?key)?|passw(?:or)?d|(?:access|auth|api|bearer|refresh)_?token)[\"']?\s*[:=]\s*"
        r"[\"']?(?:[A-Za-z0-9/+_.~-]{8,}[0-9]|[A-Za-z0-9/+_.~-]*[0-9][A-Za-z0-9/+_.~-]{8,})"
    ),
    "a password in .netrc": r"\bmachine\s+\S+\s+login\s+\S+\s+password\s+\S+",
    "a password in an address": r"[a-z]+://[^/\s:@'\"]*:[^/\s:@'\"]+@[A-Za-z0-9]",
}
# What stands before the slash tells a local path from the path of an address.
_ROOTS = (
    "home|Users|users|root|mnt|media|scratch|work|tmp|var|opt|lustre|gpfs|nfs|private|Volumes|workspace|data|u|srv|afs|"
    "projects?|exports?|pscratch|gscratch|global|cluster|storage|ocean|net"
)
PATHS = {
    "a local path": rf"(?:^|[^\w/.:~%-])((?:file:(?://)?)?(?:/(?:{_ROOTS})/[^\s\"'<>|,;)\]`]+))",
    "a path of Windows": r"(?:^|[^\w])([A-Za-z]:\\\\?\w[^\s\"'<>|,;)\]`]+)",
    "a path of a Windows server": r"(?:^|[^\\\w])(\\\\[A-Za-z][\w.-]+\\[\w$][^\s\"'<>|,;)\]`]*)",
    "a path in a home folder": r"(?:^|[\s\"'=(\[`])(~[\w.-]*/[^\s\"'<>|,;)\]`]+)",
}
# Login names that belong to nobody in particular.
_GENERIC = {"root", "user", "users", "admin", "ubuntu", "runner", "jovyan", "guest", "test", "debian", "centos",
            "docker"}  # fmt: skip
_VOCABULARIES = ("tokenizer.json", "vocab.json", "merges.txt")  # which hold pieces of paths
_CHUNKS = b"IHDR PLTE IDAT IEND pHYs gAMA sRGB cHRM tRNS bKGD sBIT tEXt zTXt iTXt eXIf".split()  # of a PNG


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
    """The home folder and the login name of the user who publishes, as patterns.

    A login name that is a word of our cards, such as "galaxy" or "model", would be found in all of them.
    """
    home, rules = str(Path.home()), {}
    if home != "/":
        rules["the path of your home folder"] = rf"({re.escape(home)}/[^\s\"'<>|,;)\]`]*)"
    with contextlib.suppress(OSError, KeyError):  # a container without an account
        user = getpass.getuser()
        cards = " ".join(path.read_text(encoding="utf-8") for path in shipped("cards").glob("*.md")).lower()
        common = _GENERIC | {owner.lower()} | set(re.findall(r"[a-z]+", cards))
        if len(user) >= 4 and user.lower() not in common:
            rules["your login name"] = rf"(?:^|[^\w])({re.escape(user)})(?:$|[^\w])"
    return rules


def _finds(text, rules):
    """Yield the line, the rule and the part of a text that each rule finds."""
    for what, pattern in rules.items():
        for match in re.finditer(pattern, text, re.MULTILINE):
            start = match.start(1) if match.re.groups else match.start()
            yield f"line {text.count(chr(10), 0, start) + 1}", what, match[1] if match.re.groups else match[0]


def _text_finds(path, content, rules):
    try:
        if path.endswith(".safetensors"):
            content = safetensors_header(content)
        elif not isinstance(content, bytes):
            content = content.read_bytes()
        text = _png_text(content) if path.endswith(".png") else content.decode("utf-8")
        if path.endswith((".json", ".safetensors")):
            json.loads(text)
            text = re.sub(r'"(?:[^"\\]|\\.)*"', _unescaped, text)
    except (ValueError, OverflowError, RecursionError) as error:
        raise SpecdataError(f"{path}: is not what its name says ({one_line(error)}); make the folder again") from None
    if Path(path).name in _VOCABULARIES:
        rules = {what: rule for what, rule in rules.items() if what in SECRETS}
    yield from _finds(text, rules)
    if path.endswith(".png"):  # behind the pixels or in the palette; paths would be found among compressed bytes
        yield from _finds(content.decode("latin-1"), SECRETS)


def _unescaped(match):
    r"""A string of JSON as what it stands for, in one line: `\/` and `\u002f` are a slash."""
    if "\\" not in match[0]:
        return match[0]
    return f'"{" ".join(json.loads(match[0], strict=False).splitlines())}"'


def _png_text(content):
    """The text in a PNG file, a line for each piece; a file with anything but a picture and text is an error."""
    from PIL import Image

    at, name = 8, None
    while name != b"IEND":
        size, name = struct.unpack_from(">I4s", content, at) if len(content) >= at + 8 else (0, b"less than that")
        if not content.startswith(b"\x89PNG\r\n\x1a\n") or name not in _CHUNKS:
            raise ValueError(f"not a PNG of a picture and text alone, for it holds {name.decode('ascii', 'replace')}")
        at += size + 12
    if at != len(content):
        raise ValueError("a PNG that is cut or that something follows")
    try:
        image = Image.open(io.BytesIO(content), formats=["PNG"])
        image.load()
    except (OSError, SyntaxError, Image.DecompressionBombError):
        raise ValueError("a PNG that cannot be read") from None
    return "\n".join(f"{key}: {value}" for key, value in [*image.info.items(), *image.getexif().items()])


def _parquet_finds(path, content, rules):
    """Search every string of a Parquet file, the names of its columns, and the metadata of all of them."""
    try:
        file = pq.ParquetFile(content)
    except (OSError, pa.ArrowInvalid) as error:
        raise SpecdataError(f"{path}: cannot be read ({one_line(error)}); make the folder again") from None
    schema = file.schema_arrow
    yield from _finds(_described(schema), rules)
    names, row = [field.name for field in schema if _has_text(path, field.name, field.type)], 0
    every = "|".join(f"(?:{pattern})" for pattern in rules.values())
    for batch in file.iter_batches(batch_size=10_000, columns=names) if names else ():
        for name in names:
            for values in _strings(batch.column(name)):
                hits = values.filter(pc.match_substring_regex(values, f"(?m){every}"))
                for text in hits.to_pylist():
                    for _, what, found in _finds(text, rules):
                        yield f"column {name}, rows from {row}", what, found
        row += len(batch)


def _described(schema):
    """Names and metadata of the columns of a schema, and of the fields inside them, a line each."""
    lines, waiting = [], [schema]
    while waiting:
        part = waiting.pop()
        lines += [value.decode("utf-8", errors="replace") for pair in (part.metadata or {}).items() for value in pair]
        if isinstance(part, pa.Schema):
            waiting += part
            continue
        lines.append(part.name)
        waiting += [part.type.field(number) for number in range(part.type.num_fields)]
    return "\n".join(lines)


def _has_text(path, name, kind):
    """Whether a type holds strings; one that could hold anything else but numbers and times is an error."""
    if pa.types.is_dictionary(kind):
        return _has_text(path, name, kind.value_type)
    if pa.types.is_nested(kind):
        return any([_has_text(path, name, kind.field(number).type) for number in range(kind.num_fields)])
    if _is_text(kind):
        return True
    if pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return False
    raise SpecdataError(f"{path}: column {name} has the type {kind}, which is not searched")


def _strings(array):
    """Arrays of the strings in an array, also of those inside lists, structs, maps and dictionaries."""
    if pa.types.is_dictionary(array.type):
        return _strings(array.dictionary_decode())
    if pa.types.is_map(array.type):
        return [*_strings(array.keys), *_strings(array.items)]
    if pa.types.is_nested(array.type):
        parts = array.flatten()
        return [found for part in (parts if isinstance(parts, list) else [parts]) for found in _strings(part)]
    return [array.cast(pa.large_string()).drop_null()] if _is_text(array.type) else []


def _is_text(kind):
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
