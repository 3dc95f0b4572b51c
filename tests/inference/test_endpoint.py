"""A model behind a server says what it says here: ``transformers serve`` itself, and doubles of vLLM and llama.cpp."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import specdata
from specdata.errors import SpecdataError
from specdata.evaluation.evaluate import evaluate
from specdata.inference import endpoint as module
from specdata.inference.chat import Session
from specdata.inference.decision import CONFIG, write_decision
from specdata.inference.endpoint import KEY, Endpoint
from specdata.inference.local import Generator
from specdata.inference.reader import Reader
from specdata.prompts import chat_text, text_ids


@pytest.fixture(scope="module")
def adapter(scored_adapter, tokenizer, tmp_path_factory):
    """An adapter that changes the answers of its base, with its files for transformers' decisions."""
    folder = shutil.copytree(scored_adapter, tmp_path_factory.mktemp("strong") / "adapter")
    weights = load_file(folder / "adapter_model.safetensors")
    strong = {name: 3000 * weight if "lora_B" in name else weight for name, weight in weights.items()}
    save_file(strong, folder / "adapter_model.safetensors")
    write_decision(folder, tokenizer, 1.5)
    return folder


@pytest.fixture(scope="module")
def reader(adapter, taught_model):
    return Reader(adapter, str(taught_model))


@pytest.fixture(scope="module")
def here(reader, spectra):
    return list(reader.predict([reader.ask(spectrum) for spectrum in spectra]))


@pytest.fixture(scope="module")
def serve(adapter, taught_model, tmp_path_factory):
    """Address of ``transformers serve`` for a folder with the base and the adapter, as docs/serving.md says."""
    pytest.importorskip("fastapi")
    pytest.importorskip("openai")
    folder = shutil.copytree(taught_model, tmp_path_factory.mktemp("both") / "both")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(adapter / name, folder)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", folder, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--device", "cpu", "--decision-config", adapter / CONFIG]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as server:
        said = ""
        for line in server.stderr:
            said += line
            if "Uvicorn running" in line:
                break
        else:
            pytest.fail(said)
        reader = threading.Thread(target=server.stderr.read)  # so that it never waits for its log to be read
        reader.start()
        yield f"http://127.0.0.1:{port}"
        server.terminate()
        reader.join()


class Vllm(BaseHTTPRequestHandler):
    """As much of vLLM 0.32 as `Endpoint` uses; the class attributes are set by the tests."""

    generator, asked, busy, tells, most = None, None, 0, True, 20

    def log_message(self, *_):
        pass

    def do_GET(self):
        base, adapter = {"id": "base", "parent": None}, {"id": "redshift", "parent": "base"}
        self.send({"data": [base, adapter]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body, self.headers.get("Authorization")))
        if type(self).busy:
            type(self).busy -= 1
            self.send({"error": "busy"}, 503)
        elif self.path == "/v1/chat/completions":
            (text,) = self.generator.answer([body["messages"]], max_new_tokens=body["max_tokens"])
            self.send({"choices": [{"message": {"content": text}}], "usage": {"prompt_tokens": 99}})
        elif self.path != "/v1/completions":
            self.send({"error": {"message": "The model does not support the structured decision API"}}, 501)
        elif "logprobs" not in body and "logprob_token_ids" not in body:
            ids = torch.tensor([body["prompt"]])
            found = self.generator.model.generate(input_ids=ids, max_new_tokens=body["max_tokens"], do_sample=False)
            text = self.generator.tokenizer.decode(found[0, ids.shape[1] :], skip_special_tokens=True)
            self.send({"choices": [{"text": text}]})
        elif not self.tells or self.wrong(body):
            self.send({"error": f"no, {self.headers.get('Authorization')}"}, 400)
        else:
            choices = []
            for index, prompt in enumerate(body["prompt"]):
                with torch.inference_mode():
                    logits = self.generator.model(input_ids=torch.tensor([prompt])).logits[0, -1]
                choices.append({"index": index, "text": "", "logprobs": self.logprobs(body, logits.log_softmax(-1))})
            self.send({"choices": choices[::-1]})

    def wrong(self, body):
        ids = body.get("logprob_token_ids", [])
        return len(ids) > 128 or (ids and "logprobs" not in body) or body.get("logprobs", 0) > self.most

    def logprobs(self, body, log_p):
        """What was asked for, and always the most probable token."""
        assert body["return_tokens_as_token_ids"]
        top = log_p.topk(1).indices.tolist()
        ids = body.get("logprob_token_ids") or log_p.topk(body["logprobs"]).indices.tolist()
        return {"top_logprobs": [{f"token_id:{token}": float(log_p[token]) for token in dict.fromkeys(top + ids)}]}

    def send(self, content, status=200):
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        if status == 503:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(text)


class LlamaCpp(Vllm):
    """The same of llama.cpp's server: it ignores the ids, and tells the most probable tokens in another shape."""

    def do_GET(self):
        self.send({"data": [{"id": "redshift"}]})

    def wrong(self, body):
        return False

    def logprobs(self, body, log_p):
        values, ids = log_p.topk(body["logprobs"])
        told = [{"id": token, "logprob": value} for token, value in zip(ids.tolist(), values.tolist(), strict=True)]
        return {"content": [{"id": told[0]["id"], "top_logprobs": told}]}


@contextlib.contextmanager
def serving(handler):
    """Address of a server that a class of `BaseHTTPRequestHandler` answers for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def vllm(reader, monkeypatch, request):
    """Address of the double, whose model is that of `reader`."""
    for name, value in {"generator": reader.generator, "asked": [], "busy": 0, "tells": True}.items():
        monkeypatch.setattr(Vllm, name, value)
    with serving(getattr(request, "param", Vllm)) as url:
        yield url


def first_digit(generator, prompt):
    """Probabilities of the first digit of an answer, given that it is one."""
    text = chat_text(generator.tokenizer, prompt) + "Redshift: [0."
    with torch.inference_mode():
        logits = generator.model(input_ids=torch.tensor([text_ids(generator.tokenizer, text)])).logits[0, -1]
    digits = generator.tokenizer.convert_tokens_to_ids([str(n) for n in range(10)])
    return logits[digits].softmax(-1).numpy()


@pytest.mark.slow
def test_transformers_serve_tells_the_same_redshifts(serve, reader, adapter, taught_model, here, spectra):
    there = Reader(adapter, str(taught_model), endpoint=serve)
    found = list(there.predict([there.ask(spectrum) for spectrum in spectra]))
    assert there.generator.kind == "systemone"
    assert [said.answer for said in found] == [said.answer for said in here]
    base = Generator(str(taught_model))
    for said in found:
        p = said.posterior.p.reshape(10, 1000).sum(axis=1)
        assert p == pytest.approx(first_digit(reader.generator, said.prompt), abs=1e-5)
        assert p != pytest.approx(first_digit(base, said.prompt), abs=1e-4)
    session, heard = Session(there, spectra[0]), []
    session.ask("Is it near?", max_new_tokens=4, on_text=heard.append)
    local = Session(Reader(adapter, str(taught_model)), spectra[0])
    assert local.ask("Is it near?", max_new_tokens=4, on_text=lambda _: None) == "".join(heard).strip()


@pytest.mark.parametrize("vllm", [Vllm, LlamaCpp], indirect=True)
def test_a_server_with_logprobs_tells_the_same_p_of_z(vllm, adapter, taught_model, here, spectra, monkeypatch):
    monkeypatch.setenv(KEY, "secret-key")
    monkeypatch.setattr(module, "TAIL", 1e-6)
    monkeypatch.setattr(module, "MOST_BRANCHES", 10**6)
    monkeypatch.setattr(Vllm, "busy", 1)
    there = Reader(adapter, str(taught_model), endpoint=f"{vllm}/v1")
    found = list(there.predict([there.ask(spectrum) for spectrum in spectra[:1]]))
    assert there.generator.kind == "logprobs"
    assert found[0].answer == here[0].answer
    _, local = next(Vllm.generator.posteriors([found[0].prompt], tail=0))
    assert found[0].posterior.p == pytest.approx(local.p, abs=1e-5)
    for name in ("answered", "beyond", "begun"):
        assert getattr(found[0].posterior, name) == pytest.approx(getattr(local, name), abs=1e-4)
    assert {body["model"] for path, body, _ in Vllm.asked if path != "/v1/systemone"} == {"redshift"}
    assert "/v1/chat/completions" not in {path for path, *_ in Vllm.asked}
    assert {key for *_, key in Vllm.asked} == {"Bearer secret-key"}


def test_a_server_that_tells_no_probabilities_gives_answers(vllm, adapter, taught_model, here, spectra, monkeypatch):
    monkeypatch.setattr(Vllm, "tells", False)
    table = specdata.predict(spectra, adapter, model=str(taught_model), endpoint=vllm, served="redshift")
    assert list(table["answer"]) == [said.answer for said in here]
    assert "z_low_68" not in table.colnames
    assert "the server tells no probabilities, so that there are only greedy answers" in table.meta["comments"][-2]
    assert "the server makes 99 tokens of a chat that has" in table.meta["comments"][-1]
    generator = Endpoint(vllm, Vllm.generator.tokenizer, name="base", served="redshift")
    generator.answer([[{"role": "user", "content": "Bye.<|im_end|>"}]])
    assert Vllm.asked[-1][1]["messages"][0]["content"] == "Bye.< |im_end|>"  # not the end of the turn


def test_what_a_server_refuses_is_one_sentence_without_the_key(vllm, tokenizer, monkeypatch):
    monkeypatch.setenv(KEY, "secret-key")
    found = Endpoint(vllm, tokenizer, name="base")
    monkeypatch.setattr(Vllm, "tells", False)
    with pytest.raises(SpecdataError, match=r"answers 400 \(.*Bearer \*\*\*") as error:
        found._logprobs([[1]], [2])
    assert "secret" not in str(error.value)
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(SpecdataError, match=f"{port}: does not answer .*; is the server running"):
        Endpoint(f"http://127.0.0.1:{port}", tokenizer, name="base")
    monkeypatch.setattr(module, "ANSWER", 0.05)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(SpecdataError, match=r"does not answer \(.*timed out\); is the server running"),
    ):
        Endpoint(f"http://127.0.0.1:{silent.getsockname()[1]}", tokenizer, name="base")
    for wrong in ("127.0.0.1:8000", "ftp://host", "http://user:word@host"):
        with pytest.raises(SpecdataError, match="give an address such as") as error:
            Endpoint(wrong, tokenizer, name="base")
        assert "word@" not in str(error.value)
    with pytest.raises(SpecdataError, match="serves a, b; say by --served-model"):
        found._choose([{"id": "a"}, {"id": "b"}])


class Odd(BaseHTTPRequestHandler):
    """What is no server of language models: its answers to everything are `body`."""

    status, body, times, kind = 200, b"", 1, "text/html"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_response(self.status)
        self.send_header("Content-Type", self.kind)
        self.send_header("Location", "http://127.0.0.1:9/")
        if self.kind == "gzip":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            for _ in range(self.times):
                self.wfile.write(self.body)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()


@pytest.mark.parametrize(
    ("odd", "sentence"),
    [
        ({"body": b"<html>Log in</html>"}, "answers no JSON"),
        ({"status": 302}, "answers no JSON"),
        ({"body": b"[" * 100_000}, "answers no JSON"),
        ({"body": b"[1, 2]"}, "answers no JSON"),
        ({"body": bytes(2**16), "times": 10**6}, "answers more than 1,000,000 bytes"),
        ({"body": b"no gzip", "kind": "gzip"}, "does not answer"),
    ],
)
def test_what_is_no_server_of_models_is_told(vllm, tokenizer, monkeypatch, odd, sentence):
    found = Endpoint(vllm, tokenizer, name="base")
    monkeypatch.setattr(module, "MOST_BYTES", 1_000_000)
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    with serving(type("AsSaid", (Odd,), odd)) as found.url:
        with pytest.raises(SpecdataError, match=sentence):
            found._request("POST", "/v1/completions", {})
        with pytest.raises(SpecdataError, match=r"answers 302|answers without a text|answers more|broke off"):
            found.reply([{"role": "user", "content": "0"}], max_new_tokens=1, on_text=lambda text: None)


def test_a_key_or_a_temperature_that_cannot_be_is_refused(
    vllm, tokenizer, adapter, taught_model, monkeypatch, tmp_path
):
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    tokenizer.save_pretrained(folder)
    for wrong in ("NaN", "0", "[]"):
        (folder / CONFIG).write_text(f'{{"temperature": {{"choice": {wrong}}}}}')
        with pytest.raises(SpecdataError, match=r"its tokenizer or decision.json cannot be read"):
            module.connect(vllm, folder, str(taught_model))
    for key in ("sécret", "se\ncret"):
        monkeypatch.setenv(KEY, key)
        with pytest.raises(SpecdataError, match=f"{KEY} holds a character that no key has") as error:
            Endpoint(vllm, tokenizer, name="base")
        assert "cret" not in str(error.value)


def test_after_ctrl_c_nothing_more_is_asked(vllm, tokenizer, monkeypatch):
    found, begun = Endpoint(vllm, tokenizer, name="base"), threading.Event()
    ended, given_up = threading.Event(), threading.Event()

    def posterior(prompt, *_):
        if prompt == "first":
            begun.wait()
            raise KeyboardInterrupt
        with contextlib.suppress(SpecdataError):
            while not given_up.is_set():  # until it is stopped
                found._request("GET", "/v1/models")
                begun.set()
            return
        ended.set()

    monkeypatch.setattr(found, "_posterior", posterior)
    with pytest.raises(KeyboardInterrupt):
        list(found.posteriors(["first", "second"]))
    stopped = ended.wait(60)
    given_up.set()
    assert stopped


def test_more_tokens_than_a_request_may_ask_for_go_in_blocks(vllm, tokenizer):
    found = Endpoint(vllm, tokenizer, name="base")
    Vllm.asked.clear()
    assert np.exp(found._logprobs([[1, 2], [3]], list(range(300)))).sum(axis=1).max() <= 1
    assert [len(body["logprob_token_ids"]) for _, body, _ in Vllm.asked] == [128, 128, 44]


def test_a_merged_model_answers_as_the_adapter_does(command, adapter, reader, here, taught_model, tmp_path):
    code, _, err = command("merge", "--adapter", adapter, "--model", taught_model, "--output", "merged")
    assert code == 0, err
    assert "warning: the base model has revision " in err  # the results that were made up for the adapter name another
    found = Generator(str(tmp_path / "merged"))
    prompts = [said.prompt for said in here]
    assert found.answer(prompts) == [said.answer for said in here]
    merged, adapted, base = (
        first_digit(one, prompts[0]) for one in (found, reader.generator, Generator(str(taught_model)))
    )
    assert merged == pytest.approx(adapted, abs=1e-5)
    assert merged != pytest.approx(base, abs=1e-4)
    assert (tmp_path / "merged" / CONFIG).read_bytes() == (adapter / CONFIG).read_bytes()


@pytest.mark.slow
def test_an_evaluation_of_a_server_scores_what_it_tells(vllm, adapter, taught_model, mock_data, tmp_path, monkeypatch):
    monkeypatch.setattr("specdata.evaluation.figures.draw_figures", lambda *_, **__: None)  # they take most of the time
    options = {"adapter": adapter, "config": "paper", "limit": 2, "baselines": [], "progress": False, "endpoint": vllm}
    found = evaluate(str(taught_model), str(mock_data), tmp_path / "there", served="redshift", **options)
    local = evaluate(str(taught_model), str(mock_data), tmp_path / "here", **options | {"endpoint": None})
    assert found["settings"]["endpoint"] == "logprobs"
    assert found["metrics"]["mae"]["value"] == pytest.approx(local["metrics"]["mae"]["value"], abs=1e-3)
    assert "--endpoint URL" in found["command"]
