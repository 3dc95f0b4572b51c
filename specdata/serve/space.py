"""A folder that is a Hugging Face Space as it is: the page with an adapter, and examples to pick."""

import json
import shutil
from pathlib import Path

import specdata
from specdata.cards import project_url
from specdata.errors import SpecdataError
from specdata.files import new_folder
from specdata.hub import local_folder
from specdata.inference.adapter import read_config
from specdata.inference.trained import load_encoding

SDK = "6.31.0"  # of gradio, with which the page is tested
CONTENTS = ("app.py", "README.md", "requirements.txt", "examples/*", ".gitattributes", ".cache")
_APP = '''"""{Words} of spectra by a language model: the page of specdata."""

try:
    import spaces  # of a Space, which lends a GPU for each call; it comes before torch

    gpu = spaces.GPU
except ImportError:
    gpu = None

from pathlib import Path

from specdata.inference.reader import Reader
from specdata.serve.page import launch, make_page

reader = Reader({adapter}, {model})
reader.generator  # noqa: B018, loads the model before the first visitor comes
page = make_page(reader, Path(__file__).parent / "examples", gpu=gpu)

if __name__ == "__main__":
    launch(page)
'''
_README = """---
title: {Words} by a language model
emoji: 🔭
colorFrom: blue
colorTo: indigo
sdk: gradio
sdk_version: {sdk}
python_version: "3.11"
app_file: app.py
models:
{models}
short_description: {Words} of a spectrum, with its probability
---

The page of the adapter `{adapter}`: a language model reads a spectrum as text, answers with its {words} and how
probable that is, and talks about it.{mocks}
"""


def write_space(adapter, output, *, model=None, spectra=None, overwrite=False) -> None:
    """Write the page of an adapter to a folder that can be pushed to a Space.

    Parameters
    ----------
    adapter : str
        LoRA adapter: its name on the Hub, or, to try the page here, a folder.
    output : path-like
        Folder to make.
    model : str, optional
        Base model; by default the one that the adapter names.
    spectra : sequence of path-like, optional
        Files of spectra to pick from; by default two mocks.
    overwrite : bool

    Raises
    ------
    SpecdataError
        If there is no such adapter or file.
    """
    adapter_folder = local_folder(adapter, "model")
    named = model or read_config(adapter_folder, adapter)["base_model_name_or_path"]
    encoding = load_encoding(adapter_folder)
    if not encoding.axis.is_sky and not spectra:
        raise SpecdataError("there are no examples of such curves; give files to pick from")
    words = encoding.target.words
    said = {"words": words, "Words": words[0].upper() + words[1:]}
    adapter, named = (str(Path(name).resolve()) if Path(name).is_dir() else str(name) for name in (adapter, named))
    with new_folder(output, marker="app.py", contents=CONTENTS, overwrite=overwrite) as folder:
        examples = folder / "examples"
        examples.mkdir()
        for path in map(Path, spectra or ()):
            if not path.is_file():
                raise SpecdataError(f"{path}: there is no such file; give files of spectra")
            if (examples / path.name).exists():
                raise SpecdataError(f"{path}: another of the spectra has the same name; rename one of them")
            shutil.copyfile(path, examples / path.name)
        if not spectra:
            _write_mocks(examples)
        url = project_url()
        package = f"specdata[app] @ git+{url}" if url else f"specdata[app]=={specdata.__version__}"
        (folder / "requirements.txt").write_text(f"{package}\nspaces\n", encoding="utf-8")
        code = _APP.format(**said, adapter=json.dumps(adapter), model=json.dumps(named))
        (folder / "app.py").write_text(code, encoding="utf-8")
        models = "\n".join(f"- {name}" for name in (adapter, named))
        mocks = "" if spectra else " Its examples are mocks, that is, synthetic spectra."
        readme = _README.format(**said, sdk=SDK, models=models, adapter=adapter, mocks=mocks)
        (folder / "README.md").write_text(readme, encoding="utf-8")


def _write_mocks(folder):
    from astropy.table import QTable
    from astropy.units import Unit

    from specdata.spectra.mock.spectrum import mock_spectra

    for number, spectrum in enumerate(mock_spectra(2, seed=1), start=1):
        flux = Unit("1e-17 erg / (s cm2 Angstrom)")
        columns = [spectrum.wavelength * Unit("Angstrom"), spectrum.flux * flux, spectrum.ivar / flux**2]
        table = QTable(columns, names=["wavelength", "flux", "ivar"])
        table.write(folder / f"mock-{number}.ecsv", format="ascii.ecsv")
