"""Commands that put a trained adapter to use for others: an agent's tools and a page."""

from pathlib import Path
from typing import Annotated

import typer

from specdata.cli.options import Device, Endpoint, Output, Overwrite, ServedModel

app = typer.Typer()
_Adapter = Annotated[str, typer.Option(help="LoRA adapter: a folder or a Hub name.")]
_Model = Annotated[str | None, typer.Option(help="Base model, a folder or a Hub name; by default the adapter's.")]


@app.command()
def mcp(
    adapter: _Adapter,
    model: _Model = None,
    device: Device = None,
    endpoint: Endpoint = None,
    served_model: ServedModel = None,
) -> None:
    """Serve an adapter to agents by MCP."""
    from specdata.extras import need
    from specdata.inference.reader import Reader
    from specdata.serve.agent import make_server

    need("mcp", "mcp", what="an agent's server")
    reader = Reader(adapter, model, device=device, endpoint=endpoint, served=served_model)
    make_server(reader).run("stdio")


@app.command()
def space(
    adapter: _Adapter,
    output: Output,
    model: _Model = None,
    spectrum: Annotated[list[Path] | None, typer.Option(help="An example for the page; repeatable.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a Hugging Face Space: a page that predicts."""
    from specdata.serve.space import write_space

    write_space(adapter, output, model=model, spectra=spectrum, overwrite=overwrite)
    print(f"written to {output}; python {output}/app.py shows it here, with the extra app")
