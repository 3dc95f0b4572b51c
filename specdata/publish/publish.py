"""Data sets and adapters to the Hub: checked, scanned, and visible in one commit or not at all."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from specdata.cards import licence
from specdata.dataset.card import dataset_card
from specdata.dataset.manifest import MANIFEST, read_manifest
from specdata.errors import SpecdataError
from specdata.hub import check_access, check_hub_name, check_write, hub_errors
from specdata.inference.adapter import read_config
from specdata.publish.adapter_card import adapter_card
from specdata.publish.checks import check_adapter, check_dataset, check_not_trained_on
from specdata.publish.commit import Repository, add_to_collection, commit, outdated, read_repository
from specdata.publish.compatible import check_base, check_lora, same_tokenizer
from specdata.publish.contents import CARD, CONFIG, OWNED, adapter_files, dataset_files, left_out, regular_file
from specdata.publish.scan import scan
from specdata.results import load_results

PAPER = "2508.10075"
_MARKERS = {"dataset": MANIFEST, "model": CONFIG}  # show that a repository was published by specdata
_TAG = re.compile(r"(?!main$)(?!.*\.\.)(?!.*\.lock$)\w[\w.+-]*")


@dataclass(frozen=True)
class Publication:
    """What is to be published, and after that what came of it."""

    repo: str
    kind: str  # "dataset" or "model"
    uploads: dict  # content as bytes or as the path of a local file, by path in the repository
    left_out: list  # files of the folder that are not published
    notes: list  # what the user should know
    tags: list  # names of this version; the first is made of the content
    present: frozenset = frozenset()  # files in the repository before
    removed: list = ()  # those of them that are removed
    commit: str | None = None  # holds everything; None after a dry run
    is_new: bool = False  # whether that commit was made now
    collection: str | None = None  # its address


def publish_dataset(folder, repo, *, dry_run=False, **options) -> Publication:
    """Publish a data set of `specdata.dataset.build.build`.

    Parameters
    ----------
    folder : path-like
    repo : str
        ``ORG/NAME``.
    dry_run : bool
        Check, scan and list everything, and send nothing.
    **options
        `tag`, a further name of this version; `private`, whether a new repository is; `message` of the commit;
        `collection` as for `specdata.publish.commit.add_to_collection`; `allow` as for `specdata.publish.scan.scan`;
        `show`, called with the `Publication` before anything is sent.

    Raises
    ------
    SpecdataError
        If the token may not, anything in the folder does not agree with the rest, a secret or a local path was found,
        somebody else publishes meanwhile, or the Hub cannot be reached.
    """
    folder = Path(folder)
    _check_first(folder, repo, "dataset", options, dry_run)
    manifest = read_manifest(folder, folder)
    name, revision = manifest["recipe"]["name"], manifest["revision"][:12]
    try:
        files = dataset_files(folder, manifest)
        check_dataset(folder, manifest, repo)
        card = dataset_card(folder, manifest, repo, tag=f"data-{revision}").encode()
        changed = regular_file(folder, CARD).read_bytes() != dataset_card(folder, manifest, name).encode()
    except (KeyError, TypeError, AttributeError) as error:
        raise SpecdataError(f"{folder}: its {MANIFEST} is not of this version ({error!r}); build it again") from None
    uploads, notes = {CARD: card, **files}, []
    if changed:
        notes.append(f"the changes in {CARD} are not published: the card on the Hub is made of {MANIFEST} and the rows")
    planned = Publication(repo, "dataset", uploads, left_out(folder, uploads), notes, [f"data-{revision}"])
    message = f"{name}: {manifest['counts']['sampled']:,} spectra, revision {revision}"
    return _send(planned, message, [(repo, "dataset")], dry_run, **options)


def publish_adapter(folder, repo, *, dataset=None, base_model=None, dry_run=False, **options) -> Publication:
    """Publish an adapter of `specdata.publish.adapter_card.write_adapter`.

    Parameters
    ----------
    folder : path-like
    repo : str
        ``ORG/NAME``.
    dataset, base_model : str, optional
        Names on the Hub of the data set and the base model; needed where local copies of them were used.
    dry_run, **options
        As for `publish_dataset`.

    Raises
    ------
    SpecdataError
        As for `publish_dataset`, and if the base model is gated and the token has no access, the data set on the Hub is
        not the one that was scored on, training rows were scored, or vLLM would not load the adapter.
    """
    folder = Path(folder)
    _check_first(folder, repo, "model", options, dry_run)
    results = load_results(folder, "publish the folder that `specdata card` makes")
    scored = check_adapter(folder, results, repo)
    rank = check_lora(folder)
    dataset = dataset or results["dataset"]["name"]
    base_model = base_model or read_config(folder)["base_model_name_or_path"]
    check_hub_name(base_model, "base model", "--base-model")
    check_hub_name(dataset, "data set", "--dataset")
    check_access(base_model)
    check_base(folder, base_model)
    check_access(dataset, "dataset")
    check_not_trained_on(scored, dataset, results["dataset"])
    same = same_tokenizer(folder, base_model)
    names = {"dataset": dataset, "base_model": base_model, "tokenizer": base_model if same else repo}
    card = adapter_card(folder, repo, hub=names | {"rank": rank, "licence": licence(base_model)})
    uploads = {CARD: card.encode(), **adapter_files(folder, results, repo, names)}
    notes = [f"vLLM: --enable-lora --max-lora-rank {rank}"]
    if same:
        notes.append(f"the tokenizer is that of {base_model} and is not published again")
    if results["baselines"]["constant"]["verdict"] != "better":
        notes.append("the MAE of this adapter is not clearly lower than that of a constant, and its card says so")
    tag = f"adapter-{results['model']['adapter_revision'][:12]}"
    planned = Publication(repo, "model", uploads, left_out(folder, uploads), notes, [tag])
    message = f"LoRA adapter of {base_model}, MAE {results['metrics']['mae']['value']:.4f}"
    return _send(planned, message, [(dataset, "dataset"), (repo, "model")], dry_run, **options)


def _check_first(folder, repo, kind, options, dry_run):
    """Refuse wrong arguments, and a token that may not publish; a dry run needs none."""
    if not folder.is_dir():
        raise SpecdataError(f"{folder}: is not a folder; give one that specdata made")
    check_hub_name(repo, "repository", "--repo")
    if options.get("tag") and not _TAG.fullmatch(options["tag"]):
        raise SpecdataError(f"--tag {options['tag']}: cannot be the name of a tag; write one such as v1.0")
    if not dry_run:
        check_write(repo, kind)


def _send(
    planned, own_message, items, dry_run, *, tag=None, private=False, message=None, collection=None, allow=(), show=None
):
    """Scan, list and publish; options as for `publish_dataset`."""
    from huggingface_hub import HfApi

    repo, kind, owner = planned.repo, planned.kind, planned.repo.partition("/")[0]
    scan(planned.uploads, owner=owner, allow=allow or ())
    try:
        there = read_repository(repo, kind)
    except SpecdataError as error:
        if not dry_run:
            raise
        there = Repository(repo, kind)
        planned.notes.append(f"the repository could not be looked at: {error}")
    others = [path for path in there.files if path not in (".gitattributes", CARD) and not path.startswith("LICENSE")]
    if others and _MARKERS[kind] not in there.files:
        raise SpecdataError(
            f"{repo}: was not published by specdata, for it holds {min(others)} and no {_MARKERS[kind]}; choose another"
        )
    if there.tags.get(tag, there.head) != there.head:
        raise SpecdataError(f"{repo}: the tag {tag} names an earlier commit and is never moved; choose another --tag")
    if private and there.head is not None and not there.private:
        raise SpecdataError(f"{repo}: is public already; make it private on the Hub, or leave out --private")
    removed = outdated(there.files, planned.uploads, OWNED[kind])
    tags = [*planned.tags, *([tag] if tag else [])]
    planned = replace(planned, present=there.files, removed=removed, tags=tags)
    if show is not None:
        show(planned)
    if dry_run:
        return planned
    with hub_errors(repo):
        if there.head is None:
            HfApi().create_repo(repo, repo_type=kind, private=private or None, exist_ok=True)
            there = read_repository(repo, kind)
        oid = commit(there, planned.uploads, message or own_message, OWNED[kind])
        for name in set(tags) - set(there.tags):
            HfApi().create_tag(repo, tag=name, revision=oid, repo_type=kind)
    if there.tags.get(tag, oid) != oid:
        raise SpecdataError(
            f"{repo}: published as commit {oid[:7]}, but the tag {tag} names commit {there.head[:7]} and is never "
            "moved; give the same command again with another --tag"
        )
    address = None
    if collection:
        address = add_to_collection(collection, owner, [*items, (PAPER, "paper")], private=private)
    return replace(planned, commit=oid, is_new=oid != there.head, collection=address)
