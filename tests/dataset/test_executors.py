"""A build in parts: by one process, by several, by a cluster's jobs, and by any of them after a kill."""

import csv
import dataclasses
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import filelock
import numpy as np
import pytest
import yaml

from specdata import SpecdataError
from specdata.dataset.build import build
from specdata.dataset.folder import folder_spectra
from specdata.dataset.recipe import DataRecipe
from specdata.dataset.stages import judge
from specdata.spectra.mock.spectrum import mock_spectra, write_spec_lite

SPECDATA = Path(sys.executable).with_name("specdata")


def recipe_of(source, **sections):
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
    return DataRecipe.model_validate(content | sections)


def hashes(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


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
def slow(tmp_path_factory):
    """Mocks that take a second a shard, and what one process makes of them: recipe file, recipe, hashes."""
    folder = tmp_path_factory.mktemp("slow")
    recipe = recipe_of({"kind": "mock", "size": 160, "seed": 2})
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(exclude_none=True), sort_keys=False))
    build(recipe, folder / "out", progress=False)
    return folder / "recipe.yaml", recipe, hashes(folder / "out")


def test_parts_are_put_together_as_one_pass_would(files, whole, tmp_path):
    recipe = recipe_of({"kind": "folder", "path": str(files)})
    build(recipe, tmp_path / "out", shards=7, progress=False)
    assert hashes(tmp_path / "out") == whole
    # The one pass, written out.
    expected, seen = [], set()
    for spectrum in folder_spectra(files, on_error=lambda path, _: expected.append([path.name, "unreadable"])):
        failed = judge(recipe, spectrum)
        if (failed is None or failed[0] == "median_flux") and spectrum.name in seen:
            failed = "duplicate", f"{spectrum.name} came before"
        if failed:
            expected.append([spectrum.source, *failed])
        else:
            seen.add(spectrum.name)
    with (tmp_path / "out" / "rejected.csv").open(newline="") as stream:
        found = list(csv.reader(stream))[1:]
    assert [row[: len(wanted)] for row, wanted in zip(found, expected, strict=True)] == expected
    assert [row[1] for row in found].count("duplicate") == 10 + 5 + 2
    assert [row[1] for row in found].count("median_flux") == 4
    assert not list(tmp_path.glob("out.*"))


def test_two_processes_make_the_same_bytes(files, whole, tmp_path):
    recipe = recipe_of({"kind": "folder", "path": str(files)})
    build(recipe, tmp_path / "out", shards=5, workers=2, progress=False)
    assert hashes(tmp_path / "out") == whole
    assert not list(tmp_path.glob("out.*"))


def grandchildren(process):
    """Processes that work for a process, by way of the server that forks them."""
    found = []
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        found += Path(f"/proc/{child}/task/{child}/children").read_text().split()
    return list(map(int, found))


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)
    return found


def state(work):
    """Inode and time of every part of the first stage, and of every marker and log of its tasks."""
    paths = [path for pattern in ("read/?????", "logs/read/*/*") for path in work.glob(pattern)]
    return {str(path.relative_to(work)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_a_worker_is_killed_and_the_relaunch_does_only_what_is_missing(slow, tmp_path, monkeypatch):
    path, recipe, expected = slow
    work = tmp_path / "out.parts"
    command = [SPECDATA, "build", path, "--output", tmp_path / "out", "--executor=local", "--shards=4", "--workers=2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: list(work.glob("logs/read/completions/*")) and len(list(work.glob("read/*.partial"))) == 2)
        workers = grandchildren(process.pid)
        os.kill(workers[0], signal.SIGKILL)
        _, printed = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Traceback" not in printed
    sentence = printed.splitlines()[-1]
    assert "of 4 shards are missing in the stage read, for a process was killed" in sentence
    assert sentence.endswith("give the same command again, which does only those")
    assert not (tmp_path / "out").exists()

    before, after = state(work), {}
    done = {name.split("/")[1] for name in before if name.startswith("read/")}
    assert 1 <= len(done) < 4

    def look(folder, **options):
        after.update(state(folder))
        return make_plan(folder, **options)

    from specdata.dataset.plan import make_plan

    monkeypatch.setattr("specdata.dataset.build.make_plan", look)
    build(recipe, tmp_path / "out", executor="local", workers=2, progress=False)
    assert hashes(tmp_path / "out") == expected
    marked = {name.split("/")[-1] for name in before if "completions" in name}
    for number in marked:
        for name in (f"read/{number}", f"logs/read/completions/{number}", f"logs/read/logs/task_{number}.log"):
            assert after[name] == before[name]
    for number in done:
        assert after[f"read/{number}"] == before[f"read/{number}"]
    assert {name for name in after if name.startswith("read/")} == {f"read/0000{i}" for i in range(4)}
    assert not work.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_the_command_is_killed_again_and_again(slow, tmp_path, monkeypatch):
    path, recipe, expected = slow
    work = tmp_path / "out.parts"
    command = [SPECDATA, "build", path, "--output", tmp_path / "out", "--shards=4"]
    for pattern, options in (
        ("read/00001.*.partial/spectra.arrow", []),
        ("read/00003.*.partial/spectra.arrow", ["--workers=2"]),
        ("write/*.partial", []),
    ):
        with subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL) as process:
            wait_for(lambda pattern=pattern: list(work.glob(pattern)))
            workers = grandchildren(process.pid)
            process.kill()
        wait_for(lambda workers=workers: not any(Path(f"/proc/{worker}").exists() for worker in workers))
        assert not (tmp_path / "out").exists()
    # All was read by then, and is not read again.
    monkeypatch.setattr(
        "specdata.dataset.stages.open_items", lambda *_: pytest.fail("a shard that is there was read again")
    )
    build(recipe, tmp_path / "out", progress=False)
    assert hashes(tmp_path / "out") == expected
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_parts_of_something_else_are_refused(slow, tmp_path, monkeypatch):
    _, recipe, expected = slow
    monkeypatch.setattr("specdata.dataset.build.make_plan", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        build(recipe, tmp_path / "out", shards=2, progress=False)
    monkeypatch.undo()
    work = tmp_path / "out.parts"
    other = recipe_of({"kind": "mock", "size": 30, "seed": 3})
    with pytest.raises(SpecdataError, match=r"out\.parts: holds the parts of another recipe, source or version; del"):
        build(other, tmp_path / "out", progress=False)
    with pytest.raises(SpecdataError, match=r"--shards 3: .* was begun with 2 shards; give that"):
        build(recipe, tmp_path / "out", shards=3, progress=False)
    with filelock.FileLock(work / "lock"), pytest.raises(SpecdataError, match="another build is at work there; wait"):
        build(recipe, tmp_path / "out", progress=False)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    with pytest.raises(SpecdataError, match=r"thesis: is not a work folder of specdata; move it away"):
        build(recipe, tmp_path / "out", work=tmp_path / "thesis", progress=False)
    assert [entry.name for entry in (tmp_path / "thesis").iterdir()] == ["thesis.tex"]
    first = state(work)
    build(recipe, tmp_path / "out", progress=False)
    assert set(first) == {"read/00000", "read/00001"}
    assert hashes(tmp_path / "out") == expected
    build(other, tmp_path / "out", work=tmp_path / "elsewhere", overwrite=True, progress=False)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "thesis"]


def test_a_source_that_has_changed_is_not_mixed_with_the_old_one(files, tmp_path, monkeypatch):
    folder = tmp_path / "files"
    shutil.copytree(files, folder)
    recipe = recipe_of({"kind": "folder", "path": str(folder)})
    monkeypatch.setattr("specdata.dataset.build.make_plan", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        build(recipe, tmp_path / "out", shards=2, progress=False)
    monkeypatch.undo()
    next(folder.glob("b/*.fits")).unlink()
    with pytest.raises(SpecdataError, match="holds the parts of another recipe, source or version"):
        build(recipe, tmp_path / "out", progress=False)
    build(recipe, tmp_path / "out", overwrite=True, progress=False)
    build(recipe, tmp_path / "anew", progress=False)
    assert hashes(tmp_path / "out") == hashes(tmp_path / "anew")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"executor": "dask"}, "--executor dask: give one of local, slurm, ray"),
        ({"executor": "slurm"}, "--executor slurm: needs --slurm-option partition=NAME"),
        ({"slurm_options": {"time": "1:00"}, "workers": 2}, "--slurm-option time: goes with --executor slurm alone"),
        (
            {"executor": "slurm", "slurm_options": {"partition": "cpu", "mem_per_cpu_gb": "4G"}},
            "--slurm-option mem_per_cpu_gb=4G: give a whole number",
        ),
        ({"executor": "slurm", "slurm_options": {"partition": "cpu"}}, "there is no sbatch here; go to a login node"),
    ],
)
def test_an_executor_that_cannot_be_had_is_one_sentence(slow, tmp_path, options, sentence, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SpecdataError, match=sentence):
        build(slow[1], tmp_path / "out", progress=False, **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is installed")
def test_without_ray_one_sentence(slow, tmp_path):
    with pytest.raises(SpecdataError, match="--executor ray: needs ray, which is not installed"):
        build(slow[1], tmp_path / "out", executor="ray", progress=False)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
@pytest.mark.filterwarnings("ignore")
def test_ray_makes_the_same_bytes(slow, tmp_path):
    build(slow[1], tmp_path / "out", executor="ray", shards=3, workers=2, progress=False)
    assert hashes(tmp_path / "out") == slow[2]


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

    def launch(count):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert (
            done.stdout
            == "submitted  four jobs, the last of which makes out; if one fails, give the same command again\n"
        )
        wait_for(lambda: len(list(home.glob("*.ended"))) == count, 120)

    (home / "fail").write_text("specdata-read 1\n")
    launch(8)
    scripts = [
        (home / f"{n}.job").read_text() for n in (1, 3, 5, 7)
    ]  # between them, datatrove's own to merge statistics
    for line in ("--partition=cpu", "--mem-per-cpu=3G", "--account=astro", "--array=0-1%1", "--job-name=specdata-read"):
        assert f"#SBATCH {line}\n" in scripts[0]
    assert [(home / f"{n}.arguments").read_text().split("=")[-1] for n in (3, 5, 7)] == [
        f"afterok:{n}" for n in (1, 3, 5)
    ]
    assert [(home / f"{n}.ended").read_text() for n in (1, 3, 5, 7)] == ["1", *["DependencyNeverSatisfied"] * 3]
    parts = tmp_path / "out.parts"
    assert [path.name for path in (parts / "read").iterdir()] == ["00000"]
    before = state(parts)

    (home / "fail").unlink()
    launch(16)
    assert json.loads((parts / "logs" / "read" / "ranks_to_run.json").read_text()) == [1]
    assert "#SBATCH --array=0-0%1\n" in (home / "9.job").read_text()
    assert {name: at for name, at in state(parts).items() if name in before and "logs" in name} == {
        name: at for name, at in before.items() if "logs" in name
    }
    assert hashes(tmp_path / "out") == whole
    assert {entry.name for entry in parts.iterdir()} <= {"logs", "lock"}
    # Of what is left, a build of something else takes no notice.
    build(recipe, tmp_path / "out", overwrite=True, progress=False)
    assert hashes(tmp_path / "out") == whole
    assert not parts.exists()
