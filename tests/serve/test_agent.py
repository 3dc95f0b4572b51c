"""The MCP server as an agent meets it: by the real client, in memory and over standard input and output."""

import asyncio
import sys

import pytest
from spec_lite import write_spec_lite

from specdata.inference.reader import Reader
from specdata.spectra.mock.spectrum import mock_spectra

mcp = pytest.importorskip("mcp")


@pytest.fixture(scope="module")
def spectrum():
    return next(iter(mock_spectra(1, seed=4)))


@pytest.fixture(scope="module")
def path(spectrum, tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / f"spec-{spectrum.name}.fits"
    write_spec_lite(spectrum, path)
    return path


def calls(server, *wanted):
    """Call tools of a server, one after the other; their results, and the tools that it lists by name."""

    async def talk():
        async with mcp.Client(server) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            return [await client.call_tool(name, arguments) for name, arguments in wanted], tools

    return asyncio.run(talk())


def test_an_agent_measures_and_asks(scored_adapter, taught_model, spectrum, path):
    from specdata.serve.agent import make_server

    arrays = {
        "wavelength": spectrum.wavelength.tolist(),
        "flux": spectrum.flux.tolist(),
        "ivar": spectrum.ivar.tolist(),
    }
    (of_file, of_arrays, described, asked, missing, both, endless), tools = calls(
        make_server(Reader(scored_adapter, str(taught_model))),
        ("measure_redshift", {"path": str(path)}),
        ("measure_redshift", arrays),
        ("describe_adapter", {}),
        ("ask_about_spectrum", {"path": str(path), "question": "What is it?"}),
        ("measure_redshift", {"path": "/no/such.fits"}),
        ("measure_redshift", {}),
        ("measure_redshift", {"wavelength": [1.0] * 1_000_001, "flux": [1.0] * 1_000_001}),
    )
    assert tools.keys() == {"measure_redshift", "describe_adapter", "ask_about_spectrum"}
    assert all(tool.output_schema and tool.description for tool in tools.values())
    (found,) = of_file.structured_content["spectra"]
    assert found["value"] == pytest.approx(0.2468, abs=0.01)
    assert found["interval_68"][0] <= found["value"] <= found["interval_68"][1]
    assert found["answer"] == "Redshift: [0.2468]"
    (same,) = of_arrays.structured_content["spectra"]
    assert same["value"] == pytest.approx(found["value"], abs=1e-3)
    assert same["stated"] is None
    assert "are mocks" in of_file.structured_content["doubts"][0]
    assert described.structured_content["bins"] == 8
    assert described.structured_content["values"] == "flux (1e-17 erg/s/cm2/A)"
    assert described.structured_content["training_rows"] == 9
    assert "only knows the redshift" in asked.structured_content["answer"]
    assert missing.is_error
    assert "/no/such.fits" in missing.content[0].text
    assert both.content[0].text.endswith("give either path, or wavelength and flux")
    assert endless.is_error
    assert "at most 1000000 items" in endless.content[0].text


@pytest.mark.slow
def test_over_standard_input_and_output(scored_adapter, taught_model, path):
    arguments = ["-m", "specdata", "mcp", "--adapter", str(scored_adapter), "--model", str(taught_model)]
    server = mcp.StdioServerParameters(command=sys.executable, args=arguments, env={"HF_HUB_OFFLINE": "1"})
    (found, broken), _ = calls(
        server, ("measure_redshift", {"path": str(path)}), ("measure_redshift", {"path": __file__})
    )
    assert found.structured_content["spectra"][0]["answer"] == "Redshift: [0.2468]"
    assert broken.is_error
    assert "not a spectrum that can be read" in broken.content[0].text
