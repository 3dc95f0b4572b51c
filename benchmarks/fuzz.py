#!/usr/bin/env python3
"""Damage files at random, read them, and see that each is read or refused in one sentence.

    python benchmarks/fuzz.py                                # 10,000 files of each kind; an hour of one core
    python benchmarks/fuzz.py yaml fits --count 500          # 500 of two kinds
    python benchmarks/fuzz.py desi --first 500 --count 500   # the next 500 of another
    python benchmarks/fuzz.py fits --seed 1234               # one file again, which an earlier run has named

The seed of a file decides what is done to it: bytes changed, inserted, removed, repeated, or cut off; in YAML and JSON
also a value replaced by another kind of value. Whatever is neither a result nor a `SpecdataError` is printed with its
seed, and so is a file that takes more than `SLOW` seconds of the processor.
"""

import argparse
import copy
import functools
import gzip
import importlib.util
import json
import random
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import yaml

from specdata.errors import SpecdataError

SLOW = 20.0  # s of the processor
KINDS = ("fits", "sdss5", "desi", "table", "image", "text", "lists", "parquet", "json", "yaml", "lora", "safetensors")
TESTS = Path(__file__).parents[1] / "tests"
RECIPE = """\
name: mock-fuzz
title: Mocks
source: &s {kind: mock, size: 12, seed: 1, z_min: 0.01, z_max: 0.5}
cuts: {spectype: GALAXY, z_min: 0.0, z_max: 0.5, dered_i_max: 18.0, good_fraction_min: 0.9}
sample: {size: 12, redshift_bins: 1, seed: 0}
splits: {train: 6, validation: 3}
configs:
  paper: {grid: {start: 3840, stop: 9160, bins: 4}, normalisation: median, scheme: paper}
  chat: {like: paper, conversation: {turns: 2}}
tokenizers: []
"""
ODD = [None, True, -1, 0, 10**30, 1e308, float("nan"), "", "x" * 300, "\0", "../x", "é", [], [[]], {}, {"a": 1}, [None]]


def damage(content, rng) -> bytes:
    """Some bytes changed, inserted, removed, repeated or cut off."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 5, 20])):
        at, length = rng.randrange(len(content) + 1), rng.choice([1, 1, 2, 8, 80, 3000])
        kind = rng.randrange(6)
        if kind == 0 and content:
            content[at % len(content)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            content[at:at] = rng.randbytes(length)
        elif kind == 3:
            del content[at : at + length]
        elif kind == 4:
            content[at:at] = content[at : at + length] * rng.choice([1, 2, 10])
        elif rng.random() < 0.3:
            del content[at:]
        else:
            content[at : at + length] = bytes(min(length, len(content) - at))
    return bytes(content)


def replace(content, rng):
    """One or two values within nested lists and mappings replaced by odd ones, or keys taken out or renamed."""
    content = copy.deepcopy(content)
    for _ in range(rng.choice([1, 1, 2])):
        part = content
        while isinstance(part, (dict, list)) and part:
            key = rng.choice(list(part) if isinstance(part, dict) else range(len(part)))
            if not isinstance(part[key], (dict, list)) or not part[key] or rng.random() < 0.2:
                if rng.random() < 0.15:
                    del part[key]
                elif rng.random() < 0.1 and isinstance(part, dict):
                    part[rng.choice(["", "x", "__class__", "<<"])] = part.pop(key)
                else:
                    part[key] = copy.deepcopy(rng.choice(ODD))
                break
            part = part[key]
    return content


def damage_fits(content, headers, rng) -> bytes:
    """A FITS file, half of the time with the damage in one of its headers, where most can go wrong."""
    start, stop = rng.choice(headers) if rng.random() < 0.5 else (0, len(content))
    return content[:start] + damage(content[start:stop], rng) + content[stop:]


class Kinds:
    """What each kind is made of, and how it is read; a method a kind, called with a random generator."""

    def __init__(self, folder):
        self.folder, self.recipe = folder, yaml.safe_load(RECIPE)
        self.spectra = [path.read_bytes() for path in sorted((TESTS / "data").glob("spec-*.fits"))]

    @functools.cached_property
    def dataset(self):
        """Folder of a data set, its manifest, and what its other files hold."""
        from specdata.dataset.build import build
        from specdata.dataset.recipe import DataRecipe

        folder = self.folder / "data"
        build(DataRecipe.model_validate(self.recipe), folder, progress=False)
        manifest = json.loads((folder / "manifest.json").read_text())
        return folder, manifest, {name: (folder / name).read_bytes() for name in manifest["files"]}

    def fits(self, rng):
        """A spec file, one in four compressed."""
        from specdata.spectra.specfile import check_whole, read_spectrum

        content, path = rng.choice(self.spectra), self.folder / "spec.fits"
        length = rng.choice([len(content), 11520])  # the headers, where most can go wrong
        content = damage(content[:length], rng) + content[length:]
        if rng.random() < 0.25:
            content = damage(gzip.compress(content, 1), rng) if rng.random() < 0.5 else gzip.compress(content, 1)
        path.write_bytes(content)
        try:
            read_spectrum(path)
        finally:
            check_whole(path)

    @functools.cached_property
    def surveys(self):
        """Whole files of each other format that is read, as the tests write them."""
        import numpy as np
        import pyarrow.parquet as pq
        from astropy.io import fits
        from astropy.table import Table

        spec = importlib.util.spec_from_file_location("readers", TESTS / "spectra" / "test_readers.py")
        written = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(written)
        wave, flux, sigma = written.WAVE, written.VALUES, written.SIGMA
        folder = self.folder / "surveys"
        folder.mkdir()
        one = Table({"WAVE": wave, "FLUX": flux, "SIGMA": sigma}, units={"WAVE": "Angstrom"}, meta={"Z": 0.25})
        rows = Table({"WAVELENGTH": [wave, wave], "FLUX": [flux, flux], "IVAR": [sigma, sigma], "OBSID": [17, 18]})
        text = Table({"wave": wave[:40], "flux": flux[:40], "err": sigma[:40]}, meta={"z": 0.25})
        written.sdss5(folder / "sdss5.fits")
        written.desi(folder / "coadd-desi.fits", targets=3)
        written.image(folder / "image.fits", header={"CTYPE1": "AWAV", "CUNIT1": "Angstrom"})
        bands = {"BANDID1": "spectrum", "BANDID4": "sigma - background fit"}
        written.image(folder / "bands.fits", np.array([flux, flux, flux * 0, sigma])[:, None], bands, errors=False)
        for name, table in (("one.fits", one), ("rows.fits", rows), ("a.ecsv", text), ("a.csv", text)):
            table.write(folder / name)
        text.write(folder / "a.vot", format="votable")
        spectrum = [{"flux": flux, "ivar": sigma, "lambda": wave}]
        pq.write_table(written.pa.table({"spectrum": spectrum, "object_id": ["1"]}), folder / "lists.parquet")
        found = {}
        for path in folder.iterdir():
            if path.suffix == ".fits":
                with fits.open(path) as hdus:
                    headers = [(hdu.fileinfo()["hdrLoc"], hdu.fileinfo()["datLoc"]) for hdu in hdus]
            else:
                headers = [(0, 600)]
            found[path.name] = path.read_bytes(), headers
        return found

    def _survey(self, rng, *names):
        from specdata.spectra.readers import read_spectra

        name = rng.choice(names)
        content, headers = self.surveys[name]
        content, path = damage_fits(content, headers, rng), self.folder / name
        if name.endswith(".fits") and rng.random() < 0.1:
            content = gzip.compress(content, 1)
        path.write_bytes(content)
        list(read_spectra(path))

    def sdss5(self, rng):
        """A spec file of SDSS-V."""
        self._survey(rng, "sdss5.fits")

    def desi(self, rng):
        """A coadd of DESI; one in ten has damaged redshifts beside it."""
        beside = self.folder / "redrock-desi.fits"
        beside.unlink(missing_ok=True)
        if rng.random() < 0.1:
            content, headers = self.surveys["redrock-desi.fits"]
            beside.write_bytes(damage_fits(content, headers, rng))
        self._survey(rng, "coadd-desi.fits")

    def table(self, rng):
        """A FITS table with one spectrum, or one in each row."""
        self._survey(rng, "one.fits", "rows.fits")

    def image(self, rng):
        """A one-dimensional FITS image with a wavelength solution, or the bands of IRAF."""
        self._survey(rng, "image.fits", "bands.fits")

    def text(self, rng):
        """A table as ECSV, CSV or VOTable."""
        self._survey(rng, "a.ecsv", "a.csv", "a.vot")

    def lists(self, rng):
        """A Parquet file with lists of flux and wavelength, as MultimodalUniverse has them."""
        self._survey(rng, "lists.parquet")

    def yaml(self, rng):
        """A recipe of a data set."""
        from specdata.dataset.recipe import load_data_recipe

        path = self.folder / "recipe.yaml"
        if rng.random() < 0.5:
            path.write_bytes(damage(RECIPE.encode(), rng))
        else:
            path.write_text(yaml.safe_dump(replace(self.recipe, rng)))
        load_data_recipe(path)

    def json(self, rng):
        """A manifest, and the commands that go by it."""
        from specdata.dataset.manifest import read_manifest
        from specdata.dataset.preview import preview
        from specdata.dataset.tokens import token_costs

        folder, manifest, _ = self.dataset
        path = folder / "manifest.json"
        if rng.random() < 0.3:
            path.write_bytes(damage(json.dumps(manifest).encode(), rng))
        else:
            path.write_text(json.dumps(replace(manifest, rng)))
        token_costs(folder, read_manifest(folder, folder), [])
        if rng.random() < 0.05:  # a figure takes half a second
            preview(folder, "test:0", self.folder / "row.png")

    def parquet(self, rng):
        """A Parquet file of a data set, whose hash in the manifest fits, as a source of another data set."""
        from specdata.dataset.parquet import open_file, read_rows
        from specdata.dataset.rows import schema
        from specdata.spectra.readers.rows import spectra_of

        folder, _, files = self.dataset
        name = rng.choice(list(files))
        path, content = folder / name, files[name]
        try:
            tail = rng.choice([len(content), 3000])  # the footer
            path.write_bytes(content[:-tail] + damage(content[-tail:], rng))
            for table in read_rows([open_file(folder, name)], 0, 12):
                if name.startswith("spectra/"):
                    list(spectra_of(table, name))
                else:
                    table.cast(schema("text")).to_pylist()
        finally:
            path.write_bytes(content)

    @functools.cached_property
    def adapter(self):
        """Folder of a LoRA adapter, its config, its weights, and the small model that it is for."""
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(0)
        shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
        base = LlamaForCausalLM(LlamaConfig(vocab_size=16, **shape))
        folder, config = self.folder / "adapter", LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
        get_peft_model(copy.deepcopy(base), config).save_pretrained(folder)
        content = json.loads((folder / "adapter_config.json").read_text()) | {"base_model_name_or_path": "org/base"}
        (folder / "adapter_config.json").write_text(json.dumps(content))
        return folder, content, (folder / "adapter_model.safetensors").read_bytes(), base

    def _load_adapter(self, rng):
        from specdata.hub import weights_revision
        from specdata.inference.adapter import check_rank, read_config
        from specdata.inference.local import Generator
        from specdata.publish.compatible import check_lora
        from specdata.publish.scan import scan

        folder, _, _, base = self.adapter
        config = read_config(folder)
        weights_revision(folder)
        check_rank(folder, config)
        check_lora(folder)
        scan({name: folder / name for name in ("adapter_config.json", "adapter_model.safetensors")})
        if rng.random() < 0.2:  # which takes longer than all the rest
            generator = object.__new__(Generator)
            generator.name, generator.model = "org/base", copy.deepcopy(base)
            generator.add_adapter(folder)

    def lora(self, rng):
        """The config of an adapter."""
        folder, config, _, _ = self.adapter
        path = folder / "adapter_config.json"
        content = damage(json.dumps(config).encode(), rng) if rng.random() < 0.3 else None
        path.write_bytes(content if content is not None else json.dumps(replace(config, rng)).encode())
        try:
            self._load_adapter(rng)
        finally:
            path.write_text(json.dumps(config))

    def safetensors(self, rng):
        """The weights of an adapter; its head is more than half of the file."""
        folder, _, weights, _ = self.adapter
        path, size = folder / "adapter_model.safetensors", 8 + int.from_bytes(weights[:8], "little")
        if rng.random() < 0.5:
            path.write_bytes(damage(weights, rng))
        else:
            head = json.dumps(replace(json.loads(weights[8:size]), rng)).encode()
            path.write_bytes(len(head).to_bytes(8, "little") + head + weights[size:])
        try:
            self._load_adapter(rng)
        finally:
            path.write_bytes(weights)


def main(kinds, numbers) -> int:
    """Try the files of these numbers, which are their seeds, of each kind; how many were neither read nor refused."""
    wrong = 0
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        made = Kinds(Path(folder))
        for kind in kinds or KINDS:
            # What is made once, and imports much, is not to count as slow.
            once = {"lora": "adapter", "safetensors": "adapter", "json": "dataset", "parquet": "dataset"}
            if kind not in ("fits", "yaml"):
                getattr(made, once.get(kind, "surveys"))
            read = refused = 0
            for number in numbers:
                begin = time.process_time()
                try:
                    getattr(made, kind)(random.Random(f"{kind} {number}"))
                    read += 1
                except SpecdataError as error:
                    refused += 1
                    if len(str(error).splitlines()) != 1 or len(str(error)) > 3000:
                        wrong += 1
                        print(f"{kind} {number}: not one sentence: {str(error)[:200]!r}")
                except Exception:
                    wrong += 1
                    print(f"{kind} {number}: {traceback.format_exc(limit=-3)}", flush=True)
                if (took := time.process_time() - begin) > SLOW:
                    wrong += 1
                    print(f"{kind} {number}: took {took:.0f} s", flush=True)
            print(f"{kind:<11} {read} read, {refused} refused in one sentence", flush=True)
    print(f"{wrong} were neither")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", help=f"{', '.join(KINDS)}; by default all")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, help="only the file with this number")
    options = parser.parse_args()
    numbers = range(options.first, options.first + options.count) if options.seed is None else [options.seed]
    sys.exit(main(options.kinds, numbers) > 0)
