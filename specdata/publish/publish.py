"""Data sets and adapters to the Hub: checked, scanned, and visible in one commit or not at all."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from specdata.dataset.manifest import MANIFEST, read_manifest
from specdata.errors import SpecdataError
from specdata.hub import check_access, check_write
from specdata.publish.checks import check_adapter, check_apart, check_dataset, check_hub_name
from specdata.publish.collection import add_to_collection
from specdata.publish.commit import (
    State,
    check_owner,
    check_tag,
    commit,
    compare,
    make_repository,
    name_commit,
    read_state,
)
from specdata.publish.contents import ADAPTER_OWNS, DATASET_OWNS, adapter_contents, dataset_card, dataset_contents
from specdata.publish.lora import check_lora
from specdata.publish.scan import scan
from specdata.publish.tokenizer import same_tokenizer
from specdata.results import load_results

PAPER = "2508.10075"
_TAG = re.compile(r"(?!.*\.\.)(?!.*\.lock$)[\w][\w.+-]*")


@dataclass(frozen=True)
class Published:
    """What a publication did, or would do.

    Attributes
    ----------
    repo, repo_type, tag : str
    changes : specdata.publish.commit.Changes
    left_out : list of str
        Files of the folder that stay here.
    notes : list of str
        What the user should know.
    commit : str or None
        The commit that holds everything; None where nothing was sent.
    made : bool
        Whether it is a new commit.
    collection : str or None
        Its address.
    """

    repo: str
    repo_type: str
    tag: str
    changes: object
    left_out: list
    notes: list
    commit: str | None = None
    made: bool = False
    collection: str | None = None


def publish_dataset(folder, repo, *, tag=None, show=None, **options):
    """Publish a data set of `specdata.dataset.build.build`.

    Parameters
    ----------
    folder : path-like
    repo : str
        ``ORG/NAME``.
    tag : str, optional
        Name of this version, by default ``data-`` and its revision.
    show : callable, optional
        Called with a `Published` that says what will be done, before it is.
    **options
        private : bool
            Make a private repository.
        message : str
            Of the commit.
        collection : str
            Title of a collection that it is put into; see `specdata.publish.commit.add_to_collection`.
        allow : sequence of str
            See `specdata.publish.scan.scan`.
        dry_run : bool
            Send nothing.

    Returns
    -------
    Published

    Raises
    ------
    SpecdataError
        If the token may not, the repository is another one, the data set is not what its card says, or it holds
        something that is nobody's business.
    """
    folder = Path(folder)
    _check_names(folder, repo, tag)
    there = _ask(repo, "dataset", options)
    manifest = read_manifest(folder, folder)
    check_dataset(folder, manifest, repo)
    default = f"data-{manifest['revision'][:12]}"
    uploads, left_out = dataset_contents(folder, manifest, repo, tag or default)
    scan(uploads, namespace=repo.partition("/")[0], allow=options.get("allow") or ())
    message = f"{manifest['recipe']['name']}: {manifest['counts']['sampled']:,} spectra, revision {default[5:]}"
    return _publish(
        repo, "dataset", uploads, left_out, [], there, show, options, tag=tag, default=default, message=message,
        owns=DATASET_OWNS, marker=MANIFEST, items=[(repo, "dataset")],
        named=lambda name: [dataset_card(folder, manifest, repo, name), *uploads[1:]],
    )  # fmt: skip


def publish_adapter(folder, repo, *, dataset=None, base_model=None, tag=None, show=None, **options):
    """Publish an adapter of `specdata.publish.adapter_card.write_adapter`.

    Parameters
    ----------
    folder : path-like
    repo : str
        ``ORG/NAME``.
    dataset, base_model : str, optional
        Names on the Hub of the data set and the base model; needed where local copies of them were used.
    tag, show, **options
        As for `publish_dataset`; the tag is by default ``adapter-`` and the hash of the weights.

    Returns
    -------
    Published

    Raises
    ------
    SpecdataError
        As for `publish_dataset`, and if the base model is gated and not to be had, the data set on the Hub is not the
        one that was scored on, or training rows were scored.
    """
    folder = Path(folder)
    _check_names(folder, repo, tag)
    there = _ask(repo, "model", options)
    results = load_results(folder, "publish the folder that `specdata card` makes")
    scored = check_adapter(folder, results, repo)
    needed = check_lora(folder)
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    dataset, base_model = dataset or results["dataset"]["name"], base_model or config["base_model_name_or_path"]
    check_hub_name(base_model, "base model", "--base-model")
    check_hub_name(dataset, "data set", "--dataset")
    check_access(base_model)
    check_access(dataset, "dataset")
    check_apart(dataset, results["dataset"], scored)
    same = same_tokenizer(folder, base_model)
    names = {"dataset": dataset, "base_model": base_model, "rank": needed}
    uploads, left_out = adapter_contents(folder, results, config, repo, **names, same_tokenizer=same)
    scan(uploads, namespace=repo.partition("/")[0], allow=options.get("allow") or ())
    notes = [f"vLLM: --enable-lora --max-lora-rank {needed}"]
    if same:
        notes.append(f"the tokenizer is that of {base_model} and stays here")
    ours, constant = results["metrics"]["mae"]["value"], results["baselines"]["constant"]["metrics"]["mae"]["value"]
    if ours >= constant:
        notes.append("this adapter is no better than a constant in MAE, and its card says so")
    default = f"adapter-{results['model']['adapter_revision'][:12]}"
    score = f"MAE {ours:.4f} on {results['dataset']['n']} rows"
    return _publish(
        repo, "model", uploads, left_out, notes, there, show, options, tag=tag, default=default,
        message=f"LoRA adapter of {base_model}, {score}", owns=ADAPTER_OWNS, marker="adapter_config.json",
        items=[(dataset, "dataset"), (repo, "model")],
    )  # fmt: skip


def _check_names(folder, repo, tag):
    if not folder.is_dir():
        raise SpecdataError(f"{folder}: is no folder; give the one that specdata made")
    check_hub_name(repo, "repository", "--repo")
    if tag is not None and not _TAG.fullmatch(tag):
        raise SpecdataError(f"--tag {tag}: is no name for a tag; write one such as v1.0")


def _ask(repo, repo_type, options):
    """Whether the repository is there, after a look at what the token may; a dry run needs none."""
    return None if options.get("dry_run") else check_write(repo, repo_type)


def _publish(repo, repo_type, uploads, left_out, notes, there, show, options, *, tag, default, message, owns, marker,
             items, named=None):  # fmt: skip
    """Compare with what is there, show it, and send what is not.

    `named` gives the uploads under another tag, which their card names.
    """
    try:
        state = read_state(repo, repo_type)
    except SpecdataError as error:
        if not options.get("dry_run"):
            raise
        state, notes = State(None, {}, {}, False), [*notes, f"not compared with what is there: {error}"]
    check_owner(repo, state, marker)
    name = tag or default
    if tag is None and named:  # without a wish, what is there under a tag of its own is left as it is
        at_head = [other for other, oid in state.tags.items() if oid == state.head]
        name = next((other for other in at_head if not compare(named(other), state, owns)), default)
        uploads = named(name)
    changes = compare(uploads, state, owns)
    if tag is not None:
        check_tag(repo, state, changes, tag)
    if options.get("private") and state.head is not None and not state.private:
        raise SpecdataError(
            f"{repo}: is public already; make it private on its page on the Hub, or leave out --private"
        )
    planned = Published(repo, repo_type, name, changes, left_out, notes)
    if show is not None:
        show(planned)
    if options.get("dry_run"):
        return planned
    if state.head is None:
        state = make_repository(repo, repo_type, options.get("private"))
        changes = compare(uploads, state, owns)
    oid, made = state.head, bool(changes)
    if made:
        oid = commit(repo, repo_type, uploads, changes, state, options.get("message") or message, owns)
    if name not in state.tags:  # a tag of our own making names the content, and stays where that came up
        name_commit(repo, repo_type, oid, name)
    address = None
    if options.get("collection"):
        space = repo.partition("/")[0]
        items = [*items, (PAPER, "paper")]
        address = add_to_collection(options["collection"], space, items, private=bool(options.get("private")))
    return Published(repo, repo_type, name, planned.changes, left_out, notes, oid, made, address)
