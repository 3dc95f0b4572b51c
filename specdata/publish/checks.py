"""What is refused: a data set or an adapter that is not what its card says."""

import json
import math
import re

import numpy as np
import pyarrow.parquet as pq
from tqdm import tqdm

from specdata.dataset.manifest import MANIFEST, files_revision
from specdata.dataset.parquet import open_file, split_files
from specdata.errors import SpecdataError, one_line
from specdata.evaluation import metrics
from specdata.files import file_sha256
from specdata.hub import hub_errors, weights_revision
from specdata.publish.contents import front_matter
from specdata.results import PREDICTIONS, RESULTS

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
# What stands in a card where a value was to be: of Jinja, of Python, of the Hub's own templates.
_PLACEHOLDER = re.compile(
    r"\{\{.*?\}\}|\{%.*?%\}|\[More Information Needed\]|\b(?:TODO|FIXME|TBD)\b|[|:] (?:None|nan)\b"
)
_SURVEYS = re.compile(r"sdss|boss|desi", re.IGNORECASE)
VIEWER_LIMIT = 300_000_000  # bytes of a row group in memory that the Hub's viewer reads


def check_hub_name(name, what, option):
    """Refuse a local name where one of the Hub has to stand."""
    if not _HUB_NAME.fullmatch(name):
        raise SpecdataError(f"{what} {name!r} is not a name of the Hub: give {option} ORG/NAME")


def check_dataset(folder, manifest, repo):
    """Refuse a data set whose files, rows, splits or card are not what its manifest says.

    Parameters
    ----------
    folder : Path
    manifest : dict
    repo : str
        Where it is to go.
    """
    files, counts = manifest["files"], manifest["counts"]
    if manifest["revision"] != files_revision(files):
        raise SpecdataError(f"{folder}: the revision in its manifest is not that of its files; build it again")
    for name, sha256 in tqdm(files.items(), desc="check", unit=" files", leave=False):
        if file_sha256(folder / name) != sha256:
            raise SpecdataError(f"{folder}: {name} is not the file that its manifest names; build it again")
    mocks = 0
    for config in ("spectra", *manifest["configs"]):
        objects = {}
        for split, rows in counts["splits"].items():
            shards = [open_file(folder, name) for name in split_files(files, config, split)]
            if sum(shard.metadata.num_rows for shard in shards) != rows:
                raise SpecdataError(f"{folder}: {config}/{split} has other rows than its manifest says; build it again")
            largest = max(
                (shard.metadata.row_group(i).total_byte_size for shard in shards for i in range(shard.num_row_groups)),
                default=0,
            )
            if largest > VIEWER_LIMIT:
                raise SpecdataError(
                    f"{folder}: {config}/{split} has a row group of {largest:,} bytes, and the Hub's viewer shows up "
                    f"to {VIEWER_LIMIT:,}; build it with fewer bins"
                )
            columns = [shard.read(columns=["object_id", "is_mock"]) for shard in shards]
            objects[split] = {name for table in columns for name in table["object_id"].to_pylist()}
            if config == "spectra":
                mocks += sum(sum(table["is_mock"].to_pylist()) for table in columns)
        for split, held in objects.items():
            shared = objects["train"] & held if split != "train" else set()
            if shared:
                raise SpecdataError(
                    f"{folder}: {len(shared)} objects of {config}/{split}, such as {min(shared)}, are in the training "
                    "split too; build it again"
                )
    name = repo.rpartition("/")[2]
    if mocks and "mock" not in name.lower():
        raise SpecdataError(
            f"{repo}: {mocks} of the rows are mocks, which must not pass as SDSS data; choose a --repo with 'mock' in "
            "its name"
        )
    _check_dataset_card(folder, manifest)


def _check_dataset_card(folder, manifest):
    where = f"{folder}/README.md"
    metadata, body = front_matter((folder / "README.md").read_text(encoding="utf-8"), where)
    _check_no_hole(metadata, body, where)
    declared = {}
    for config in metadata.get("configs") or []:
        if manifest["revision"] not in str(config.get("description")):
            raise SpecdataError(f"{where}: belongs to another revision than the manifest; build the data set again")
        parts = config.get("data_files") or []
        declared[config.get("config_name")] = [part["split"] for part in parts]
    splits = [split for split, rows in manifest["counts"]["splits"].items() if rows]
    for config in ("spectra", *manifest["configs"]):
        if declared.get(config) != splits:
            raise SpecdataError(
                f"{where}: does not declare the splits {', '.join(splits)} of the config {config!r}, so that nobody "
                "could load it; build the data set again"
            )


def check_adapter(folder, results, repo):
    """Refuse an adapter whose evaluation failed, is of other weights, or is not what its card says.

    Parameters
    ----------
    folder : Path
    results : dict
    repo : str
        Where it is to go.

    Returns
    -------
    set of str
        Objects that it was scored on.
    """
    data, settings = results["dataset"], results["settings"]
    if results["model"]["adapter_revision"] != weights_revision(folder):
        raise SpecdataError(
            f"{folder}: its results are those of other weights; evaluate this adapter and gather it anew"
        )
    if data["split"] == "train":
        raise SpecdataError(f"{folder}: was scored on the training split; evaluate it on validation or test")
    try:
        predictions = pq.read_table(folder / PREDICTIONS, columns=["object_id", "z", "z_pred"])
    except (OSError, ValueError, KeyError) as error:
        reason = one_line(error)
        raise SpecdataError(f"{folder}/{PREDICTIONS}: cannot be read ({reason}); evaluate again") from None
    z, z_pred = (predictions[name].to_numpy() for name in ("z", "z_pred"))
    if len(z) != data["n"] or len(z) == 0:
        raise SpecdataError(
            f"{folder}: the evaluation failed, with {len(z)} answers of {data['n']} rows; evaluate again"
        )
    if np.isnan(z_pred.astype(float)).all():
        raise SpecdataError(
            f"{folder}: the evaluation failed, for none of {len(z)} answers parses; train and evaluate again"
        )
    again = metrics.score(z_pred.astype(float), z, settings["unparsed_scores_as"])
    for name, score in again.items():
        said = results["metrics"][name]["value"]
        if None in (score["value"], said):
            same = score["value"] == said
        else:
            same = math.isclose(score["value"], said, rel_tol=1e-6, abs_tol=1e-12)
        if not same:
            raise SpecdataError(
                f"{folder}/{RESULTS}: says {name} = {said}, and its predictions give {score['value']}; evaluate again"
            )
    name = repo.rpartition("/")[2]
    if (data["n_mock"] or data["n_mock_train"]) and _SURVEYS.search(name) and "mock" not in name.lower():
        raise SpecdataError(
            f"{repo}: the adapter was trained or scored on mocks, and its name says {_SURVEYS.search(name)[0]}; choose "
            "a --repo with 'mock' in its name"
        )
    _check_adapter_card(folder, results)
    return set(predictions["object_id"].to_pylist())


def check_apart(dataset, scored_on, objects):
    """Check that the data set on the Hub is the one that was scored on, and that no such object was trained on."""
    from huggingface_hub import HfApi, HfFileSystem

    revision, config = scored_on["revision"], scored_on["config"]
    files = HfFileSystem(skip_instance_cache=True)  # which keeps lists of files
    with hub_errors(dataset):
        tags = [tag.name for tag in HfApi().list_repo_refs(dataset, repo_type="dataset").tags]
    for version in ("main", *sorted(tags, key=lambda tag: revision[:12] not in tag)):  # the likely ones first
        root = f"datasets/{dataset}@{version}"
        try:
            with hub_errors(dataset):
                manifest = json.loads(files.read_text(f"{root}/{MANIFEST}"))
                if manifest["revision"] != revision:
                    continue
                shards = [name for name in manifest["files"] if name.startswith(f"{config}/train-")]
                trained = set()
                for name in shards:
                    with files.open(f"{root}/{name}") as stream:
                        trained |= set(pq.read_table(stream, columns=["object_id"])["object_id"].to_pylist())
                break
        except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, SpecdataError):
                raise
    else:
        raise SpecdataError(
            f"{dataset}: does not hold the revision {revision[:12]} that the adapter was scored on; publish that data "
            "set first, or give its name by --dataset"
        )
    shared = objects & trained
    if shared:
        raise SpecdataError(
            f"{len(shared)} objects that the adapter was scored on, such as {min(shared)}, are in the training split "
            f"of {dataset}; evaluate it on rows that it has not seen"
        )


def _check_adapter_card(folder, results):
    where = f"{folder}/README.md"
    metadata, body = front_matter((folder / "README.md").read_text(encoding="utf-8"), where)
    if "generated_from_trainer" in (metadata.get("tags") or []) or "model-index" not in metadata:
        raise SpecdataError(f"{where}: is TRL's placeholder or somebody else's card; write ours with `specdata card`")
    _check_no_hole(metadata, body, where)
    shown = metadata["model-index"][0]["results"][0]
    stated = {metric["type"]: metric["value"] for metric in shown["metrics"]}
    for name, score in results["metrics"].items():  # the card leaves out what is empty
        if stated.get(name) != score["value"]:
            raise SpecdataError(
                f"{where}: says {name} = {stated.get(name)}, results.json {score['value']}; run `specdata card`"
            )
    if shown["dataset"].get("revision") != results["dataset"]["revision"]:
        raise SpecdataError(f"{where}: names another revision of the data set than results.json; run `specdata card`")


def _check_no_hole(metadata, body, where):
    """Refuse a card in which a value is missing."""

    def empty(value, path):
        if isinstance(value, dict):
            return next((hole for key, item in value.items() if (hole := empty(item, f"{path}{key}: "))), None)
        if isinstance(value, list):
            return next((hole for item in value if (hole := empty(item, path))), None)
        return path if value is None or value == "" or value != value else None  # NaN is not itself

    hole = empty(metadata, "")
    # Code may hold what elsewhere is a placeholder.
    found = _PLACEHOLDER.search(re.sub(r"^```.*?^```$|`[^`\n]*`", "", body, flags=re.DOTALL | re.MULTILINE))
    if hole or found:
        what = f"the metadata {hole.rstrip(': ')}" if hole else f"{found[0].strip()!r} in the text"
        raise SpecdataError(f"{where}: has no value for {what}; a card with a missing value is not published")
