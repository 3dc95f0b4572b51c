"""What an evaluation starts from: a data set and a model, each a folder or a Hub name, each with its revision."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from specdata.dataset.build import MANIFEST, files_revision
from specdata.dataset.parquet import shard_names
from specdata.errors import SpecdataError
from specdata.hub import check_access
from specdata.text.encoding import Encoding


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """Rows to score, and the training rows of the same data set.

    Attributes
    ----------
    rows, train : datasets.Dataset
    name, config, split, revision : str
        What the rows are; the revision is that of the manifest.
    n_in_split : int
        Rows of the split, also where a limit takes fewer.
    encoding : specdata.text.encoding.Encoding
        How the text was made.
    """

    rows: object
    train: object
    name: str
    config: str
    split: str
    revision: str
    n_in_split: int
    encoding: object


def local_folder(name, repo_type):
    """Path of a folder, downloaded from the Hub if `name` is not a local one.

    Raises
    ------
    SpecdataError
        If it is neither here nor on the Hub.
    """
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        # A LoRA adapter or a data set; a base model is left to transformers.
        return Path(snapshot_download(str(name), repo_type=repo_type))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        if isinstance(error, RepositoryNotFoundError):  # or one that is gated: say what would help
            check_access(str(name), repo_type)
        reason = " ".join(str(error).split())[:200]
        raise SpecdataError(f"{name}: no such folder, and not to be had from the Hub ({reason})") from None


def public_name(name):
    """A Hub name as it is; of a local folder the last part only, for the rest is nobody's business."""
    return Path(name).resolve().name if Path(name).is_dir() else str(name)


def read_manifest(folder, name):
    """Read the manifest of a data set.

    Parameters
    ----------
    folder : Path
    name : str
        What the user calls it.

    Returns
    -------
    dict

    Raises
    ------
    SpecdataError
        If there is none, or it is not one of `specdata.dataset.build.build`.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        wanted = manifest["revision"], manifest["recipe"]["name"]
        if all(isinstance(text, str) for text in wanted) and all(
            isinstance(section, dict) and section
            for section in (manifest["files"], manifest["configs"], manifest["counts"]["splits"])
        ):
            return manifest
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise SpecdataError(f"{name}: has no readable {MANIFEST}; give a data set of `specdata build`")


def open_split(name, config, split, limit=None):
    """Open a split of a data set for evaluation.

    Parameters
    ----------
    name : str
        A folder of `specdata build`, or its Hub name.
    config, split : str
    limit : int, optional
        Number of rows to take from the start.

    Returns
    -------
    Split

    Raises
    ------
    SpecdataError
        If the data set has no manifest, no such config or split, if its files are not those of the manifest, or if an
        object of the split is also trained on.
    """
    from datasets import load_dataset

    folder = local_folder(name, "dataset")
    manifest = read_manifest(folder, name)
    files, counts, revision = manifest["files"], manifest["counts"]["splits"], manifest["revision"]
    configs = list(manifest["configs"])
    if config not in configs:
        raise SpecdataError(f"config {config!r}: {name} has the text configs {', '.join(configs)}")
    splits = [split for split, n in counts.items() if n and split != "train"]
    if split not in splits:
        raise SpecdataError(f"split {split!r}: to be scored on there are {', '.join(splits)}")
    if limit is not None and limit < 1:
        raise SpecdataError(f"limit {limit}: give at least 1 row")
    if revision != files_revision(files):
        raise SpecdataError(f"{name}: the revision in {MANIFEST} is not that of its files; build or download it again")
    # By the manifest and not by the card, whose YAML anybody may have edited.
    paths = {part: shard_names(files, config, part) for part in ("train", split)}
    for path in (path for part in paths.values() for path in part):
        if file_sha256(folder / path) != files[path]:
            raise SpecdataError(f"{name}: {path} is not the file that its manifest names; build or download it again")
    data = load_dataset("parquet", data_files={part: [str(folder / p) for p in found] for part, found in paths.items()})
    rows, train = data[split], data["train"]
    if (len(rows), len(train)) != (counts[split], counts["train"]):
        raise SpecdataError(f"{name}: its files hold other numbers of rows than {MANIFEST} says; build it again")
    shared = set(rows["object_id"]) & set(train["object_id"])
    if shared:
        raise SpecdataError(
            f"{len(shared)} objects of split {split!r}, such as {min(shared)}, are also in the training split: "
            "build the data set again"
        )
    taken = rows.select(range(min(limit or len(rows), len(rows))))
    return Split(
        rows=taken,
        train=train,
        name=manifest["recipe"]["name"] if Path(name).is_dir() else str(name),
        config=config,
        split=split,
        revision=revision,
        n_in_split=len(rows),
        encoding=Encoding.from_manifest(manifest, config),
    )


def weights_revision(folder):
    """SHA-256 over the weight files of a local model or adapter folder.

    Raises
    ------
    SpecdataError
        If there are none.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise SpecdataError(f"{folder}: holds no *.safetensors; give a folder with the weights of a model or adapter")
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest()


def file_sha256(path):
    """SHA-256 of a file, None if there is none."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return None
