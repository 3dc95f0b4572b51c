"""What goes up: the files of a data set or an adapter, with the names that they have on the Hub put into them."""

import fnmatch
import functools
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from specdata.cards import render
from specdata.dataset.manifest import MANIFEST
from specdata.errors import SpecdataError
from specdata.publish.lora import safetensors_header
from specdata.results import CONTENTS as EVALUATION
from specdata.results import RESULTS

WEIGHTS = "adapter_model.safetensors"
TOKENIZER = ("tokenizer*", "special_tokens_map.json", "*.jinja")
# Of an earlier state of a repository, what the next one replaces or takes away; other files there are left alone.
DATASET_OWNS = ("*.parquet", "figures/*.png", "rejected.csv", MANIFEST, "README.md")
ADAPTER_OWNS = (WEIGHTS, "adapter_config.json", *TOKENIZER, "README.md", "recipe.yaml", *EVALUATION)
READING = re.compile(r"<!-- reading -->\n.*?<!-- /reading -->\n", re.DOTALL)


@dataclass(frozen=True)
class Upload:
    """A file that goes up: its path in the repository, and its content as bytes or the path of a local file."""

    path: str
    source: object

    def read(self):
        """The content."""
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()

    def head(self):
        """What a file of weights begins with: everything but the numbers."""
        return safetensors_header(self.source)

    @property
    def size(self):
        """Number of bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    @functools.cached_property
    def sha256(self):
        """SHA-256 of the content, which is the Hub's name of a large file."""
        return self._digest(hashlib.sha256())

    @functools.cached_property
    def git_oid(self):
        """Git's name of the content, which is the Hub's name of a small file."""
        return self._digest(hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False))

    def _digest(self, digest):
        if isinstance(self.source, bytes):
            digest.update(self.source)
        else:
            with self.source.open("rb") as stream:
                while piece := stream.read(1 << 20):
                    digest.update(piece)
        return digest.hexdigest()


def dataset_card(folder, manifest, repo, tag):
    """The card of a data set with examples that read it from the Hub, at a tag; `Upload`."""
    first = next(iter(manifest["configs"]))
    split = "test" if manifest["counts"]["splits"].get("test") else "train"
    shard = min(file for file in manifest["files"] if file.startswith(f"{first}/{split}-"))
    reading = render("reading.md", repo=repo, tag=tag, config=first, file=shard)
    text = READING.sub(lambda _: reading, _text(folder / "README.md"))
    return Upload("README.md", text.encode())


def dataset_contents(folder, manifest, repo, tag):
    """Files of a data set.

    Parameters
    ----------
    folder : Path
    manifest : dict
    repo, tag : str
        Its name and version on the Hub, which the examples of the card name.

    Returns
    -------
    uploads : list of Upload
        The first is the card.
    left_out : list of str
        What the folder holds beside them.
    """
    uploads = [dataset_card(folder, manifest, repo, tag)]
    uploads += [Upload(name, folder / name) for name in (MANIFEST, "rejected.csv") if (folder / name).is_file()]
    uploads += [Upload(f"figures/{path.name}", path) for path in sorted(folder.glob("figures/*.png"))]
    uploads += [Upload(name, folder / name) for name in manifest["files"]]
    return uploads, _left_out(folder, uploads)


def adapter_contents(folder, results, config, repo, *, dataset, base_model, rank, same_tokenizer):
    """Files of an adapter.

    Parameters
    ----------
    folder : Path
        See `specdata.publish.adapter_card.write_adapter`.
    results, config : dict
        Its evaluation, and PEFT's config.
    repo : str
        Its name on the Hub.
    dataset, base_model : str
        Names on the Hub of what it was trained on and from; they take the place of local ones everywhere.
    rank : int
        What vLLM has to be told; see `specdata.publish.lora.check_lora`.
    same_tokenizer : bool
        Whether the base model has the very tokenizer, so that its files need not go along.

    Returns
    -------
    uploads : list of Upload
    left_out : list of str
    """
    names = {results["dataset"]["name"]: dataset}
    results = results | {
        "dataset": results["dataset"] | {"name": dataset},
        "model": results["model"] | {"base": base_model, "adapter": repo},
    }
    tokenizer = base_model if same_tokenizer else repo
    reading = render("reading-adapter.md", base_model=base_model, adapter=repo, tokenizer=tokenizer, rank=rank)
    card = _adapter_card(_text(folder / "README.md"), names, dataset, base_model)
    recipe = re.sub(r"(?m)^(dataset_name:[ \t]*)\S+", lambda m: m[1] + dataset, _text(folder / "recipe.yaml"))
    scored = re.escape(next(iter(names)).rpartition("/")[2])  # of a mixture, the parts that are of this data set
    recipe = re.sub(rf"(?m)^([ \t-]+path:[ \t]*)(?:\S*/)?{scored}(?=\s)", lambda m: m[1] + dataset, recipe)
    recipe = re.sub(r"(?m)^(model_name_or_path:[ \t]*)\S+", lambda m: m[1] + base_model, recipe)
    made = {
        "README.md": READING.sub(lambda _: reading, card),
        "recipe.yaml": recipe,
        RESULTS: json.dumps(results, indent=2) + "\n",
        "adapter_config.json": json.dumps(config | {"base_model_name_or_path": base_model}, indent=2) + "\n",
    }
    uploads = [Upload(name, text.encode()) for name, text in made.items()]
    kept = [WEIGHTS, *(() if same_tokenizer else TOKENIZER), *EVALUATION]
    for pattern in kept:
        paths = sorted(folder.glob(pattern))
        uploads += [Upload(path.name, path) for path in paths if path.is_file() and path.name not in made]
    return uploads, _left_out(folder, uploads)


def front_matter(text, where):
    """The metadata of a card and what follows; (dict, str)."""
    match = re.match(r"---\n(.*?)\n---\n(.*)", text, re.DOTALL)
    try:
        content = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError:
        content = None
    if not isinstance(content, dict):
        raise SpecdataError(f"{where}: does not begin with metadata in YAML between two lines ---; write the card anew")
    return content, match[2]


def _adapter_card(text, names, dataset, base_model):
    """Put the Hub's names into an adapter's card: in its metadata, so that the Hub links them, and in its text."""
    metadata, body = front_matter(text, "README.md")
    ordered = {"base_model": base_model, "datasets": [dataset]}
    metadata = ordered | {key: value for key, value in metadata.items() if key not in ordered}
    tags = [tag for tag in metadata.get("tags", []) if not tag.startswith("base_model:")]
    metadata["tags"] = [f"base_model:adapter:{base_model}", *tags]
    for model in metadata.get("model-index", []):
        for result in model["results"]:
            result["dataset"] |= {"name": dataset, "type": dataset}
    for local, name in names.items():
        link = f"[`{name}`](https://huggingface.co/datasets/{name})"
        body = re.sub(rf"(?<!\[)`{re.escape(local)}`", lambda _, link=link: link, body)
    head = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=10_000)
    return f"---\n{head}---\n{body}"


def _text(path):
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise SpecdataError(f"{path}: is missing or no text; make the folder anew") from None


def _left_out(folder, uploads):
    """What stays: everything in the folder that is not in the list, but for the traces of clients of the Hub."""
    going = {upload.path for upload in uploads}
    found = (path.relative_to(folder).as_posix() for path in sorted(Path(folder).rglob("*")) if path.is_file())
    hidden = (".cache/*", ".gitattributes", ".git/*")
    return [name for name in found if name not in going and not any(fnmatch.fnmatch(name, h) for h in hidden)]
