#!/usr/bin/env python3
"""Spectra a second of a build: on 1, 2 and 4 workers, or beside the plain way.

    python benchmarks/build.py --mocks 100000 --workers 1 2 4     # one line for each number of workers
    python benchmarks/build.py --mocks 100000 --workers 2         # the same, one at a time
    python benchmarks/build.py                                    # files: 1,000 and 4,000 spectra; half an hour
    python benchmarks/build.py --sizes 1000 --ways one other

**Mocks** measures one thing: the whole of `specdata.dataset.build.build` from the mock source to card and manifest,
in a process of its own, imports included. What it writes goes into a temporary folder (in $TMPDIR; 5 GB for 100,000)
and is removed after each number of workers.

**Files** compares with the plain way, which opens each file with astropy.io.fits, gives rows of the same columns to
`Dataset.from_generator` and writes them with `to_parquet`: the config `spectra`, and from it a text config, binned with
numpy.histogram and written by a line of Python. It has no cuts, splits, masks or card. Each way runs in a process of
its own, whose time counts from after the imports to the end; memory is the sum of VmRSS over the processes, looked at
20 times a second. The files are mocks, by ../shared/tools/make_mocks.py where that and fitsio are there and else by
`specdata.spectra.mock.spectrum`, and read once before. Where others use the machine, the seconds that a core worked
(threads of Arrow and of the disk included) say more than those on the clock.

    one             files to a data set, with one worker
    other           from that data set to another text config: log grid, 200 bins, packed
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GRID = {"start": 3840.0, "stop": 9160.0, "bins": 80}
OTHER = {"grid": {"kind": "log", "start": 3900.0, "stop": 9100.0, "bins": 200}, "scheme": "packed"}
TOOL = Path(__file__).parents[2] / "shared" / "tools" / "make_mocks.py"
WAYS = ("plain", "one", "other")


def now():
    """Seconds on the clock, and those that a core has worked for this process."""
    return time.perf_counter(), time.process_time()


def since(start):
    return [end - begin for begin, end in zip(start, now(), strict=True)]


def ours(source, output, configs, workers):
    # With what the build itself imports only when it comes to the card.
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401
    import scipy.sparse.csgraph  # noqa: F401

    from specdata.dataset import tokens  # noqa: F401
    from specdata.dataset.build import build
    from specdata.dataset.recipe import DataRecipe

    content = {
        "name": "mock-benchmark",
        "title": "Mocks",
        "source": source,
        "sample": {"size": 10**7, "redshift_bins": 1},
        "splits": {"train": 300, "validation": 100},
        "configs": configs,
        "tokenizers": [],
    }
    recipe = DataRecipe.model_validate(content)
    start = now()
    manifest = build(recipe, output, workers=workers, progress=False)
    return manifest["counts"]["read"], *since(start)


def plain(folder, output):
    import numpy as np
    from astropy.io import fits
    from datasets import Dataset, Features

    from specdata.dataset.rows import IDENTITY, METADATA, schema

    names = {"zerr": "Z_ERR", "spectype": "CLASS", "ra": "PLUG_RA", "dec": "PLUG_DEC", "snmedian": "SN_MEDIAN_ALL"}
    edges = np.linspace(GRID["start"], GRID["stop"], GRID["bins"] + 1)
    question = {"role": "user", "content": ""}

    def spectra():
        for path in sorted(Path(folder).glob("spec-*.fits")):
            with fits.open(path, memmap=False) as hdus:
                row = {name: hdus[1].data[name] for name in ("loglam", "flux", "ivar", "and_mask", "or_mask", "wdisp")}
                table = hdus[2].data
                for name in {**IDENTITY, **METADATA}:
                    column = names.get(name, name.upper())
                    row[name] = table[column][0] if column in table.names else None
                row |= {"position_id": f"J{row['ra']:.5f}{row['dec']:+.5f}", "source": path.name, "is_mock": True}
                row["healpix"] = -1
                row["specobjid"] = str(row["specobjid"]).strip()
                yield row

    def texts():
        for row in found:
            good = (row["ivar"] > 0) & (row["and_mask"] == 0)
            wavelength, ivar = 10.0 ** row["loglam"][good], row["ivar"][good]
            weight = np.histogram(wavelength, edges, weights=ivar)[0]
            with np.errstate(divide="ignore", invalid="ignore"):
                flux = np.histogram(wavelength, edges, weights=ivar * row["flux"][good])[0] / weight
            scale = np.median(row["flux"][good])
            text = " , ".join("|".join(f"{round(v * 100):03d}") if v == v else "NaN" for v in flux / scale)
            answer = {"role": "assistant", "content": f"{row['z']:.4f}"}
            yield {name: row[name] for name in IDENTITY} | {
                "prompt": [question | {"content": f"Flux: {text}"}],
                "completion": [answer],
                "scale": scale,
                "wavelength": 0.5 * (edges[1:] + edges[:-1]),
                "flux": flux,
                "ivar": weight,
                "mask": weight == 0,
            }

    def types(config):
        return Features.from_arrow_schema(schema(config))

    start = now()
    found = Dataset.from_generator(spectra, features=types("spectra"), cache_dir=str(output / "cache"))
    found.to_parquet(output / "spectra.parquet")
    found = found.with_format("numpy")
    made = Dataset.from_generator(texts, features=types("text"), cache_dir=str(output / "cache"))
    made.to_parquet(output / "text.parquet")
    return len(made), *since(start)


def run(way, folder, output, workers=1):
    """Do it in this process, and print the number of spectra and the seconds, on the clock and of work."""
    if way == "mocks":
        ours({"kind": "mock", "size": int(str(folder))}, output / "data", {"paper": {"grid": GRID}}, int(str(workers)))
        return
    import warnings

    import astropy.table  # noqa: F401
    import datasets
    import matplotlib.pyplot  # noqa: F401
    import scipy.spatial  # noqa: F401

    warnings.simplefilter("ignore")
    datasets.disable_progress_bars()
    if way == "plain":
        found = plain(folder, output)
    elif way == "other":
        source = {"kind": "dataset", "path": str(output / "one")}
        found = ours(source, output / "other", {"packed": OTHER}, 1)
    else:
        configs = {"paper": {"grid": GRID}}
        found = ours({"kind": "folder", "path": str(folder)}, output / way, configs, 1)
    print(json.dumps(found))


def tree(process):
    """Bytes of memory (VmRSS) that a process and its descendants hold."""
    try:
        total = int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except (OSError, IndexError):
        return 0
    return total + sum(map(tree, children))


def measure(way, folder, output):
    """Run a way in a process of its own: spectra, seconds, those of work, and the most memory in bytes."""
    command = [sys.executable, __file__, "--run", way, str(folder), str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        most = 0
        while process.poll() is None:
            most = max(most, tree(process.pid))
            time.sleep(0.05)
        if process.returncode:
            sys.exit(f"{way} failed")
        return *json.loads(process.stdout.read().splitlines()[-1]), most


def measure_mocks(size, workers):
    """Build a data set of mocks in a process of its own and in a folder that is removed; print its rate."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run([sys.executable, __file__, "--run", "mocks", str(size), folder, str(workers)], check=True)
        seconds = time.perf_counter() - start
    print(f"{size:10,} mocks {workers:3} workers {seconds:9.1f} s {size / seconds:8.1f} spectra/s", flush=True)


def make_files(folder, size):
    if TOOL.is_file() and importlib.util.find_spec("fitsio"):  # which it needs
        subprocess.run([sys.executable, TOOL, f"--n={size}", f"--seed={size}", f"--out={folder}"], check=True)
        return
    from specdata.spectra.mock.spectrum import mock_spectra

    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from spec_lite import write_spec_lite

    folder.mkdir(parents=True)
    for spectrum in mock_spectra(size, seed=size):
        write_spec_lite(spectrum, folder / f"spec-{spectrum.name}.fits")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 4000])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--files", type=Path, help="folder of the mock files, which are made where they are missing")
    parser.add_argument("--mocks", type=int, help="build so many mocks instead, in no other way")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="of the build of mocks")
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        run(args.run[0], *map(Path, args.run[1:]))
        return
    if args.mocks:
        for workers in args.workers:
            measure_mocks(args.mocks, workers)
        return
    with tempfile.TemporaryDirectory() as scratch:
        head = f"{'spectra/s':>10}{'times plain':>12}"
        print(f"{'spectra':>8} {'way':6}{'seconds':>8}{head}{'core s':>8}{head}{'memory':>9}", flush=True)
        for size in args.sizes:
            folder = (args.files or Path(scratch)) / str(size)
            if not folder.is_dir():
                make_files(folder, size)
            for path in folder.iterdir():
                path.read_bytes()
            output, plain_ = Path(scratch, f"output{size}"), None
            output.mkdir()
            for way in args.ways:
                count, *seconds, most = measure(way, folder, output)
                rates = [count / each for each in seconds]
                plain_ = rates if way == "plain" else plain_
                line = f"{count:8} {way:6}"
                for index, (each, rate) in enumerate(zip(seconds, rates, strict=True)):
                    times = f"{rate / plain_[index]:11.1f}x" if plain_ and way == "one" else ""
                    line += f"{each:8.1f}{rate:10.0f}{times:12}"
                print(f"{line:68}{most / 1e6:6.0f} MB", flush=True)


if __name__ == "__main__":
    main()
