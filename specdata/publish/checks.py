"""What is refused: a data set or an adapter whose files do not agree with each other or with its name."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from specdata.dataset.manifest import MANIFEST, files_revision, rows_of
from specdata.dataset.parquet import read_columns, split_files
from specdata.errors import SpecdataError, one_line
from specdata.evaluation.scores import score_predictions, scores_of
from specdata.files import file_sha256
from specdata.hub import hub_errors, weights_revision
from specdata.results import PREDICTIONS, RESULTS, RETENTION, load_retention, target_of
from specdata.text.encoding import Encoding

_SURVEYS = re.compile(r"sdss|boss|desi", re.IGNORECASE)


def check_dataset(folder, manifest, repo) -> None:
    """Refuse a data set whose files, rows or splits are not what its manifest says, or mocks under a name of SDSS.

    Parameters
    ----------
    folder : Path
    manifest : dict
    repo : str
        Its name on the Hub.
    """
    files, counts = manifest["files"], manifest["counts"]
    if manifest["revision"] != files_revision(files):
        raise SpecdataError(f"{folder}: the revision in its manifest is not that of its files; build it again")
    hashes = files | manifest["figures"]
    for name, sha256 in tqdm(hashes.items(), desc="check", unit=" files", leave=False):
        if file_sha256(folder / name) != sha256:
            raise SpecdataError(f"{folder}: {name} is not the file that its manifest names; build it again")
    mocks = 0
    for config in ("spectra", *manifest["configs"]):
        objects = {}
        for split in counts["splits"]:
            table = read_columns(folder, split_files(files, config, split), ["position_id", "is_mock"])
            if len(table) != rows_of(manifest, config, split):
                raise SpecdataError(f"{folder}: {config}/{split} has other rows than its manifest says; build it again")
            objects[split] = set(table["position_id"].to_pylist())
            if config == "spectra":
                mocks += sum(table["is_mock"].to_pylist())
        for split, held in objects.items():
            if split != "train" and (shared := objects["train"] & held):
                raise SpecdataError(
                    f"{folder}: {len(shared)} objects of {config}/{split}, such as {min(shared)}, are in the training "
                    "split too; build it again"
                )
    if mocks and not counts["mock"]:
        raise SpecdataError(f"{folder}: {mocks} of the rows are mocks, and its manifest says none; build it again")
    if mocks and "mock" not in repo.rpartition("/")[2].lower():
        raise SpecdataError(
            f"{repo}: {mocks} of the rows are mocks, which must not pass as SDSS data; choose a --repo with 'mock' in "
            "its name"
        )


def check_adapter(folder, results, repo) -> set:
    """Refuse an adapter whose evaluation failed, is of other weights, or is not what its predictions give.

    Parameters as for `check_dataset`. Returns the objects that it was scored on.
    """
    data = results["dataset"]
    revision = weights_revision(folder)
    if results["model"]["adapter_revision"] != revision:
        raise SpecdataError(f"{folder}: its results are those of other weights; evaluate this adapter again")
    if (folder / RETENTION).exists() and load_retention(folder)["model"]["adapter_revision"] != revision:
        raise SpecdataError(
            f"{folder}: its retention is that of other weights; measure it again, or remove {RETENTION}"
        )
    if data["split"] == "train":
        raise SpecdataError(f"{folder}: was scored on the training split; evaluate it on validation or test")
    try:
        predictions = pq.read_table(folder / PREDICTIONS)
    except (OSError, ValueError, KeyError) as error:
        raise SpecdataError(f"{folder}/{PREDICTIONS}: cannot be read ({one_line(error)}); evaluate again") from None
    n, column = len(predictions), f"{target_of(results).stored_in}_pred"
    if n != data["n"] or n == 0:
        raise SpecdataError(f"{folder}: holds predictions of {n} of {data['n']} rows; evaluate again")
    if column in predictions.column_names and predictions[column].null_count == n:
        raise SpecdataError(f"{folder}: none of its {n} rows has an answer; train and evaluate again")
    try:
        target = target_of(results)
        basis = scores_of(target).stored_basis(results, target)
        options = {"target": target, "with_posterior": "posterior" in results}
        wrong = _difference(results, score_predictions(predictions, basis, results["baselines"], **options), ())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SpecdataError(
            f"{folder}/{PREDICTIONS}: lacks what was scored ({one_line(error)}); evaluate again"
        ) from None
    if wrong:
        name, stated, found = wrong
        raise SpecdataError(
            f"{folder}/{RESULTS}: says {name} = {stated}, and its predictions give {found}; evaluate again"
        )
    name = repo.rpartition("/")[2]
    if (data["n_mock"] or data["n_mock_train"]) and _SURVEYS.search(name) and "mock" not in name.lower():
        raise SpecdataError(
            f"{repo}: the adapter was trained or scored on mocks, and its name says {_SURVEYS.search(name)[0]}; choose "
            "a --repo with 'mock' in its name"
        )
    return set(predictions["position_id"].to_pylist())


def _difference(stated, found, place):
    """Name, stated and found value of the first number of `found` that `stated` has otherwise, or None."""
    if isinstance(found, dict | list):
        if isinstance(found, list) and len(stated) != len(found):
            return f"{': '.join(map(str, place))}: its length", len(stated), len(found)
        parts = found.items() if isinstance(found, dict) else enumerate(found)
        differences = (_difference(stated[key], part, (*place, key)) for key, part in parts)
        return next(filter(None, differences), None)
    if isinstance(found, str) or found is None or stated is None:
        same = stated == found
    else:  # other processors round otherwise in the last bits, which can move a resample over the end of an interval
        same = np.isclose(stated, found, rtol=1e-6 if place[-1] == "value" else 1e-3, atol=1e-9)
    return None if same else (": ".join(map(str, place)), stated, found)


def check_scored_on(objects, dataset, results) -> None:
    """Refuse an adapter if its results do not agree with the data set on the Hub that it was scored on.

    It is refused if objects that it was scored on are in the training split there, if the data set's numbers or way to
    write spectra are not those of the results, and if the Hub does not hold the version that the results name.
    """
    from huggingface_hub import HfFileSystem

    scored = results["dataset"]
    revision, config, split = (scored[key] for key in ("revision", "config", "split"))
    files, root = HfFileSystem(skip_instance_cache=True), f"datasets/{dataset}@data-{revision[:12]}"
    try:
        with hub_errors(dataset):
            manifest = json.loads(files.read_text(f"{root}/{MANIFEST}"))
        names, counts, encoding = manifest["files"], manifest["counts"]["splits"], manifest["configs"][config]
        if files_revision(names) != revision:
            raise FileNotFoundError
        rows = {}
        for part in ("train", split):
            options = {"columns": ["position_id", "is_mock"], "filesystem": files}
            with hub_errors(dataset):
                tables = [pq.read_table(f"{root}/{name}", **options) for name in split_files(names, config, part)]
            rows[part] = pa.concat_tables(tables)
        stated = {"n_train": counts["train"], "n_in_split": counts[split]}
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError, RecursionError):
        raise SpecdataError(
            f"{dataset}: does not hold the revision {revision[:12]} that the adapter was scored on; publish that data "
            "set first, or give its name by --dataset"
        ) from None
    shared = objects & set(rows["train"]["position_id"].to_pylist())
    if shared:
        raise SpecdataError(
            f"{len(shared)} objects that the adapter was scored on, such as {min(shared)}, are in the training split "
            f"of {dataset}; evaluate it on rows that it has not seen"
        )
    for key, part, n in (("n_mock", split, scored["n"]), ("n_mock_train", "train", counts["train"])):
        stated[key] = sum(rows[part]["is_mock"].slice(0, n).to_pylist())
    ways = [Encoding.from_dict(way, config).to_dict() for way in (encoding, results["encoding"])]
    wrong = next((key for key, value in stated.items() if scored[key] != value), None)
    if wrong or ways[0] != ways[1]:
        raise SpecdataError(
            f"{dataset}: "
            + (f"has {stated[wrong]} as {wrong}, and the results say {scored[wrong]}" if wrong else
               f"writes the config {config} in another way than the results say")
            + "; evaluate again"
        )  # fmt: skip
