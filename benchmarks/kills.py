#!/usr/bin/env python3
"""Kill a command before each of its changes of files, or requests, give it again, and compare what it makes then.

    python benchmarks/kills.py                       # all jobs, at every change; some minutes
    python benchmarks/kills.py build --every 10      # one job, at every tenth change

A job runs in a forked process, which is killed (SIGKILL) before its first, second, ... change: each file opened for
writing, each name made, changed or removed, as Python's audit events tell them. Then the same job runs to its end. What
it makes has to be the same bytes as without a kill, and no temporary file or folder may be left beside it. Figures,
which take most of the time, are left out, and the model of the evaluation is a stand-in. A publication is killed before
each of its requests to a test Hub, where all of it or nothing has to be visible, and one commit in the end.
"""

import argparse
import hashlib
import itertools
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the test archive, and a recipe

from small_recipe import TWELVE

NAMES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.truncate"}


def killed(job, number) -> bool:
    """Run `job` in a process that is killed before its change `number`; False if it came to its end before that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork where there are threads
        child = os.fork()
    if not child:
        changes = itertools.count()

        def watch(event, arguments):
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if (writes or event in NAMES) and next(changes) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        code = 1
        try:
            sys.addaudithook(watch)
            job()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status):
        raise SystemExit(f"the job failed before its change {number}")
    return False


def hashes(folder) -> dict:
    """SHA-256 of each file below a folder by its path, and None for each folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for path in sorted(Path(folder).rglob("*"))
    }


def try_all(job, folder, *, first=0, every=1, prepare=lambda: None) -> int:
    """Kill a job that works in `folder` again and again, each time in an empty folder; how many times it was killed.

    `prepare` fills the folder before each time. AssertionError if what is there after another run differs.
    """

    def begin():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        prepare()

    begin()
    job()
    whole = hashes(folder)
    for count, number in enumerate(itertools.count(first, every)):
        begin()
        if not killed(job, number):
            return count
        job()
        found = hashes(folder)
        wrong = {path for path in whole.keys() | found.keys() if whole.get(path, 0) != found.get(path, 0)}
        assert not wrong, f"killed before change {number}, and these differ after another run: {sorted(wrong)}"


def build_job(folder, **options):
    """A build of mocks into `folder`; a data set that is there already, and complete, is left as it is."""
    from specdata.dataset import card
    from specdata.dataset.build import build
    from specdata.dataset.recipe import DataRecipe
    from specdata.errors import SpecdataError

    card.draw_figures = lambda folder, manifest: {}

    def job():
        try:
            build(DataRecipe.model_validate(TWELVE), folder / "out", shards=2, progress=False, **options)
        except SpecdataError as error:  # killed after the very last change that matters
            if "exists already" not in str(error):
                raise

    return job


def fetch_job(folder, archive):
    """A catalogue and its spectra, from an archive on this machine."""
    from specdata.archive.fetch import fetch_recipe
    from specdata.dataset.recipe import DataRecipe

    source = {"kind": "sdss", "skyserver_url": archive.url, "sas_url": archive.sas, "connections": 2}
    source |= {"catalogue": str(folder / "catalogue.parquet"), "cache": str(folder / "sas")}
    recipe = TWELVE | {"source": source, "cuts": {"z_max": 0.4}, "sample": {"size": 10, "redshift_bins": 2}}
    return lambda: fetch_recipe(DataRecipe.model_validate(recipe), lambda spectrum: None, progress=False)


class Answers:
    """A model that answers every prompt the same, in no time."""

    revision, device, hardware, dtype = None, "none", "none", "none"

    def __init__(self, model, adapter, *, device):
        """Nothing is loaded."""

    def count_tokens(self, prompts) -> int:
        """Any number."""
        return len(prompts)

    def answer(self, prompts, **_) -> list:
        """The same for all."""
        return ["Redshift: [0.1234]"] * len(prompts)


def evaluate_job(folder, data, **options):
    """An evaluation into `folder` on a data set; what is measured is not how well, or how fast, a model answers."""
    from specdata.errors import SpecdataError
    from specdata.evaluation import evaluate, predictions

    model = folder.parent / "model"
    model.mkdir(exist_ok=True)
    (model / "model.safetensors").write_bytes(b"")
    predictions.Generator = Answers
    evaluate.figures.draw_figures = lambda folder: None
    time.perf_counter = lambda: 0.0
    names = {"config": "paper", "greedy_only": True, "baselines": ["constant"], "batch_size": 1, "progress": False}

    def job():
        try:
            evaluate.evaluate(str(model), str(data), folder / "out", **names, **options)
        except SpecdataError as error:
            if "exists already" not in str(error):
                raise

    return job


def killed_at_request(job, number) -> bool:
    """Run `job` in a process that is killed before it sends its request `number`; False if it came to its end."""
    import httpx2

    send, count = httpx2.Client.send, itertools.count()

    def counted(*arguments, **options):
        if next(count) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return send(*arguments, **options)

    def counted_job():
        httpx2.Client.send = counted
        job()

    return killed(counted_job, -1)


def try_requests(data, hub, *, every=1) -> int:
    """Kill a publication before each of its requests, and give it again; how many times it was killed.

    AssertionError if part of the data set is ever visible, or the second run does not end with one commit and one tag.
    """
    from specdata.publish.publish import publish_dataset

    for count, number in enumerate(itertools.count(0, every)):
        name = f"org/mock-kills-{number}"
        for path in hub.storage.folder.glob("objects/*"):
            path.unlink()  # so that all has to be sent again
        was_killed = killed_at_request(lambda name=name: publish_dataset(data, name), number)
        begun = hub.storage.repos.get(("dataset", name))
        states = [set(commit.files) for commit in begun.history()] if begun else []
        done = publish_dataset(data, name)
        repo = hub.repo("dataset", name)
        whole = set(repo.resolve("main").files)
        assert all(files in (whole, {".gitattributes"}) for files in states), f"request {number}: {states}"
        assert len(repo.history()) == 2, f"request {number}: {len(repo.history())} commits"
        assert repo.tags == {done.tags[0]: done.commit}, f"request {number}: {repo.tags}"
        if not was_killed:
            return count


def main(names, every) -> None:
    """Try the jobs of these names."""
    from archive_server import Archive, MockFiles, make_sky

    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        (place / "template").mkdir()
        with Archive(make_sky(400, seed=4), content=MockFiles(place / "template", pixels=slice(None))) as archive:
            folder, data = place / "work", place / "data" / "out"
            build = build_job(folder)
            data.parent.mkdir()
            build_job(data.parent)()
            jobs = {
                "build": {"job": build},
                "overwrite": {"job": build_job(folder, overwrite=True), "prepare": build},
                "fetch": {"job": fetch_job(folder, archive)},
                "evaluate": {"job": evaluate_job(folder, data)},
            }
            for name in names or [*jobs, "publish"]:
                begin = time.monotonic()
                if name == "publish":
                    count = publish(data, place, every)
                    print(f"{name:<10} killed before {count} requests: one commit, all or nothing visible")
                    continue
                count = try_all(folder=folder, every=every, **jobs[name])
                print(f"{name:<10} killed {count} times: always the same in the end ({time.monotonic() - begin:.0f} s)")


def publish(data, place, every) -> int:
    """Run `try_requests` on a test Hub of its own."""
    from unittest.mock import patch

    from hub_server import running_hub

    with running_hub(place / "hub") as hub:
        from huggingface_hub import constants

        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        names = {"ENDPOINT": hub.url, "HUGGINGFACE_CO_URL_TEMPLATE": template, "HF_HUB_OFFLINE": False}
        names["HF_HUB_DISABLE_XET"] = True
        with patch.multiple(constants, **names), patch.dict(os.environ, HF_TOKEN=hub.tokens["alice"]):
            return try_requests(data, hub, every=every)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", help="build, overwrite, fetch, evaluate, publish; by default all")
    parser.add_argument("--every", type=int, default=1, help="try only every so many changes")
    options = parser.parse_args()
    main(options.jobs, options.every)
