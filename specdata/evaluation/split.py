"""The rows that a model is scored on: a split of a data set, checked against its manifest."""

from dataclasses import dataclass
from pathlib import Path

from specdata.dataset.manifest import MANIFEST, files_revision, read_manifest
from specdata.dataset.parquet import split_files
from specdata.errors import SpecdataError
from specdata.files import file_sha256
from specdata.hub import local_folder
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
    paths = {part: split_files(files, config, part) for part in ("train", split)}
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
        encoding=Encoding.from_dict(manifest["configs"][config], config),
    )
