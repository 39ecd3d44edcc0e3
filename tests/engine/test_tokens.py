"""Text to token ids: leading spaces, special tokens and the subject's last token, on two kinds of tokenizer."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

import pytest_editpitfalls
from pytest_editpitfalls.engine.locate_then_edit.edit_rows import edit_rows
from pytest_editpitfalls.engine.models import load, prepare, resolve
from pytest_editpitfalls.engine.tokens import Encoder
from pytest_editpitfalls.errors import CaseError, UnscorableCase, UsageError
from pytest_editpitfalls.program import EditRequest
from tests.engine import naive
from tests.tiny_models import byte_level_tokenizer, metaspace_tokenizer

TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte-level": byte_level_tokenizer,
    "byte-level with BOS": lambda: byte_level_tokenizer(bos=True),
    "metaspace": metaspace_tokenizer,
}
HAS_BOS = {"byte-level": False, "byte-level with BOS": True, "metaspace": True}

PROMPTS = ["The capital of France is", "Danielle Darrieux speaks", "日本", "x", "According to the report,"]
TARGETS = [
    "Paris",
    "the queen of Spain",
    "São Paulo",
    "日本",
    "a",
    "{Rome}",
    "{}",
    "{0}",
    "O'Brien (1999)",
    "-3",
]


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return TOKENIZERS[request.param]()


@pytest.fixture
def encoder(tokenizer: PreTrainedTokenizerFast) -> Encoder:
    return Encoder(tokenizer)


# Prompts and targets


@pytest.mark.parametrize("name", TOKENIZERS)
def test_prompts_have_the_default_special_tokens_and_targets_none(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    encoder = Encoder(tokenizer)
    prompt = encoder.prompt("The capital of France is")
    assert list(prompt) == tokenizer("The capital of France is")["input_ids"]
    assert (prompt[0] == tokenizer.bos_token_id) == HAS_BOS[name]
    for target in TARGETS:
        assert not set(encoder.target(target)) & set(tokenizer.all_special_ids)


@pytest.mark.parametrize("target", TARGETS)
def test_prompt_and_target_make_up_the_joint_text(
    target: str, tokenizer: PreTrainedTokenizerFast, encoder: Encoder
) -> None:
    for prompt in PROMPTS:
        joined = tokenizer(f"{prompt} {target}")["input_ids"]
        assert list(encoder.prompt(prompt) + encoder.target(target)) == joined
        assert list(encoder.target(target)) == naive.target_ids(tokenizer, prompt, target)


def test_the_target_starts_with_exactly_one_space(tokenizer: PreTrainedTokenizerFast, encoder: Encoder) -> None:
    first = tokenizer.convert_ids_to_tokens(encoder.target("Paris"))[0]
    assert first[0] in "Ġ▁"
    assert first.count(first[0]) == 1


def test_a_prompt_that_ends_in_a_space_gives_two(tokenizer: PreTrainedTokenizerFast, encoder: Encoder) -> None:
    """Published prompts are kept byte for byte, and one space always joins the target."""
    ids = encoder.prompt("The capital of France is ") + encoder.target("Paris")
    assert list(ids) == tokenizer("The capital of France is  Paris")["input_ids"]
    assert list(ids) != tokenizer("The capital of France is Paris")["input_ids"]
    assert encoder.target("Paris") == ids[-len(encoder.target("Paris")) :]


def test_spaces_around_a_label_are_kept(tokenizer: PreTrainedTokenizerFast, encoder: Encoder) -> None:
    assert list(encoder.prompt("x") + encoder.target(" Paris")) == tokenizer("x  Paris")["input_ids"]
    assert list(encoder.prompt("x") + encoder.target("Paris ")) == tokenizer("x Paris ")["input_ids"]


@pytest.mark.parametrize("label", ["", " ", "\t\n ", "\u00a0"])
def test_an_empty_target_cannot_be_scored(label: str, encoder: Encoder) -> None:
    with pytest.raises(UnscorableCase, match="has no tokens") as caught:
        encoder.target(label)
    assert repr(label) in str(caught.value)
    assert caught.value.fix


def small_vocabulary(*, unk: str | None) -> PreTrainedTokenizerFast:
    """A SentencePiece-like tokenizer without byte tokens: what it does not know is dropped or becomes ``unk``."""
    tokenizer = Tokenizer(models.BPE(unk_token=unk))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    trainer = trainers.BpeTrainer(vocab_size=90, special_tokens=[unk] if unk else [], show_progress=False)
    tokenizer.train_from_iterator(["The capital of France is a big Paris in it"] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=unk)


@pytest.mark.parametrize("unk", [None, "<unk>"])
def test_a_label_that_the_tokenizer_cannot_write_cannot_be_scored(unk: str | None) -> None:
    """Where its characters are dropped a lone space is left over: its probability is not the label's."""
    encoder = Encoder(small_vocabulary(unk=unk))
    assert encoder.target("Paris")
    with pytest.raises(UnscorableCase, match="日本") as caught:
        encoder.target("日本")
    assert "tokenizer" in (caught.value.fix or "")


def test_an_unknown_character_within_a_label_cannot_be_scored() -> None:
    encoder = Encoder(small_vocabulary(unk="<unk>"))
    with pytest.raises(UnscorableCase, match="Paříž"):
        encoder.target("Paříž")


def test_a_prompt_without_tokens() -> None:
    with pytest.raises(UnscorableCase, match="the prompt '' has no tokens"):
        Encoder(byte_level_tokenizer()).prompt("")
    assert len(Encoder(metaspace_tokenizer()).prompt("")) == 1  # the BOS


# Labels that follow without a space


@pytest.fixture(scope="module")
def embedded() -> PreTrainedTokenizerFast:
    """The embedded model's."""
    source = resolve("smollm2-135m")
    prepare(source)
    return load(source, "cpu", None)[1]


TIGHT = [
    ("日本的首都是", "东京"),
    ("日本の首都は", "東京"),
    ("中国的货币是", "人民币"),
    ("首都：", "巴黎"),
    ("The symbol:", "Fe"),
    ("铁的符号是", "Fe"),
]


@pytest.mark.parametrize(("prompt", "label"), TIGHT)
def test_without_a_joiner_prompt_and_target_make_up_the_joint_text(
    prompt: str, label: str, tokenizer: PreTrainedTokenizerFast, encoder: Encoder
) -> None:
    joined = list(encoder.prompt(prompt) + encoder.target(label, ""))
    assert joined == tokenizer(f"{prompt}{label}")["input_ids"]
    assert joined != list(encoder.prompt(prompt) + encoder.target(label))


@pytest.mark.parametrize(("prompt", "label"), TIGHT)
def test_the_embedded_model_writes_them_as_it_writes_the_joint_text(
    prompt: str, label: str, embedded: PreTrainedTokenizerFast
) -> None:
    tokenizer, encoder = embedded, Encoder(embedded)
    assert list(encoder.prompt(prompt) + encoder.target(label, "")) == tokenizer(f"{prompt}{label}")["input_ids"]


def merging_tokenizer() -> PreTrainedTokenizerFast:
    """Knows "是东" as one token: what it makes of a joint text is not what it makes of the two parts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["是东", "是东", "是东京", "东京"] * 5, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def test_where_the_border_would_be_merged_both_keep_their_own_tokens() -> None:
    """So an object has the same tokens after every prompt, and the prompt's own tokens stay where an edit looks."""
    tokenizer = merging_tokenizer()
    encoder = Encoder(tokenizer)
    whole = tokenizer("首都是东京")["input_ids"]
    assert whole[: len(encoder.prompt("首都是"))] != list(encoder.prompt("首都是"))
    written = list(encoder.prompt("首都是") + encoder.target("东京", ""))
    assert tokenizer.backend_tokenizer.decoder.decode(tokenizer.convert_ids_to_tokens(written)) == "首都是东京"
    assert encoder.target("东京", "") == tuple(tokenizer("东京", add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("unk", [None, "<unk>"])
def test_a_label_that_cannot_be_written_cannot_be_scored_without_a_space_either(unk: str | None) -> None:
    encoder = Encoder(small_vocabulary(unk=unk))
    assert encoder.target("Paris", "")
    with pytest.raises(UnscorableCase, match="日本"):
        encoder.target("日本", "")


def test_whoever_encodes_a_target_says_what_joins_it() -> None:
    """One that is forgotten would train or score another text where objects follow without a space."""
    package = Path(pytest_editpitfalls.__file__).parent
    found, forgotten = 0, []
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and re.search(r"encoder\.target$", ast.unparse(node.func)):
                found += 1
                if len(node.args) < 2:
                    forgotten.append(f"{path.name}:{node.lineno}")
    assert found >= 10
    assert forgotten == []


# Tokenizers that add an end-of-sequence token


def with_eos() -> PreTrainedTokenizerFast:
    tokenizer = byte_level_tokenizer()
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    end = tokenizer.eos_token
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=end, eos_token=end, unk_token=end)


def test_an_appended_eos_does_not_stand_between_prompt_and_target() -> None:
    tokenizer, plain = with_eos(), byte_level_tokenizer()
    encoder = Encoder(tokenizer)
    text = "The capital of France"
    assert tokenizer(text)["input_ids"][-1] == tokenizer.eos_token_id
    assert list(encoder.prompt(text)) == plain(text)["input_ids"]
    assert encoder.target("Paris") == Encoder(plain).target("Paris")
    assert encoder.subject_last(text, 15, "France") == Encoder(plain).subject_last(text, 15, "France")


def test_an_eos_that_the_prompt_itself_ends_in_stays() -> None:
    tokenizer = byte_level_tokenizer()
    text = f"France{tokenizer.eos_token}"
    assert Encoder(tokenizer).prompt(text)[-1] == tokenizer.eos_token_id


# The subject's last token


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("France has the capital", "France"),  # first
        ("The capital of France is", "France"),  # in the middle
        ("The capital of France", "France"),  # last
        ("In France, the king", "France"),  # followed by punctuation
        ("Is it (France)?", "France"),
        ("The book 'The truth is' was", "The truth is"),  # several words
        ("One, two, three.", "three"),
        ("x", "x"),
    ],
)
def test_the_last_token_of_the_subject(text: str, subject: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """The tokens up to it write the whole subject, those before it do not; it may reach beyond ("e,")."""
    end = text.rindex(subject) + len(subject)
    ids, last = Encoder(tokenizer).subject_last(text, end - len(subject), subject)
    assert ids == Encoder(tokenizer).prompt(text)
    assert last == naive.subject_last(tokenizer, text, subject)
    upto = tokenizer.decode(list(ids[: last + 1]), skip_special_tokens=True)
    before = tokenizer.decode(list(ids[:last]), skip_special_tokens=True)
    assert upto.startswith(text[:end])
    assert text.startswith(upto)
    assert text.startswith(before)
    assert len(before) < end


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_single_token_subject_in_front_comes_right_after_the_bos(name: str) -> None:
    tokenizer = TOKENIZERS[name]()
    word = next(w for w in ("The", "Rome") if len(tokenizer(w, add_special_tokens=False)["input_ids"]) == 1)
    ids, last = Encoder(tokenizer).subject_last(f"{word} is", 0, word)
    assert last == int(HAS_BOS[name])
    assert list(ids[: last + 1]) == tokenizer(word)["input_ids"]


@pytest.mark.parametrize(
    ("text", "subject"),
    [("José speaks", "José"), ("The capital of 日本 is", "日本"), ("café, in", "café"), ("日本", "日")],
)
def test_a_subject_that_ends_in_a_character_of_several_tokens(
    text: str, subject: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    """All bytes of the last character have the same offsets; the last one counts."""
    start = text.index(subject)
    ids, last = Encoder(tokenizer).subject_last(text, start, subject)
    after = tokenizer.decode(list(ids[last + 1 :]), skip_special_tokens=True)
    assert after.strip() == text[start + len(subject) :].strip()
    upto = tokenizer.decode(list(ids[: last + 1]), skip_special_tokens=True)
    assert upto.strip() == text[: start + len(subject)].strip()


def test_spaces_after_the_subject_are_not_the_subject(encoder: Encoder) -> None:
    assert encoder.subject_last("The king is", 4, "king ") == encoder.subject_last("The king is", 4, "king")


def test_a_subject_in_the_template_is_not_the_subject(tokenizer: PreTrainedTokenizerFast, encoder: Encoder) -> None:
    """The subject may stand in the context, in the prompt's own words and in braces: its slot decides."""
    request = EditRequest("In France, as all know, {} has the capital", "France", "Rome")
    template = "France is France. {}"
    rows = edit_rows(encoder, 0, request, ["{}", template])
    for row, text in zip(rows, ["", "France is France. "], strict=False):
        whole = f"{text}{request.question}"
        _, last = encoder.subject_last(whole, whole.rindex("France"), "France")
        assert len(row.prefix) == last
        assert row.prefix + row.suffix == encoder.prompt(whole) + encoder.target("Rome")[:-1]
        written = tokenizer.decode(list(row.prefix), skip_special_tokens=True)
        assert written.count("France") == whole.count("France") - 1
    assert [row.bare for row in rows] == [True, False, False]
    kl = rows[-1]
    assert (kl.target, len(kl.suffix)) == ((), 1)
    assert kl.prefix + kl.suffix == encoder.prompt("France is a")[: len(kl.prefix) + 1]


def test_braces_in_the_subject_are_text(encoder: Encoder) -> None:
    request = EditRequest("The set {} is", "{} or {0}", "Rome")
    rows = edit_rows(encoder, 0, request, ["{}", "So it is. {}"])
    whole = "So it is. The set {} or {0} is"
    ids, last = encoder.subject_last(whole, 18, "{} or {0}")
    assert rows[1].prefix == ids[:last]
    assert rows[1].prefix + rows[1].suffix == ids + encoder.target("Rome")[:-1]


@pytest.mark.parametrize(("start", "subject"), [(0, "France"), (15, ""), (16, "France"), (40, "France")])
def test_a_subject_that_does_not_stand_there(start: int, subject: str, encoder: Encoder) -> None:
    with pytest.raises(CaseError, match="does not stand at character") as caught:
        encoder.subject_last("The capital of France is", start, subject)
    assert "{}" in (caught.value.fix or "")


def test_a_subject_without_a_token_of_its_own() -> None:
    with pytest.raises(CaseError, match="no token"):
        Encoder(small_vocabulary(unk=None)).subject_last("capital 日本", 8, "日本")


def test_a_subject_of_spaces(encoder: Encoder) -> None:
    with pytest.raises(CaseError, match="no token"):
        encoder.subject_last("The   king", 3, "   ")


def test_a_slow_tokenizer_is_refused() -> None:
    class Slow:
        is_fast = False

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [ord(letter) for letter in text]}

    with pytest.raises(UsageError, match="Slow cannot map tokens to characters") as caught:
        Encoder(Slow())
    assert "fast tokenizer" in (caught.value.fix or "")
