"""What is installed: a light import, and a wheel that carries its recipes and card templates."""

import ast
import doctest
import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import specdata

ROOT = Path(__file__).parents[1]
# The packages in the order in which data go through them, each of which may import those before it. Only `archive`,
# where the data begin, stands after `spectra` here, since it reads the files that it downloads to check them.
ORDER = ["spectra", "archive", "text", "dataset", "training", "inference", "evaluation", "publish", "cli"]
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "astropy", "matplotlib", "scipy", "pyarrow", "numpy"}


def loaded_after(statement):
    code = f"{statement}\nimport json, sys\nprint(json.dumps([name for name in sys.modules if '.' not in name]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_import_loads_nothing_heavy():
    assert not loaded_after("import specdata; dir(specdata)") & HEAVY


def test_reading_and_building_need_no_torch(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: mock-x\ntitle: x\nsource: {kind: mock, size: 9}\nsample: {size: 9, redshift_bins: 1}\n"
        "splits: {train: 4, validation: 2}\nconfigs: {paper: {grid: {start: 3840, stop: 9160, bins: 4}}}\n"
        "tokenizers: []\n"
    )
    modules = loaded_after(
        "import sys\n"
        "sys.modules['torch'] = sys.modules['transformers'] = None  # as if they were not installed\n"
        "from specdata.dataset.build import build\n"
        "from specdata.dataset.recipe import load_data_recipe\n"
        f"build(load_data_recipe({str(recipe)!r}), {str(tmp_path / 'out')!r}, progress=False)\n"
        "del sys.modules['torch'], sys.modules['transformers']"
    )
    assert (tmp_path / "out" / "README.md").is_file()
    assert not modules & {"torch", "transformers", "trl", "peft"}


def test_the_public_names_are_listed_and_nothing_else(monkeypatch):
    assert dir(specdata) == sorted(specdata.__all__)
    assert all(getattr(specdata, name) is not None for name in specdata.__all__)
    (imports,) = (node for node in ast.parse(Path(specdata.__file__).read_text()).body if isinstance(node, ast.If))
    assert {alias.name for node in imports.body for alias in node.names} == set(specdata.__all__)  # what editors see
    monkeypatch.chdir(ROOT / "tests" / "data")
    tried = doctest.testmod(specdata)  # the example of help(specdata)
    assert (tried.failed, tried.attempted) == (0, 8)
    packages = [name for name in ORDER if name != "archive"]
    listed = re.findall(r"^- ``(\w+)``", specdata.__doc__, re.MULTILINE)
    assert listed == ["archive", *packages]


def test_the_wheel_works_where_there_is_no_checkout(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert f"-{specdata.__version__}-" in wheel.name

    # A clean environment that has the dependencies (they need no network that way), and the wheel before them.
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    work = tmp_path / "work"
    work.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*command):
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run(python, "-c", "import specdata; print(specdata.__file__)").startswith(str(site))
    command = home / "bin" / "specdata"
    assert run(command, "--version").strip() == f"specdata {specdata.__version__}"
    assert (site / "specdata" / "py.typed").is_file()
    for line in run(command, "recipes").splitlines():
        assert run(command, "recipes", line.split()[0]).startswith(str(site))
    run(command, "build", "recipes/data/demo-mock.yaml", "--output", "data")
    assert "These are mocks" in (work / "data" / "README.md").read_text()


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
    return found


def test_no_file_imports_one_that_imports_it():
    left = imports_between_files()
    while free := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"a circle of imports goes through {sorted(left)}, or they import one"


def test_imports_follow_the_data():
    def place(name):
        package = name.split(".")[1]
        return ORDER.index(package) if package in ORDER else None

    found = imports_between_files()
    between = {(a, b) for a, targets in found.items() for b in targets if "." in a and "." in b}
    assert {name.split(".")[1] for name in found if name.count(".") > 1} == {*ORDER, "serialize"}
    ranked = {(a, b) for a, b in between if place(a) is not None and place(b) is not None}
    assert not {(a, b) for a, b in ranked if place(a) < place(b)}
    # What lies at the top of the package is used by all and imports none of them; the demo runs them all.
    upwards = {(a, b) for a, b in between if place(a) is None and place(b) is not None}
    assert {a for a, _ in upwards} <= {"specdata.demo", "specdata.__main__"}
