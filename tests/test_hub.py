"""The preflight: token, gated models and the right to publish, asked of the test Hub before any work."""

import errno
import re
import sys
from pathlib import Path

import pytest
import yaml
from hub_client import use_hub

from specdata import SpecdataError
from specdata.files import find_recipe
from specdata.hub import check_access, check_there, check_write, local_folder, preflight
from specdata.text.tokenizer import load_tokenizer

LLAMA = "meta/gated-llama"
DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def gated(hub):
    """The test Hub with a gated model, to which alice was admitted."""
    repo = hub.put("model", LLAMA, {"config.json": b"{}"}, gated=True)
    repo.admitted.add("alice")
    hub.put("dataset", "org/galaxies", {"README.md": b"hello"})
    hub.put("dataset", "org/hidden", {"README.md": b"hello"}, private=True)
    return hub


def test_a_recipe_is_ready_to_train(gated, monkeypatch, tmp_path):
    use_hub(gated, monkeypatch, gated.tokens["alice"])
    content = yaml.safe_load(find_recipe("llama-3.1-8b/redshift-paper").read_text())
    (tmp_path / "recipe.yaml").write_text(
        yaml.safe_dump(content | {"dataset_name": "org/galaxies", "model_name_or_path": LLAMA})
    )
    assert preflight([str(tmp_path / "recipe.yaml")], repo="org/adapter") == [
        ("token", "of alice"), ("model", f"{LLAMA}: access"), ("dataset", "org/galaxies: access"),
        ("repository", "org/adapter: is free"),
    ]  # fmt: skip
    assert preflight([str(tmp_path)]) == [("token", "of alice"), ("model", f"{tmp_path}: a local folder")]


@pytest.mark.parametrize(
    ("user", "name", "kind", "sentence"),
    [
        ("bob", LLAMA, "model", r"is gated, and the token has no access; ask for access on http.*/meta/gated-llama"),
        (None, LLAMA, "model", r"is gated, and there is no token: log in with `hf auth login`, or set HF_TOKEN;"),
        ("alice", "org/nothing", "model", "no such folder, and no model on the Hub that may be read; check the name"),
        (None, "org/hidden", "dataset", "no dataset on the Hub that may be read; check the name, or log in"),
        ("mallory", "org/hidden", "dataset", "no dataset on the Hub that may be read; check the name"),
        ("alice", "a b/c", "model", "is not a name of the Hub, such as ORG/NAME"),
    ],
)  # fmt: skip
def test_what_may_not_be_read_is_one_sentence(gated, monkeypatch, user, name, kind, sentence):
    use_hub(gated, monkeypatch, gated.tokens.get(user))
    with pytest.raises(SpecdataError, match=sentence) as found:
        check_access(name, kind)
    assert "\n" not in str(found.value)


def test_what_may_be_read_passes(gated, monkeypatch):
    use_hub(gated, monkeypatch, None)
    check_access("org/galaxies", "dataset")
    use_hub(gated, monkeypatch, gated.tokens["bob"])
    check_access("org/hidden", "dataset")
    assert check_write("org/galaxies", "dataset")
    assert not check_write("org/new", "dataset")


@pytest.mark.parametrize(
    ("user", "name", "sentence"),
    [
        (None, "org/gated-galaxies", "is gated, and there is no token"),
        ("mallory", "org/gated-galaxies", "the token has no access; ask for access on http.*/datasets/org"),
        ("mallory", "org/hidden", "no dataset on the Hub that may be read"),
    ],
)
def test_a_download_that_is_refused_is_told_in_the_same_words(gated, monkeypatch, user, name, sentence):
    if ("dataset", "org/gated-galaxies") not in gated.storage.repos:
        gated.put("dataset", "org/gated-galaxies", {"README.md": b"hello"}, gated=True)
    use_hub(gated, monkeypatch, gated.tokens.get(user))
    with pytest.raises(SpecdataError, match=sentence):
        local_folder(name, "dataset")


def test_a_hub_that_is_not_there_is_told(hub, monkeypatch):
    use_hub(hub, monkeypatch, hub.tokens["alice"])
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SpecdataError, match=r"org/x: the Hub was not reached \(.*\); give the same command again"):
        check_access("org/x")


@pytest.mark.parametrize(
    ("user", "arguments", "printed"),
    [
        ("alice", ("preflight", LLAMA, "--repo", "org/galaxies", "--dataset"), None),
        ("bob", ("preflight", LLAMA), "is gated, and the token has no access"),
        ("reader", ("preflight", "--repo", "org/x"), "may only read"),
        ("alice", ("publish", "adapter", ".", "--repo", "org/x"), "has no results.json"),
    ],
)
def test_a_command_ends_with_code_2_and_one_sentence(gated, monkeypatch, command, user, arguments, printed):
    use_hub(gated, monkeypatch, gated.tokens.get(user))
    code, out, err = command(*arguments)
    if printed is None:
        assert code == 0
        assert out.splitlines() == [
            "token      of alice", f"model      {LLAMA}: access", "repository org/galaxies: may be written to",
        ]  # fmt: skip
    else:
        assert (code, err.count("\n")) == (2, 1)
        assert err.startswith("specdata: ")
        assert printed in err


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("data/of/mine", "data/of/mine: no such folder, and not a name of the Hub, such as ORG/NAME; check the name"),
        ("mydata", "mydata: no such folder, and not a name of the Hub"),
        ("../x", "../x: no such folder, and not a name of the Hub"),
        ("mis/typed", "mis/typed: no such folder, and no download from the Hub"),
    ],
)
def test_a_mistyped_name_is_told_at_once(hub, monkeypatch, name, sentence):
    use_hub(hub, monkeypatch, None)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("waits for another try"))
    with pytest.raises(SpecdataError, match=sentence):
        local_folder(name, "dataset")
    with pytest.raises(
        SpecdataError, match=r"no such folder here\): (the Hub was not reached|is not a name of the Hub)"
    ):
        check_there("mis/typed/x" if name.count("/") > 1 else "mis/typed")


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("xet: no space left")]
)
def test_a_disk_that_is_full_while_downloading_is_told(gated, monkeypatch, error):
    use_hub(gated, monkeypatch, gated.tokens["bob"])

    def fail(*_, **__):
        raise error

    monkeypatch.setattr("huggingface_hub.file_download.http_get", fail)
    with pytest.raises(SpecdataError, match=r"org/hidden: .*\((No|xet: no) space left") as found:
        local_folder("org/hidden", "dataset")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("package", "extra", "line"),
    [
        ("peft", "eval", "evaluate --model org/m --dataset org/d --output out"),
        ("peft", "eval", "predict x.fits --adapter org/a"),
        ("peft", "eval", f"chat --adapter org/a --spectrum {DATA / 'spec-0468-51912-0523.fits'}"),
        ("peft", "eval", "merge --adapter org/a --output out"),
        ("mcp", "mcp", "mcp --adapter org/a"),
        ("lm_eval", "retention", "retention --model org/m --adapter org/a --output out"),
        ("gguf", "tokens", "replay org/d --tokenizer smollm2-135m --output out"),
    ],
)
def test_a_package_that_is_missing_is_told_before_the_hub_is_asked(monkeypatch, command, package, extra, line):
    monkeypatch.setattr("specdata.text.tokenizer.load_tokenizer", load_tokenizer.__wrapped__)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asks the Hub"))
    code, _, said = command(*line.split())
    assert (code, said.count("\n")) == (2, 1)
    assert re.search(rf"\b{package.replace('_', '.')} (is|are) not installed, which ", said)
    assert said.endswith(f": pip install 'specdata[{extra}]'\n")


@pytest.mark.parametrize("token", ["hf_é", "hf_a\nb"])
def test_a_token_that_no_header_may_hold_is_told(monkeypatch, token):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: token)
    with pytest.raises(SpecdataError, match="the token for the Hub holds a character that no token has: log in with"):
        preflight(["org/model"])
