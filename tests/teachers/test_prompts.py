"""The prompt: what stands before the scene, between scene and question, and how a component is marked."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dima_pipeline.teachers import TEACHERS
from dima_pipeline.teachers._prompt import read_prompt
from teaching_cases import TINY_TEACHER, make_beam, make_pair, tiny_teacher
from tiny_chat_models import save_chat_model

VICUNA = "A chat between a driver and a map. USER: {scene}\n{question} ASSISTANT:"
LLAVA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m.role.upper() }}: "
    "{% for part in m.content | selectattr('type', 'equalto', 'text') %}{{ part.text }} {% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


@pytest.fixture
def chat_checkpoint(tmp_path: Path) -> Path:
    return save_chat_model("qwen2", tmp_path)


def shown(teacher: Any, question: str) -> str:
    """The whole prompt as text, ``*`` for each embedding that is no word."""
    table = teacher.language_model.embedding.weight
    scene, _ = teacher.embed_scene(make_beam(batch_size=1))
    is_word = (scene[0][:, None] == table).all(2)
    words = [teacher.tokenizer.decode([int(row.nonzero()[0])]) if row.any() else "*" for row in is_word]
    text = teacher.tokenizer.decode(teacher.tokenize([make_pair(0)]).input_ids[0])
    assert question in text
    return "".join(words) + text


def test_by_default_scene_question_and_answer_follow_each_other_after_bos() -> None:
    text = shown(tiny_teacher(), "How many cars are ahead?")
    # 6 BEV, 4 agent, 3 map tokens and the ego token, each component behind its marker.
    assert text == "<bos>" + 18 * "*" + " How many cars are ahead? Answer: two<eos>"


def test_a_template_puts_words_before_the_scene() -> None:
    text = shown(tiny_teacher(prompt=VICUNA, vocab_size=400), "How many cars are ahead?")
    assert text.startswith("<bos> A chat between a driver and a map. USER: ***")
    assert text.endswith("* \nHow many cars are ahead? ASSISTANT: two<eos>")


def test_the_chat_template_of_a_checkpoint_is_the_prompt_where_asked_for(chat_checkpoint: Path) -> None:
    teacher = tiny_teacher(checkpoint=str(chat_checkpoint), prompt="chat")
    assert teacher.prompt.before == "<|im_start|>user\n"
    expected = "\nHow?<|im_end|>\n<|im_start|>assistant\n"
    assert teacher.prompt.question("How?") == expected and teacher.prompt.answer("two") == "two"
    text = teacher.tokenize([make_pair(0)])
    assert teacher.tokenizer.decode(text.labels[0][text.labels[0] != -100]).strip() == "two<|im_end|>"


def test_a_template_that_reads_parts_and_writes_bos_is_understood() -> None:
    def apply(turn: list[dict[str, Any]], **_: Any) -> str:
        from jinja2 import Template

        return Template(LLAVA_TEMPLATE).render(messages=turn, bos_token="<s>", add_generation_prompt=True)

    tokenizer = SimpleNamespace(chat_template=LLAVA_TEMPLATE, apply_chat_template=apply, bos_token="<s>")
    prompt = read_prompt("chat", tokenizer)
    assert prompt.before == "USER: " and prompt.question("How?") == "\nHow? ASSISTANT:" and prompt.answer("x") == " x"


@pytest.mark.parametrize(
    "prompt", ["{question} {scene}", "{question}", "{scene} {question} {question}", "no place", "{scene}"]
)
def test_a_template_without_its_two_places_in_order_is_refused(prompt: str) -> None:
    with pytest.raises(ValueError, match=r"must hold \{scene\} once and \{question\} once after it"):
        TEACHERS.parse({**TINY_TEACHER, "prompt": prompt})


def test_chat_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'chat' needs a checkpoint"):
        tiny_teacher(prompt="chat")
    with pytest.raises(ValueError, match="has no chat template"):
        tiny_teacher(checkpoint=str(save_chat_model("llama", tmp_path / "a", template=None)), prompt="chat")
    silent = save_chat_model("llama", tmp_path / "b", template="hello")
    with pytest.raises(ValueError, match="does not show a user's text as it is"):
        tiny_teacher(checkpoint=str(silent), prompt="chat")


@torch.no_grad()
def test_end_markers_and_types_change_what_the_model_sees_and_places_still_fit() -> None:
    plain, rich = tiny_teacher(), tiny_teacher(has_end_markers=True, has_type_embeddings=True)
    beam = make_beam()
    (scene, places), (marked, marked_places) = plain.embed_scene(beam), rich.embed_scene(beam)
    assert marked.shape[1] == scene.shape[1] + 4
    for index, name in enumerate(("bev", "agent", "map", "ego")):
        own = marked[:, marked_places[name]]
        expected = scene[:, places[name]] + rich.type_embeddings[index] * rich.scale
        assert torch.allclose(own, expected, atol=1e-6), name
        end = marked[:, marked_places[name].stop]
        assert torch.equal(end, (rich.end_markers[index] * rich.scale).expand_as(end))
    assert rich(beam, None).ego.shape == (3, 1, rich.hidden_dim)
