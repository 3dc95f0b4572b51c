"""One adapter by every way of asking it: the medians of p(z) of the same spectra, and the seconds that each takes.

    OMP_NUM_THREADS=2 python benchmarks/ways.py --adapter smollm2-135m-redshift --output ways

The ways are `specdata.predict`, the MCP server over standard input and output, the page by its API, `transformers
serve` with the adapter merged, and every server that `--endpoint NAME=URL` names, such as one of vLLM. The spectra are
mocks that the adapter was not trained on. Models are loaded before the clock starts.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from astropy.table import QTable
from astropy.units import Unit

import specdata
from specdata.inference.reader import Reader
from specdata.spectra.mock.spectrum import mock_spectra

FLUX = Unit("1e-17 erg / (s cm2 Angstrom)")


def write_spectra(folder, count):
    """Write mocks as ECSV files; their paths and true redshifts."""
    folder.mkdir()
    paths, true = [], []
    for number, spectrum in enumerate(mock_spectra(count, seed=2026)):
        columns = [spectrum.wavelength * Unit("Angstrom"), spectrum.flux * FLUX, spectrum.ivar / FLUX**2]
        paths.append(folder / f"mock-{number:02}.ecsv")
        QTable(columns, names=["wavelength", "flux", "ivar"]).write(paths[-1])
        true.append(spectrum.z)
    return paths, true


def by_reader(reader, paths, **options):
    """Read spectra by the local model or a server; medians and seconds."""
    asked = [reader.ask(specdata.read_spectrum(path)) for path in paths]
    list(reader.predict(asked[:1], **options))
    start = time.perf_counter()
    found = [said.estimate for said in reader.predict(asked, **options)]
    return found, time.perf_counter() - start


def by_agent(arguments, paths):
    """The same by the MCP server over standard input and output."""
    import mcp

    command = ["-m", "specdata", "mcp", *arguments]
    server = mcp.StdioServerParameters(command=sys.executable, args=command, env=dict(os.environ))

    async def talk():
        async with mcp.Client(server) as client:
            await client.call_tool("measure_redshift", {"path": str(paths[0])})
            start = time.perf_counter()
            said = [await client.call_tool("measure_redshift", {"path": str(path)}) for path in paths]
            return [one.structured_content["spectra"][0]["value"] for one in said], time.perf_counter() - start

    return asyncio.run(talk())


def by_page(address, paths):
    """The same by the API of the page, which also draws its figures."""
    from gradio_client import Client

    client = Client(address, verbose=False)
    client.predict(paths[0].name, None, api_name="/predict")
    start = time.perf_counter()
    said = [client.predict(path.name, None, api_name="/predict")[0] for path in paths]
    return [float(re.search(r"z = (\d\.\d{4})", text)[1]) for text in said], time.perf_counter() - start


@contextlib.contextmanager
def server(command, ready, stream):
    """Start a server on a free port, `{port}` in its command, and wait until it says that it is ready; its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [str(word).replace("{port}", port) for word in command]
    variables = os.environ | {"GRADIO_SERVER_PORT": port, "PYTHONUNBUFFERED": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | {stream: subprocess.PIPE}
    with subprocess.Popen(command, env=variables, text=True, **pipes) as process:
        lines = getattr(process, stream)
        try:
            if not any(ready in line for line in lines):
                raise SystemExit(f"{' '.join(command)} has ended")
            threading.Thread(target=lines.read, daemon=True).start()  # so that it never waits for its log to be read
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapter", required=True)
    parser.add_argument("--model")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--endpoint", action="append", default=[], metavar="NAME=URL")
    parser.add_argument("--output", type=Path, required=True, help="folder to make")
    given = parser.parse_args()
    given.output.mkdir(parents=True)
    paths, true = write_spectra(given.output / "spectra", given.count)
    arguments = ["--adapter", given.adapter, *(["--model", given.model] if given.model else [])]
    found = {"true redshift": true}

    def note(way, medians, seconds):
        found[way] = medians
        print(f"| {way} | {seconds / len(paths):.2f} | {' '.join(f'{z:.4f}' for z in medians)} |", flush=True)

    print(f"| true redshift | | {' '.join(f'{z:.4f}' for z in true)} |")
    reader = Reader(given.adapter, given.model)
    note("`specdata.predict`", *by_reader(reader, paths))
    note("the same, `--answer-only`", *by_reader(reader, paths, answer_only=True))
    del reader
    note("MCP", *by_agent(arguments, paths))
    for way in given.endpoint:
        name, url = way.split("=", 1)
        note(name, *by_reader(Reader(given.adapter, given.model, endpoint=url), paths))
    run = [sys.executable, "-m", "specdata"]
    merged, space = given.output / "merged", given.output / "space"
    subprocess.run([*run, "merge", *arguments, "--output", merged], check=True, stdout=subprocess.DEVNULL)
    serve = [Path(sys.executable).with_name("transformers"), "serve", merged, "--host", "127.0.0.1", "--port", "{port}"]
    serve += ["--device", "cpu", "--decision-config", merged / "decision.json"]
    with server(serve, "Uvicorn running", "stderr") as url:
        note("`transformers serve`", *by_reader(Reader(given.adapter, given.model, endpoint=url), paths))
    files = [word for path in paths for word in ("--spectrum", path)]
    subprocess.run([*run, "space", *arguments, *files, "--output", space], check=True, stdout=subprocess.DEVNULL)
    with server([sys.executable, space / "app.py"], "Running on local URL", "stdout") as url:
        note("the page", *by_page(url, paths))
    (given.output / "ways.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
