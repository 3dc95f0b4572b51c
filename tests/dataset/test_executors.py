"""A build in parts: by one process, by several, by a cluster's jobs, and by any of them after a kill."""

import csv
import dataclasses
import importlib.util
import json
import multiprocessing
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import numpy as np
import pytest
import yaml
from small_recipe import hashes
from spec_lite import write_spec_lite

from specdata import SpecdataError
from specdata.dataset import build as building
from specdata.dataset import executors, stages
from specdata.dataset.asked import AskedValues
from specdata.dataset.build import build
from specdata.dataset.recipe import DataRecipe
from specdata.dataset.sources import folder_paths, read_folder
from specdata.spectra.mock.spectrum import mock_spectra

SPECDATA = Path(sys.executable).with_name("specdata")
KILL = -signal.SIGKILL


def recipe_of(source):
    content = {
        "name": "mock-parts",
        "title": "Mocks in parts",
        "source": source,
        "sample": {"size": 400, "redshift_bins": 5},
        "splits": {"train": 20, "validation": 10},
        "configs": {
            "paper": {"grid": {"start": 3840.0, "stop": 9160.0, "bins": 12}},
            "fine": {"grid": {"start": 3900.0, "stop": 9000.0, "bins": 90}, "scheme": "packed"},
        },
        "tokenizers": [],
    }  # fmt: skip
    return DataRecipe.model_validate(content)


MOCKS = recipe_of({"kind": "mock", "size": 60, "seed": 2})


@pytest.fixture(scope="module")
def files(tmp_path_factory, spec_files):
    """Sixty mock files, in four folders: some come twice, some cannot be read, some have no scale, one is a star."""
    folder = tmp_path_factory.mktemp("files")
    spectra = list(mock_spectra(60, seed=5))
    for name, chosen in {"b": spectra[:40], "c": spectra[30:60], "d": spectra[:5]}.items():
        (folder / name).mkdir()
        for spectrum in chosen:
            write_spec_lite(spectrum, folder / name / f"spec-{spectrum.name}.fits")
    # Without a scale: before, and after, the same name that has one; and one that has none anywhere.
    (folder / "a").mkdir()
    dark = [dataclasses.replace(s, flux=-np.abs(s.flux)) for s in (spectra[12], *mock_spectra(1, seed=6))]
    for name in "acd":
        for spectrum in dark:
            write_spec_lite(spectrum, folder / name / f"spec-{spectrum.name}-dark.fits")
    shutil.copy(spec_files["star"], folder / "c")
    (folder / "b" / "spec-9999-59999-0001.fits").write_text("<html>404</html>")
    return folder


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    """What one process makes of the files in one part."""
    output = tmp_path_factory.mktemp("whole") / "out"
    build(recipe_of({"kind": "folder", "path": str(files)}), output, shards=1, progress=False)
    return hashes(output)


@pytest.fixture(scope="module")
def mocks(tmp_path_factory):
    """What one process makes of `MOCKS`."""
    output = tmp_path_factory.mktemp("mocks") / "out"
    build(MOCKS, output, progress=False)
    return hashes(output)


@pytest.fixture
def two_workers(monkeypatch):
    """Start two processes however little there is to do."""
    monkeypatch.setattr(executors, "PER_WORKER", 1)


def test_parts_are_put_together_as_one_pass_would(files, whole, tmp_path):
    recipe = recipe_of({"kind": "folder", "path": str(files)})
    build(recipe, tmp_path / "out", shards=7, progress=False)
    assert hashes(tmp_path / "out") == whole
    # The one pass, written out.
    expected, seen = [], set()
    spectra = read_folder(
        folder_paths(files), on_error=lambda path, _: expected.append([path.name, "unreadable"])
    )  # fmt: skip
    for spectrum in spectra:
        failed, _ = stages.judge(recipe, spectrum, AskedValues(recipe))
        if failed is None and spectrum.name in seen:
            failed = "duplicate", f"{spectrum.name} came before"
        if failed:
            expected.append([spectrum.source, *failed])
        else:
            seen.add(spectrum.name)
    with (tmp_path / "out" / "rejected.csv").open(newline="") as stream:
        found = list(csv.reader(stream))[1:]
    assert [row[: len(wanted)] for row, wanted in zip(found, expected, strict=True)] == expected
    assert [row[1] for row in found].count("duplicate") == 10 + 5
    assert [row[1] for row in found].count("median_flux") == 6
    assert not list(tmp_path.glob("out.*"))


def test_two_processes_make_the_same_bytes(files, whole, tmp_path, two_workers, capfd):
    build(recipe_of({"kind": "folder", "path": str(files)}), tmp_path / "out", shards=5, workers=2)
    assert "5/5" in capfd.readouterr().err  # parts, where one process would count spectra
    assert hashes(tmp_path / "out") == whole
    assert not list(tmp_path.glob("out.*"))


def die_once(folder, rank, count, **options):
    """`read_shard`, whose process is killed at the third shard the first time."""
    if rank == 2 and not (folder / "read" / "killed").exists():
        (folder / "read" / "killed").mkdir()
        os.kill(os.getpid(), signal.SIGKILL)
    stages.read_shard(folder, rank, count, **options)


def test_a_worker_is_killed_and_the_relaunch_does_only_what_is_missing(mocks, tmp_path, two_workers, monkeypatch):
    monkeypatch.setattr(building, "read_shard", die_once)
    with pytest.raises(SpecdataError, match=r"a worker process was killed, .*; give the same command"):
        build(MOCKS, tmp_path / "out", shards=4, workers=2, progress=False)
    assert not (tmp_path / "out").exists()
    parts = {path: path.stat().st_ino for path in tmp_path.glob("out.parts/read/?????")}
    assert tmp_path / "out.parts" / "read" / "00002" not in parts
    make_plan = building.make_plan

    def look(folder, **options):
        read = {path: path.stat().st_ino for path in folder.glob("read/?????")}
        assert len(read) == 4
        assert read | parts == read
        return make_plan(folder, **options)

    monkeypatch.setattr(building, "make_plan", look)
    build(MOCKS, tmp_path / "out", workers=2, progress=False)
    assert hashes(tmp_path / "out") == mocks
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def build_and_be_killed(output, where):
    """Build `MOCKS` in a process that is killed at some place: the body of the processes of the next two tests."""
    module, name, count = {
        "reading": (stages, "judge", 20),
        "writing": (stages, "write_parquet", 2),
        "finishing": (building, "make_manifest", 1),
        "by a worker": (None, None, None),
    }[where]
    if module is None:
        executors.PER_WORKER, building.read_shard = 1, kill_the_command
        build(MOCKS, output, shards=2, workers=2, progress=False)
    original, calls = getattr(module, name), []

    def function(*arguments, **options):
        calls.append(name)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(module, name, function)
    build(MOCKS, output, shards=4, progress=False)


def kill_the_command(folder, rank, count):
    os.kill(multiprocessing.parent_process().pid, signal.SIGKILL)
    threading.Event().wait()  # for ever, unless the worker ends with the command


def killed(output, where):
    code = f"import test_executors\ntest_executors.build_and_be_killed({str(output)!r}, {where!r})"
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    # The pipe stays open for as long as any process that the command started.
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, timeout=300, check=False
    )
    assert done.returncode == KILL, done.stderr


def test_the_command_is_killed_again_and_again(mocks, tmp_path, monkeypatch):
    for where in ("reading", "writing", "finishing"):
        killed(tmp_path / "out", where)
        assert not (tmp_path / "out").exists()
    # All was read by then, and is not read again.
    monkeypatch.setattr(stages, "open_source", lambda *_: pytest.fail("a shard that is there was read again"))
    build(MOCKS, tmp_path / "out", progress=False)
    assert hashes(tmp_path / "out") == mocks
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_workers_end_with_a_command_that_is_killed(tmp_path):
    killed(tmp_path / "out", "by a worker")


def test_parts_of_something_else_are_refused(files, whole, tmp_path, monkeypatch):
    folder, work = tmp_path / files.name, tmp_path / "out.parts"
    shutil.copytree(files, folder)
    recipe = recipe_of({"kind": "folder", "path": str(folder)})
    monkeypatch.setattr(building, "make_plan", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        build(recipe, tmp_path / "out", shards=2, progress=False)
    monkeypatch.undo()
    refused = pytest.raises(SpecdataError, match=r"out\.parts: holds the parts of another recipe, source or version")
    with refused:
        build(MOCKS, tmp_path / "out", progress=False)
    changed = next(folder.glob("b/*.fits"))
    before, content = changed.stat(), changed.read_bytes()
    for change in (changed.unlink, lambda: changed.write_bytes(content[::-1])):  # the same size, at another time
        change()
        with refused:
            build(recipe, tmp_path / "out", progress=False)
    changed.write_bytes(content)
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(SpecdataError, match=r"--shards 3: .* was begun with 2 shards; give that"):
        build(recipe, tmp_path / "out", shards=3, progress=False)
    with filelock.FileLock(work / "build.lock"), pytest.raises(SpecdataError, match="another build works there; wait"):
        build(recipe, tmp_path / "out", progress=False)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    with pytest.raises(SpecdataError, match=r"thesis: is not a work folder of specdata; move it away"):
        build(recipe, tmp_path / "out", work=tmp_path / "thesis", overwrite=True, progress=False)
    assert [entry.name for entry in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]
    assert sorted(entry.name for entry in (work / "read").iterdir()) == ["00000", "00001"]
    build(recipe, tmp_path / "out", progress=False)
    assert hashes(tmp_path / "out") == whole
    build(MOCKS, tmp_path / "out", work=tmp_path / "elsewhere", overwrite=True, progress=False)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [files.name, "out", "thesis"]


def test_slurm_away_from_a_cluster_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpecdataError, match="there is no sbatch here; go to a login node"):
        build(MOCKS, tmp_path / "out", progress=False, executor="slurm", slurm_options={"partition": "cpu"})
    assert not (tmp_path / "out").exists()


def test_ray_makes_the_same_bytes_or_is_asked_for_in_one_sentence(mocks, tmp_path):
    if importlib.util.find_spec("ray") is None:
        with pytest.raises(SpecdataError, match="--executor ray: needs ray, which is not installed"):
            build(MOCKS, tmp_path / "out", executor="ray", progress=False)
    else:
        build(MOCKS, tmp_path / "out", executor="ray", shards=3, workers=2, progress=False)
        assert hashes(tmp_path / "out") == mocks


@pytest.mark.slow
def test_jobs_of_slurm_wait_for_each_other_and_a_relaunch_submits_what_is_missing(files, whole, tmp_path):
    home, programs = tmp_path / "slurm", tmp_path / "bin"
    for folder in (home, programs):
        folder.mkdir()
    for name in ("sbatch", "srun", "scontrol"):
        shutil.copy(Path(__file__).parents[1] / "fake_slurm.py", programs / name)
        (programs / name).chmod(0o755 | stat.S_IXUSR)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "FAKE_SLURM": str(home)}
    recipe = recipe_of({"kind": "folder", "path": str(files)})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(exclude_none=True), sort_keys=False))
    command = [SPECDATA, "build", "recipe.yaml", "--output=out", "--executor=slurm", "--shards=2", "--workers=1"]
    command += ["--slurm-option=partition=cpu", "--slurm-option=mem_per_cpu_gb=3", "--slurm-option=account=astro"]

    def launch():
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("submitted ")

    def state():
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "out.parts").glob("logs/read_shard/*/*")}

    (home / "fail").write_text("specdata-read_shard 1\n")
    launch()
    scripts = {n: (home / f"{n}.job").read_text() for n in (1, 3, 5, 7)}  # between them, datatrove merges statistics
    for line in ("partition=cpu", "mem-per-cpu=3G", "account=astro", "array=0-1%1", "job-name=specdata-read_shard"):
        assert f"#SBATCH --{line}\n" in scripts[1]
    waited = [(home / f"{n}.arguments").read_text().split("=")[-1] for n in (3, 5, 7)]
    assert waited == ["afterok:1", "afterok:3", "afterok:5"]
    assert [(home / f"{n}.ended").read_text() for n in scripts] == ["1", *["DependencyNeverSatisfied"] * 3]
    parts = tmp_path / "out.parts"
    assert [path.name for path in (parts / "read").iterdir()] == ["00000"]
    before = state()

    (home / "fail").unlink()
    launch()
    assert json.loads((parts / "logs" / "read_shard" / "ranks_to_run.json").read_text()) == [1]
    assert "#SBATCH --array=0-0%1\n" in (home / "9.job").read_text()
    assert before.items() <= state().items()
    assert hashes(tmp_path / "out") == whole
    assert {entry.name for entry in parts.iterdir()} == {"logs", "build.lock"}
    # Of what is left, a build of something else takes no notice.
    build(recipe, tmp_path / "out", overwrite=True, progress=False)
    assert hashes(tmp_path / "out") == whole
    assert not parts.exists()
