"""Data sets and adapters to the Hub: checked, scanned, and visible in one commit or not at all."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from specdata.cards import licence
from specdata.dataset.card import dataset_card
from specdata.dataset.manifest import MANIFEST, read_manifest
from specdata.errors import SpecdataError
from specdata.hub import check_access, check_hub_name, check_write, hub_errors, token_user
from specdata.inference.adapter import read_config
from specdata.publish.adapter_card import adapter_card
from specdata.publish.benchmark import eval_results, eval_yaml
from specdata.publish.checks import check_adapter, check_dataset, check_scored_on
from specdata.publish.commit import Repository, add_to_collection, commit, outdated, read_repository
from specdata.publish.compatible import check_base, check_chat, check_lora, same_tokenizer
from specdata.publish.contents import (
    CARD,
    CONFIG,
    EVAL_YAML,
    OWNED,
    adapter_files,
    dataset_files,
    left_out,
    regular_file,
)
from specdata.publish.scan import scan
from specdata.results import load_results, target_of

PAPER = "2508.10075"
_MARKERS = {"dataset": MANIFEST, "model": CONFIG}  # show that a repository was published by specdata
_REF = re.compile(r"(?!.*\.\.)(?!.*\.lock$)\w[\w.+-]*")


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
    pull_request: str | None = None  # address of the one that holds the commit, if it is no part of a branch yet
    stay: dict = field(default_factory=dict)  # commits of those of the tags that name an earlier one
    collection: str | None = None  # its address


def publish_dataset(folder, repo, *, benchmark=False, dry_run=False, **options) -> Publication:
    """Publish a data set of `specdata.dataset.build.build`.

    Parameters
    ----------
    folder : path-like
    repo : str
        ``ORG/NAME``.
    benchmark : bool
        Add an `eval.yaml`, see `specdata.publish.benchmark`.
    dry_run : bool
        Check, scan and list everything, and send nothing.
    **options
        `tag`, a further name of this version; `private`, whether a new repository is; `message` of the commit;
        `branch`, another one than ``main``, made if it does not exist; `as_pull_request`, to open a pull request and
        change nothing else; `replace_other`, to publish over a data set that has another name;
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
    if benchmark:
        uploads[EVAL_YAML] = eval_yaml(manifest).encode()
    if changed:
        notes.append(f"the changes in {CARD} are not published: the card on the Hub is made of {MANIFEST} and the rows")
    planned = Publication(repo, "dataset", uploads, left_out(folder, uploads), notes, [f"data-{revision}"])
    message = f"{name}: {manifest['counts']['sampled']:,} spectra, revision {revision}"
    return _send(planned, message, [(repo, "dataset")], dry_run, name=name, **options)


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
    same = same_tokenizer(folder, base_model)
    names = {"dataset": dataset, "base_model": base_model, "tokenizer": base_model if same else repo}
    card = adapter_card(folder, repo, hub=names | {"rank": rank, "licence": licence(base_model)})
    check_scored_on(scored, dataset, results)
    uploads = {CARD: card.encode(), **adapter_files(folder, results, repo, names)}
    if not same:
        check_chat(folder)
    uploads |= eval_results(results, dataset, repo)
    notes = [f"vLLM: --enable-lora --max-lora-rank {rank}"]
    if same:
        notes.append(f"the tokenizer is that of {base_model} and is not published again")
    target = target_of(results)
    if results["baselines"]["constant"]["verdict"] != "better":
        notes.append(f"the {target.loss_words} is not clearly lower than that of a constant, and the card says so")
    tag = f"adapter-{results['model']['adapter_revision'][:12]}"
    planned = Publication(repo, "model", uploads, left_out(folder, uploads), notes, [tag])
    message = f"LoRA adapter of {base_model}, {target.loss_words} {results['metrics'][target.loss]['value']:.4g}"
    return _send(planned, message, [(dataset, "dataset"), (repo, "model")], dry_run, **options)


def _check_first(folder, repo, kind, options, dry_run):
    """Refuse wrong arguments, and a token that may not publish; a dry run needs none."""
    if not folder.is_dir():
        raise SpecdataError(f"{folder}: is not a folder; give one that specdata made")
    check_hub_name(repo, "repository", "--repo")
    tag, branch, as_pull_request = (options.get(name) for name in ("tag", "branch", "as_pull_request"))
    if tag and (tag in ("main", "HEAD", branch) or not _REF.fullmatch(tag)):
        raise SpecdataError(f"--tag {tag}: cannot be the name of a tag; write one such as v1.0")
    if branch and not _REF.fullmatch(branch):
        raise SpecdataError(f"--branch {branch}: cannot be the name of a branch; write one such as revised")
    if as_pull_request and (branch or tag):
        raise SpecdataError("--pull-request: goes to main and gets no tag; leave out --branch and --tag")
    if as_pull_request and not dry_run:
        token_user(write=True)
        check_access(repo, "dataset" if kind == "dataset" else "model")
    elif not dry_run:
        check_write(repo, kind)


def _send(
    planned, own_message, items, dry_run, *, name=None, tag=None, private=False, message=None, collection=None,
    allow=(), show=None, branch=None, as_pull_request=False, replace_other=False,
):  # fmt: skip
    """Scan, list and publish; options as for `publish_dataset`, and the `name` of a data set."""
    from huggingface_hub import HfApi

    repo, kind, owner, branch = planned.repo, planned.kind, planned.repo.partition("/")[0], branch or "main"
    scan(planned.uploads, owner=owner, allow=allow or ())
    try:
        there = read_repository(repo, kind, branch)
        _check_there(there, planned, name, replace_other)
    except SpecdataError as error:
        if not dry_run or not isinstance(error.__cause__, Exception):  # a dry run works without the Hub
            raise
        there = Repository(repo, kind, branch=branch)
        planned.notes.append(f"the repository could not be looked at: {error}")
    if there.tags.get(tag, there.head) != there.head:
        raise SpecdataError(f"{repo}: the tag {tag} names an earlier commit and is never moved; choose another --tag")
    if private and there.exists and not there.private:
        raise SpecdataError(f"{repo}: is public already; make it private on the Hub, or leave out --private")
    removed = outdated(there.files, planned.uploads, OWNED[kind])
    tags = [] if as_pull_request else [*planned.tags, *([tag] if tag else [])]
    planned = replace(planned, present=there.files, removed=removed, tags=tags)
    if show is not None:
        show(planned)
    if dry_run:
        return planned
    with hub_errors(repo):
        if not there.exists:
            HfApi().create_repo(repo, repo_type=kind, private=private or None, exist_ok=True)
        if there.head is None and branch != "main":
            HfApi().create_branch(repo, branch=branch, repo_type=kind, exist_ok=True)
        if there.head is None:
            there = read_repository(repo, kind, branch)
        oid, request = commit(
            there, planned.uploads, message or own_message, OWNED[kind], as_pull_request=as_pull_request
        )
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
    stay = {name: there.tags[name] for name in tags if there.tags.get(name, oid) != oid}
    done = {"commit": oid, "is_new": oid != there.head, "pull_request": request, "collection": address, "stay": stay}
    return replace(planned, **done)


def _check_there(there, planned, name, replace_other):
    """Refuse a repository that was not published by specdata, or that holds a data set of another name."""
    marker, repo = _MARKERS[there.kind], there.name
    others = [path for path in there.files if path not in (".gitattributes", CARD) and not path.startswith("LICENSE")]
    if others and marker not in there.files:
        raise SpecdataError(
            f"{repo}: was not published by specdata, for it holds {min(others)} and no {marker}; choose another"
        )
    if name is None or not others or replace_other:
        return
    from huggingface_hub import hf_hub_download

    with hub_errors(repo):
        path = hf_hub_download(repo, MANIFEST, repo_type=there.kind, revision=there.head)
    try:
        found = read_manifest(Path(path).parent, repo)["recipe"]["name"]
    except SpecdataError:  # of another version of specdata
        return
    if found != name:
        raise SpecdataError(
            f"{repo}: holds the data set {found!r}, and this one is {name!r}; choose another --repo, or add --replace "
            "to publish it as the next version"
        )
