"""Files from outside, read with limits: no devices or pipes, and nothing that is larger or deeper than it may be."""

import contextlib
import errno
import gzip
import io
import itertools
import json
import stat
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from specdata.errors import SpecdataError, one_line

MOST_BYTES = 64 * 2**20  # of a JSON file
MOST_UNPACKED = 2**28  # bytes of a gzip file of a few megabytes, and
MOST_TIMES = 50  # times its size, of a larger one; spectra shrink to a fifth at best
MOST_YAML_BYTES = 2**19
MOST_VALUES = 50_000  # of a YAML file, each alias counted as all that it stands for; a grid may have 10,001 edges
DEEPEST = 40  # levels of sections within sections in a YAML file
LONGEST_NUMBER = 400  # characters of a number in a YAML file


def check_regular(path) -> None:
    """Raise an OSError if a path is a device, a pipe or a socket, which might be endless or wait for ever."""
    mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # to open a folder is an error of its own
        raise OSError(errno.EINVAL, "it is a device or a pipe, not a file", str(path))


@contextlib.contextmanager
def file_errors() -> Iterator[None]:
    """Turn what opening or decompressing a file raises into a SpecdataError, whose sentence does not name the file."""
    try:
        yield
    except FileNotFoundError:
        raise SpecdataError("there is no such file; check the path") from None
    except IsADirectoryError:
        raise SpecdataError("this is a folder, not a file; give the files in it") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SpecdataError("the gzip data are damaged or cut short; download the file again") from error
    except OSError as error:
        raise SpecdataError(f"the file cannot be read ({one_line(error)}); give another file") from error


def read_bytes(path, most=MOST_BYTES) -> bytes:
    """Read a whole file of at most `most` bytes; an OSError if it cannot be read, is larger or is not a plain file."""
    check_regular(path)
    with Path(path).open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    return content


def check_unpacked(path) -> None:
    """Raise an OSError if a gzip file holds more than any file of its size that is not made to fill the memory."""
    most = max(MOST_UNPACKED, MOST_TIMES * Path(path).stat().st_size)
    with gzip.open(path) as stream:
        while stream.read(2**20):
            if stream.tell() > most:
                raise OSError(errno.EFBIG, f"it decompresses to more than {most:,} bytes", str(path))


def read_json(path) -> Any:
    """Read a JSON file; an OSError as from `read_bytes`, or a ValueError if its content is not JSON in UTF-8."""
    try:
        return json.loads(read_bytes(path).decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_yaml(path, *, as_text=False) -> Any:
    """Read a YAML file; with `as_text`, numbers, dates and the like stay the text that they are.

    Raises
    ------
    SpecdataError
        If it cannot be read, is not YAML, has one key twice in a section, or is too large or too deep.
    """
    try:
        text = read_bytes(path, MOST_YAML_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecdataError(f"{path}: cannot be read ({one_line(error)}); give the path of a YAML file") from None
    return parse_yaml(text, path, as_text=as_text)


def read_settings(path, model, *, as_text=False) -> Any:
    """Read a YAML file as a pydantic model; as `read_yaml`, and a wrong key or value is an error, too."""
    import pydantic

    try:
        return model.model_validate(read_yaml(path, as_text=as_text))
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"])) or "it"
        allowed = ", ".join(model.model_fields)
        raise SpecdataError(f"{path}: {key}: {problem['msg']}; the keys of such a file are {allowed}") from None


def parse_yaml(text, name, *, as_text=False) -> Any:
    """Read YAML from a text as `read_yaml` does from a file; its sentences begin with `name`."""
    try:
        return yaml.load(text, Loader=_TextLoader if as_text else _Loader)
    except (yaml.YAMLError, ValueError) as error:  # an impossible date is a ValueError
        raise SpecdataError(f"{name}: not valid YAML ({one_line(error)})") from None


def check_ecsv(text) -> None:
    """Raise a ValueError if the YAML at the top of an ECSV table, each line of it after ``#``, breaks these limits."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), io.StringIO(text))
    try:
        yaml.compose("".join(line.removeprefix("#").removeprefix(" ") for line in lines if line[:3] != "# %"), _Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"its header is not valid YAML: {one_line(error)}") from None


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the limits of this file; two equal keys are an error, of which it takes the last."""

    def __init__(self, stream):
        super().__init__(stream)
        self._sizes = {}  # node -> how many values it stands for, and how many levels it has
        self._level = self._count = 0

    def compose_node(self, parent, index):
        is_alias = self.check_event(yaml.AliasEvent)
        self._level += 1
        self._count += 1
        self._limit(self._count, self._level)
        node = super().compose_node(parent, index)
        self._level -= 1
        if is_alias and node not in self._sizes:
            raise yaml.YAMLError("an alias stands inside of what it refers to")
        if node not in self._sizes:
            self._sizes[node] = self._measure(node)
        return node

    def _measure(self, node):
        if isinstance(node, yaml.ScalarNode):
            if len(node.value) > LONGEST_NUMBER and node.tag.endswith((":int", ":float")):
                raise yaml.YAMLError(f"a number has more than {LONGEST_NUMBER} digits")
            return 1, 1
        parts = node.value
        if isinstance(node, yaml.MappingNode):
            keys = Counter((key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            if keys and (most := keys.most_common(1)[0])[1] > 1:
                raise yaml.YAMLError(f"the key {most[0][1]!r} stands twice in one section")
            parts = [part for pair in node.value for part in pair]
        sizes = [self._sizes[part] for part in parts]
        size, depth = 1 + sum(size for size, _ in sizes), 1 + max((depth for _, depth in sizes), default=0)
        self._limit(size, depth)
        return size, depth

    def _limit(self, size, depth):
        if size > MOST_VALUES:
            raise yaml.YAMLError(f"it holds more than {MOST_VALUES:,} values")
        if depth > DEEPEST:
            raise yaml.YAMLError(f"it is nested more than {DEEPEST} levels deep")


class _TextLoader(_Loader):
    yaml_implicit_resolvers = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}  # noqa: RUF012, the key that merges
