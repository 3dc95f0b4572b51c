"""The page of a Space, in a real browser: pick, predict, read the number, ask, upload a broken file, on a phone."""

import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

from specdata.errors import SpecdataError
from specdata.serve.space import write_space
from specdata.spectra.readers import read_spectrum

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def folder(scored_adapter, taught_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("space") / "space"
    write_space(scored_adapter, folder, model=taught_model)
    return folder


def test_a_space_is_complete(folder, scored_adapter, tmp_path):
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert names == ["README.md", "app.py", "examples/mock-1.ecsv", "examples/mock-2.ecsv", "requirements.txt"]
    head = (folder / "README.md").read_text().split("---")[1]
    assert re.search(r"^sdk: gradio\nsdk_version: \d+\.\d+\.\d+$", head, re.MULTILINE)
    assert read_spectrum(folder / "examples" / "mock-1.ecsv").wavelength[0] < 3900
    assert "specdata[app]" in (folder / "requirements.txt").read_text()
    with pytest.raises(SpecdataError, match=r"no\.fits: there is no such file"):
        write_space(scored_adapter, tmp_path / "other", model="x", spectra=["no.fits"])
    with pytest.raises(SpecdataError, match=r"app.py: another of the spectra has the same name"):
        write_space(scored_adapter, tmp_path / "other", model="x", spectra=[folder / "app.py"] * 2)


@pytest.fixture(scope="module")
def address(folder):
    """Address of the page, as ``python app.py`` shows it."""
    pytest.importorskip("gradio")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, folder / "app.py"], env=os.environ | settings, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if "Running on local URL" in line:
                break
        else:
            pytest.fail("the page has ended")
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        process.stdout.read()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_in_a_browser(address, tmp_path):
    api = pytest.importorskip("playwright.sync_api")
    api.expect.set_options(timeout=60_000)
    (tmp_path / "broken.fits").write_text("nothing")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(60_000)
        page.goto(address)
        result, button = page.locator("#result"), page.get_by_role("button", name="Predict")
        button.focus()
        page.keyboard.press("Enter")  # by keyboard
        api.expect(result).to_contain_text("the median of p(z)")
        assert 0.2 < float(re.search(r"z = (\d\.\d{4})", result.inner_text())[1]) < 0.3
        api.expect(page.get_by_alt_text("with the lines at z = 0.24")).to_be_visible()
        api.expect(page.get_by_alt_text("p(z) with its median")).to_be_visible()
        page.get_by_label("Question").fill("What is <b>it</b>?")
        page.keyboard.press("Enter")
        api.expect(page.get_by_text("This adapter only knows the redshift")).to_be_visible()
        page.screenshot(path=tmp_path / "wide.png", full_page=True)
        page.locator("input[type=file]").first.set_input_files(tmp_path / "broken.fits")
        api.expect(page.get_by_text("broken").first).to_be_visible()
        button.click()
        api.expect(result).to_contain_text("This did not work. broken.fits: not a spectrum that can be read")
        phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
        phone.set_default_timeout(60_000)
        phone.goto(address)
        phone.get_by_role("button", name="Predict").click()
        api.expect(phone.locator("#result")).to_contain_text("the median of p(z)")
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390
        phone.screenshot(path=tmp_path / "phone.png", full_page=True)
        browser.close()
