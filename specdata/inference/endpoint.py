"""A model behind a server, with the interface of `specdata.inference.local.Generator`.

What a server can tell is found out by asking it: the probabilities of labels (``/v1/systemone`` of
``transformers serve``), those of tokens (``/v1/completions`` of vLLM and llama.cpp), or greedy answers alone.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx2
import numpy as np

from specdata.branches import read_batch
from specdata.errors import SpecdataError, one_line
from specdata.inference.decision import CONFIG, find_decision
from specdata.inference.local import MAX_NEW_TOKENS
from specdata.inputs import read_json
from specdata.posterior import Posterior, make_posterior, prompt_ids
from specdata.prompts import as_text, chat_ids, chat_text, text_ids
from specdata.retries import LONGEST_WAIT, retry_after
from specdata.targets import REDSHIFT
from specdata.text.smollm2 import GGUF, PACKAGE, gguf_folder, read_gguf_tokenizer

KEY = "SPECDATA_API_KEY"  # the environment variable with the server's key
CONNECT, ANSWER = 10.0, 600.0  # s; a server on a CPU takes its time
TRIES = 4
MOST_BYTES = 2**26  # of an answer
TOGETHER = 8  # requests at a time
TAIL = 0.01  # share of p at each level of digits that may be left unresolved; a server answers each branch by itself
MOST_BRANCHES = 64  # of a level that are asked for, and the questions of one request that transformers takes
_TRY_AGAIN = (408, 429, 500, 502, 503, 504)
_BLOCK = 128  # token ids of a request that vLLM takes
# Ways to ask for the logarithms of probabilities, and how many tokens of one request they tell: those of given tokens
# (vLLM), or of the most probable ones (llama.cpp, and vLLM with --max-logprobs 1000).
_WAYS = ((lambda ids: {"logprobs": 1, "logprob_token_ids": ids}, _BLOCK),
         (lambda _: {"logprobs": 1000}, 10**6))  # fmt: skip


def connect(url, adapter, model, *, served=None, target=REDSHIFT) -> "Endpoint":
    """Connect to a server of an adapter. The folder of the adapter says how to ask it; its weights are not read.

    Parameters
    ----------
    url : str
    adapter : Path
        Folder of the adapter.
    model : str
        Its base model, which has the tokenizer where the folder has none.
    served, target
        As for `Endpoint`.
    """
    from transformers import AutoTokenizer

    try:
        if (adapter / "tokenizer_config.json").is_file() or model != PACKAGE:
            source = adapter if (adapter / "tokenizer_config.json").is_file() else model
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        else:
            tokenizer = read_gguf_tokenizer(gguf_folder() / GGUF)
        decision = read_json(adapter / CONFIG) if (adapter / CONFIG).is_file() else {}
        temperature = float(decision.get("temperature", {}).get("choice", 1.0))
        if not 0 < temperature < 1e6:
            raise ValueError(f"{CONFIG} has the temperature {temperature}")
    except SpecdataError:
        raise
    except Exception as error:  # tokenizers raises bare exceptions
        raise SpecdataError(
            f"adapter {adapter}: its tokenizer or {CONFIG} cannot be read ({one_line(error)})"
        ) from None
    return Endpoint(url, tokenizer, name=model, served=served, target=target, temperature=temperature)


def _told(logprobs):
    """Logarithms of the probabilities of the first new token, by token id, as vLLM or as llama.cpp writes them."""
    try:
        if "content" in logprobs:
            return {one["id"]: one["logprob"] for one in logprobs["content"][0]["top_logprobs"]}
        told = logprobs["top_logprobs"][0].items()
        return {int(name.removeprefix("token_id:")): log_p for name, log_p in told if name.startswith("token_id:")}
    except (LookupError, TypeError, ValueError, AttributeError):  # another server's
        return {}


def _text(choice, message):
    """The text of a choice, of chats in its `message`; None where there is none."""
    return choice.get("text") or (choice.get(message) or {}).get("content")


class _RefusedError(SpecdataError):
    """The server answers, but not to this."""


class _ServerWalk:
    """What `specdata.branches.read_batch` asks after one prompt, as `specdata.branches.Walk` does of a model.

    `ask` gives probabilities of tokens after beginnings of an answer. With `labels_alone` they are shares of those
    tokens: every answer counts as begun, and none as larger than all of the tree.
    """

    def __init__(self, ask, start, labels_alone):
        self._ask, self._labels_alone = ask, labels_alone
        self._paths = [start]  # tokens that lead to each node of the level that was reached

    def begin(self, answers):
        start, beyond = answers.start, answers.beyond
        log_start, log_beyond, tokens = np.zeros(len(start)), np.full(len(beyond), -np.inf), sorted({*start, *beyond})
        if tokens and not self._labels_alone:
            count = max(len(start), answers.fork + 1 if beyond else 0)
            found = _log(self._ask([start[:at] for at in range(count)], tokens))
            log_start = found[np.arange(len(start)), np.searchsorted(tokens, start)]
            log_beyond = found[answers.fork, np.searchsorted(tokens, beyond)] if beyond else log_beyond
        first = self.step(None, answers.levels[0], np.ones((1, 1), dtype=bool), np.zeros((1, 1)))
        return log_start[None], first, log_beyond[None]

    def step(self, _, below, follow, log_mass):
        nodes, told = np.flatnonzero(follow), follow[0, below.parent]
        parent, token = np.searchsorted(nodes, below.parent[told]), below.token[told]
        tokens, place = np.unique(token, return_inverse=True)
        found = self._ask([self._paths[node] for node in nodes], tokens.tolist())[parent, place]
        if self._labels_alone:
            norm = np.bincount(parent, weights=found)[parent]
            found = np.divide(found, norm, out=np.zeros_like(found), where=norm > 0)
        p = np.zeros(len(told))
        p[told] = found
        paths = zip(below.parent, below.token.tolist(), strict=True)
        self._paths = [[*self._paths[node], last] for node, last in paths]
        return (log_mass[0, below.parent] + _log(p))[None]


def _log(p):
    with np.errstate(divide="ignore"):
        return np.log(p)


class Endpoint:
    """A model behind a server.

    Parameters
    ----------
    url : str
        Such as ``http://127.0.0.1:8000``. The key is taken from the environment variable `KEY`, if it is set.
    tokenizer : transformers.PreTrainedTokenizerBase
        The one that the adapter was trained with.
    name : str
        The base model's, for what is stored.
    served : str, optional
        Name of the adapter on the server; by default the only one there.
    target : specdata.targets.Target
        What the adapter answers.
    temperature : float
        Of the adapter's ``decision.json``, which the server applies, so that it can be undone.

    Attributes
    ----------
    kind : {"systemone", "logprobs", "answers"}
        What the server tells.
    notes : list of str
        What is missing because of that, a sentence each.
    device, hardware, dtype : str
    revision : None
    name : str
    tokenizer : transformers.PreTrainedTokenizerBase

    Raises
    ------
    SpecdataError
        If the server does not answer, or has several models and `served` names none of them.
    """

    revision, device, dtype = None, "endpoint", "unknown"

    def __init__(self, url, tokenizer, *, name, served=None, target=REDSHIFT, temperature=1.0):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise SpecdataError(
                f"endpoint: give an address such as http://127.0.0.1:8000, and a key in the environment as {KEY}"
            )
        self.url, self.hardware = url.rstrip("/").removesuffix("/v1"), parts.hostname
        self.name, self.tokenizer, self._temperature = name, tokenizer, temperature
        self._key = os.environ.get(KEY, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise SpecdataError(f"{KEY} holds a character that no key has; set it again")
        self._client = httpx2.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx2.Timeout(ANSWER, connect=CONNECT),
        )
        weakref.finalize(self, self._client.close)
        self._stopped = threading.Event()
        self._model, self._way, self.notes = {"model": served} if served else {}, None, []
        models = []
        with contextlib.suppress(_RefusedError):  # as transformers does where its cache is empty
            models = self._request("GET", "/v1/models", tries=TRIES - 1).get("data") or []
        if self._is_systemone(target):
            self.kind = "systemone"
            self.notes.append("the server does not tell the probability of a text that is no answer; it counts as 0")
            return
        self._model = self._model or self._choose([model for model in models if isinstance(model, dict)])
        self.kind = "logprobs" if self._finds_logprobs() else "answers"
        if self.kind == "answers":
            self.notes.append("the server tells no probabilities, so that there are only greedy answers without p(z)")
            self._compare_prompts()

    @property
    def has_posterior(self) -> bool:
        """Whether the server tells probabilities."""
        return self.kind != "answers"

    def answer(self, prompts, *, max_new_tokens=MAX_NEW_TOKENS) -> list[str]:
        """Continue prompts greedily; as `Generator.answer`."""

        def ask(prompt):
            path, body = self._continue(prompt, max_new_tokens)
            return _text(self._part(self._request("POST", path, body), "choices", 0), "message") or ""

        with self._threads(TOGETHER) as pool:
            return list(pool.map(ask, prompts))

    def count_tokens(self, prompts) -> int:
        """Tokens of all prompts together, chat template included."""
        return sum(len(chat_ids(self.tokenizer, prompt)) for prompt in prompts)

    def reply(self, conversation, *, max_new_tokens, on_text) -> str:
        """Continue one conversation greedily, and hand on each piece of text; as `Generator.reply`."""
        path, body = self._continue(conversation, max_new_tokens)
        pieces, events, rest = [], 0, b""
        try:
            with self._client.stream("POST", f"{self.url}{path}", json=body | {"stream": True}) as response:
                if response.status_code >= 300:
                    raise self._refused(response, self._read(response))
                for piece in itertools.chain(self._pieces(response), [b"\n"]):
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in (line.strip() for line in lines if line.startswith(b"data: ")):
                        events += 1
                        choices = [] if line == b"data: [DONE]" else json.loads(line[6:]).get("choices", [])
                        for choice in choices[:1]:
                            if text := _text(choice, "delta"):
                                pieces.append(text)
                                on_text(text)
        except (httpx2.RequestError, ValueError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, SpecdataError):
                raise
            raise SpecdataError(f"{self.url}: the answer broke off ({one_line(error)}); ask again") from None
        if not events:
            raise SpecdataError(f"{self.url}: answers without a text; is it a server of language models?")
        return "".join(pieces)

    @contextlib.contextmanager
    def _threads(self, count):
        """Threads that ask the server; after Ctrl-C or an error each ends with the request that it waits for."""
        self._stopped.clear()
        pool = ThreadPoolExecutor(count)
        try:
            yield pool
        except BaseException:
            self._stopped.set()
            raise
        finally:
            pool.shutdown(wait=not self._stopped.is_set(), cancel_futures=True)

    def _continue(self, conversation, max_new_tokens):
        """Path and body of a request for a greedy answer."""
        body = self._model | {"max_tokens": max_new_tokens, "temperature": 0}
        if self.kind != "logprobs":
            # A space makes text of what a user wrote as a special token, for here the server finds the tokens.
            return "/v1/chat/completions", body | {"messages": as_text(self.tokenizer, conversation, mark=" ")}
        # As tokens: such a server serves an adapter with the chat template of its base, which may be another.
        return "/v1/completions", body | {"prompt": chat_ids(self.tokenizer, conversation)}

    def posteriors(self, prompts, target=REDSHIFT, *, z_max=1, batch_size=64) -> Iterator[tuple[int, Posterior]]:
        """The probability of each answer after each of several prompts; as `specdata.posterior.answer_posteriors`.

        Digits are followed as long as no more than `MOST_BRANCHES` of them are probable, and evenly spread below.
        """
        with self._threads(min(TOGETHER, batch_size)) as pool:
            yield from enumerate(pool.map(lambda prompt: self._posterior(prompt, target, int(z_max)), prompts))

    def _posterior(self, prompt, target, z_max):
        labels_alone = self.kind == "systemone"
        top = (1 if labels_alone else z_max) if target.is_wide else None
        ids, answers = prompt_ids(self.tokenizer, prompt, target, top)
        if labels_alone:
            ask, labels = functools.partial(self._labels_after, prompt[-1]["content"]), {*self._decision.labels}
            known = itertools.takewhile(lambda level: labels.issuperset(self._texts(level.token)), answers.levels)
            answers = dataclasses.replace(answers, levels=[*known])
        else:
            ask = functools.partial(self._tokens_after, ids)
        walk = _ServerWalk(ask, answers.start, labels_alone)
        (found,) = read_batch(walk, answers, TAIL, target.is_number, MOST_BRANCHES)
        return make_posterior(target, target.answers(top), *found)

    def _tokens_after(self, ids, begun, tokens):
        """Probabilities of tokens after beginnings of an answer, which are lists of tokens; (beginnings, tokens)."""
        return np.exp(self._logprobs([ids + path for path in begun], tokens))

    def _labels_after(self, state, begun, tokens):
        """The same of tokens that are labels, as if nothing but labels could follow."""
        labels, decision = self._texts(tokens), self._decision
        asked = {str(number): decision.question(self.tokenizer.decode(path)) for number, path in enumerate(begun)}
        found = self._request("POST", "/v1/systemone", self._model | {"state": state, "questions": asked})
        p = [[self._part(found, "answers", name, "probabilities", label) for label in labels] for name in asked]
        return np.array(p) ** self._temperature

    def _texts(self, tokens):
        return [self.tokenizer.decode([int(token)]) for token in tokens]

    def _is_systemone(self, target):
        """Whether the server has ``/v1/systemone`` with the adapter's labels and template."""
        with contextlib.suppress(SpecdataError):
            self._decision = find_decision(self.tokenizer, target)
            prompt = [{"role": "user", "content": "0"}]
            body = self._model | {"state": "0", "questions": {"z": self._decision.question()}}
            found = self._request("POST", "/v1/systemone", body, tries=1)
            whole = text_ids(self.tokenizer, chat_text(self.tokenizer, prompt) + self._decision.begin)
            if self._part(found, "usage", "input_tokens") == len(whole):
                return True
            raise SpecdataError(f"{self.url}: serves a decision of another prompt")
        return False

    def _choose(self, models):
        """The server's only model or, of several, its only adapter."""
        names = [str(model.get("id")) for model in models]
        adapters = [str(model.get("id")) for model in models if model.get("parent")]
        found = names if len(names) == 1 else adapters
        if len(found) > 1 or (names and not found):
            raise SpecdataError(
                f"{self.url}: serves {', '.join(names[:20])}; say by --served-model which one the adapter is"
            )
        return {"model": found[0]} if found else {}

    def _finds_logprobs(self):
        """Whether the server tells the probabilities of tokens, and in which way it has to be asked."""
        ids = chat_ids(self.tokenizer, [{"role": "user", "content": "0"}])
        digits = self.tokenizer([str(n) for n in range(10)], add_special_tokens=False)["input_ids"]
        for self._way in _WAYS:
            with contextlib.suppress(SpecdataError):
                self._logprobs([ids], sorted({found[-1] for found in digits}), tries=1)
                return True
        return False

    def _compare_prompts(self):
        """Note it if the server makes another number of tokens of a chat than the adapter was trained with."""
        chat = [{"role": "user", "content": "0"}]
        path, body = self._continue(chat, 1)
        with contextlib.suppress(_RefusedError):
            used, ours = (
                (self._request("POST", path, body).get("usage") or {}).get("prompt_tokens"),
                len(chat_ids(self.tokenizer, chat)),
            )
            if used not in (None, ours):
                self.notes.append(
                    f"the server makes {used} tokens of a chat that has {ours} with the adapter's chat template; start "
                    "it with that, which is chat_template.jinja in the adapter's folder"
                )

    def _logprobs(self, prompts, tokens, tries=TRIES):
        """Logarithms of the probabilities of tokens after prompts, given as ids; shape (prompts, tokens)."""
        options, most = self._way
        found = np.full((len(prompts), len(tokens)), -np.inf)
        for start in range(0, len(tokens), most):
            block = tokens[start : start + most]
            body = {"prompt": prompts, "max_tokens": 1, "temperature": 0, "return_tokens_as_token_ids": True}
            answer = self._request("POST", "/v1/completions", self._model | body | options(block), tries=tries)
            for choice in self._part(answer, "choices"):
                told = _told(self._part(choice, "logprobs"))
                for at, token in enumerate(block):
                    if token in told:
                        found[choice.get("index", 0), start + at] = told[token]
        # Of the 1,000 most probable tokens those that are missing are improbable; of tokens that were asked for, none.
        if np.isinf(found).all(axis=1).any() or (most == _BLOCK and np.isinf(found).any()):
            raise SpecdataError(f"{self.url}: does not tell the probabilities that were asked for; try --answer-only")
        return found

    def _part(self, answer, *keys):
        try:
            for key in keys:
                answer = answer[key]
        except (KeyError, IndexError, TypeError):
            where = ".".join(map(str, keys))
            raise SpecdataError(f"{self.url}: answers without {where}; is it a server of language models?") from None
        return answer

    def _pieces(self, response):
        """The bytes of an answer, as they come, as long as there are no more than `MOST_BYTES`."""
        size = 0
        for piece in response.iter_bytes():
            size += len(piece)
            if size > MOST_BYTES:
                raise SpecdataError(
                    f"{self.url}: answers more than {MOST_BYTES:,} bytes; is it a server of language models?"
                )
            yield piece

    def _read(self, response):
        return b"".join(self._pieces(response)).decode("utf-8", "replace")

    def _refused(self, response, text):
        text = one_line(text or response.reason_phrase)[:200]
        if self._key:
            text = text.replace(self._key, "***")
        hint = f"; give the server's key as {KEY}" if response.status_code in (401, 403) else ""
        return _RefusedError(f"{self.url}: answers {response.status_code} ({text}){hint}")

    def _request(self, method, path, body=None, tries=TRIES) -> dict:
        """Send a request, again where the server is busy or the connection breaks; the JSON of the answer."""
        for number in itertools.count(1):
            if self._stopped.is_set():
                raise SpecdataError(f"{self.url}: is not asked any more")
            try:
                with self._client.stream(method, f"{self.url}{path}", json=body) as response:
                    text = self._read(response)
            except httpx2.RequestError as error:
                if number >= tries:
                    raise SpecdataError(
                        f"{self.url}: does not answer ({one_line(error)}); is the server running?"
                    ) from None
                wait = 2.0**number
            else:
                if response.status_code < 400:
                    break
                wait = retry_after(response.headers, 2.0**number)
                if response.status_code not in _TRY_AGAIN or number >= tries or wait > LONGEST_WAIT:
                    raise self._refused(response, text)
            time.sleep(wait)
        try:
            return dict(json.loads(text))
        except (ValueError, TypeError, RecursionError):
            raise SpecdataError(f"{self.url}{path}: answers no JSON; is it a server of language models?") from None
