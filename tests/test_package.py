"""What is installed: a light import, public names, imports in order, and a wheel with recipes and card templates."""

import ast
import doctest
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib.metadata import distribution, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import specdata

ROOT = Path(__file__).parents[1]
# The packages in the order in which data go through them, each of which may import those before it. Only `archive`,
# where the data begin, stands after `spectra` here, since it reads the files that it downloads to check them.
ORDER = ["spectra", "archive", "text", "dataset", "training", "inference", "evaluation", "publish", "serve", "cli"]
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "astropy", "matplotlib", "scipy", "pyarrow", "numpy"}
NO_TORCH = """\
import sys
sys.modules["torch"] = sys.modules["transformers"] = None  # as if they were not installed
from specdata.dataset.build import build
from specdata.dataset.recipe import DataRecipe
recipe = {
    "name": "mock-x", "title": "x", "source": {"kind": "mock", "size": 9}, "tokenizers": [],
    "sample": {"size": 9, "redshift_bins": 1}, "splits": {"train": 4, "validation": 2},
    "configs": {"paper": {"grid": {"start": 3840.0, "stop": 9160.0, "bins": 4}}},
}
build(DataRecipe.model_validate(recipe), "out", progress=False)
del sys.modules["torch"], sys.modules["transformers"]
"""


# What a user of each extra imports, in our code and in the libraries that it brings.
USED = {
    "serve": ["specdata.inference.endpoint", "transformers.cli.serving.server", "peft"],
    "mcp": ["specdata.serve.agent", "mcp.server.mcpserver", "specdata.inference.local", "transformers", "peft"],
    "app": ["specdata.serve.page", "gradio", "specdata.inference.local", "transformers", "peft"],
}


def packages_of(extra):
    """Names of the packages that ``pip install 'specdata[EXTRA]'`` brings; asserts that each is here and fits."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [*map(Requirement, project["dependencies"] + project["optional-dependencies"][extra])]
    found = set()
    while waiting:
        asked = waiting.pop()
        assert asked.specifier.contains(version(asked.name), prereleases=True), asked
        for part in {"", *asked.extras}:
            key = canonicalize_name(asked.name), part
            if key not in found:
                found.add(key)
                rest = map(Requirement, distribution(asked.name).requires or [])
                waiting += [one for one in rest if one.marker is None or one.marker.evaluate({"extra": part})]
    return {name for name, _ in found}


@pytest.mark.skipif(find_spec("torch") is None, reason="Python 3.12 and 3.13 are tested without")
@pytest.mark.slow
@pytest.mark.parametrize("extra", USED)
def test_an_extra_alone_brings_what_it_needs(extra, tmp_path):
    """Its requirements fit together, and its modules are imported where nothing else is installed."""
    wanted = packages_of(extra)
    others = [
        module for module, owners in packages_distributions().items()
        if not wanted & {"specdata", *map(canonicalize_name, owners)}
    ]  # fmt: skip
    code = f"import sys; sys.modules |= dict.fromkeys({others})"  # which makes them as good as not installed
    code += "".join(f"; import {name}" for name in USED[extra])
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_imports_load_nothing_heavy_and_a_build_needs_no_torch(tmp_path):
    for code, unwanted in (
        ("import specdata, specdata.cli; dir(specdata)", HEAVY),
        (NO_TORCH, {"torch", "trl", "peft"}),
    ):
        code += "\nimport json, sys; print(json.dumps([name for name in sys.modules if '.' not in name]))"
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert not unwanted & set(json.loads(done.stdout))
    assert (tmp_path / "out" / "README.md").is_file()


def test_the_public_names_are_listed_and_nothing_else(monkeypatch):
    assert dir(specdata) == sorted(specdata.__all__)
    assert all(getattr(specdata, name) is not None for name in specdata.__all__)
    (imports,) = (node for node in ast.parse(Path(specdata.__file__).read_text()).body if isinstance(node, ast.If))
    assert {alias.name for node in imports.body for alias in node.names} == set(specdata.__all__)  # what editors see
    monkeypatch.chdir(ROOT / "tests" / "data")
    tried = doctest.testmod(specdata)  # the example of help(specdata)
    assert (tried.failed, tried.attempted) == (0, 8)
    listed = re.findall(r"^- ``(\w+)``", specdata.__doc__, re.MULTILINE)
    assert sorted(listed, key=[*ORDER[1::-1], *ORDER[2:]].index) == listed


def imports_between_files():
    """Files of the package by name, each with the names of the files that it imports anywhere, functions included."""
    files = {}
    for path in (ROOT / "specdata").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found = {}
    for name, path in files.items():
        targets = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: write imports from specdata on"
                inner = {f"{node.module}.{alias.name}" for alias in node.names} & files.keys()
                targets |= inner or {node.module}
        found[name] = (targets & files.keys()) - {name}
    found["specdata"] = set()  # what it names is imported on first use
    return found


def test_imports_go_in_no_circle_and_follow_the_data():
    found = imports_between_files()
    left = dict(found)
    while free := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"a circle of imports goes through {sorted(left)}, or they import one"

    def place(name):
        package = name.split(".")[1]
        return ORDER.index(package) if package in ORDER else None

    assert {name.split(".")[1] for name in found if name.count(".") > 1} == {*ORDER, "serialize"}
    between = {(a, b) for a, targets in found.items() for b in targets if "." in a and "." in b}
    ranked = {(a, b) for a, b in between if place(a) is not None and place(b) is not None}
    assert not {(a, b) for a, b in ranked if place(a) < place(b)}
    # What lies at the top of the package is used by all and imports none of them; the demo runs them all.
    upwards = {a for a, b in between if place(a) is None and place(b) is not None}
    assert upwards <= {"specdata.demo", "specdata.__main__"}


def test_the_wheel_works_where_there_is_no_checkout(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob(f"specdata-{specdata.__version__}-*.whl")

    # A clean environment that has the dependencies (they need no network that way), and the wheel before them.
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    python, command = home / "bin" / "python", home / "bin" / "specdata"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*words):
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run(python, "-c", "import specdata; print(specdata.__file__)").startswith(str(site))
    assert run(command, "--version").strip() == f"specdata {specdata.__version__}"
    assert (site / "specdata" / "py.typed").is_file()
    names = [line.split()[0] for line in run(command, "recipes").splitlines()]
    assert all((site / "specdata" / "_shipped" / name).is_file() for name in names)
    assert run(command, "recipes", names[0]).startswith(str(site))
    run(command, "build", "recipes/data/demo-mock.yaml", "--output", "data")
    assert "These are mocks" in (tmp_path / "data" / "README.md").read_text()
