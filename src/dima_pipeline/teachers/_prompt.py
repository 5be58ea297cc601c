"""What stands around the scene and the question: one template, or the checkpoint's own chat template.

The default is a plain ``scene question Answer:``: a base that is trained on our questions needs no role names. ``chat``
gives a chat checkpoint the turns it was tuned on; the blank before a BOS of its own is the only thing we take away.
"""

from dataclasses import dataclass
from typing import Any

SCENE, QUESTION = "{scene}", "{question}"
CHAT = "chat"


@dataclass(frozen=True)
class Prompt:
    """``before`` comes ahead of the scene (after BOS), ``after`` follows it and holds ``{question}``."""

    before: str
    after: str

    def question(self, question: str) -> str:
        """The text between scene and answer."""
        return self.after.replace(QUESTION, question)

    def answer(self, answer: str) -> str:
        """A blank makes its first word the token that it is elsewhere, for pretrained tokenizers too."""
        return answer if self.after[-1:].isspace() else f" {answer}"


def check_template(template: str) -> None:
    """``ValueError`` unless both places are there once, the scene first: a causal LM reads it before the question."""
    if template == CHAT:
        return
    places = [template.find(SCENE), template.find(QUESTION)]
    if [template.count(SCENE), template.count(QUESTION)] != [1, 1] or places != sorted(places):
        raise ValueError(f"prompt '{template}' must hold {SCENE} once and {QUESTION} once after it, or be '{CHAT}'")


def read_prompt(template: str, tokenizer: Any) -> Prompt:
    """The two texts; ``chat`` asks the tokenizer for a user's turn that holds the scene, then the question.

    Raises ``ValueError`` where the tokenizer has no chat template or it does not show a user's text as it is.
    """
    if template == CHAT:
        template = _chat_turn(tokenizer)
    before, after = template.split(SCENE)
    bos = tokenizer.bos_token if tokenizer is not None else None
    # The teacher puts BOS in front by itself.
    return Prompt(before.removeprefix(bos) if bos else before, after)


def _chat_turn(tokenizer: Any) -> str:
    if not tokenizer.chat_template:
        raise ValueError("teacher.prompt is 'chat', but the tokenizer of the checkpoint has no chat template")
    said = f"{SCENE}\n{QUESTION}"
    # LLaVA's template reads a list of parts, that of most language models a text.
    for content in (said, [{"type": "text", "text": said}]):
        turn = [{"role": "user", "content": content}]
        try:
            text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        except TypeError:  # a template that joins strings was given a list
            continue
        if text.count(SCENE) == 1 and text.count(QUESTION) == 1:
            return text
    raise ValueError("the checkpoint's chat template does not show a user's text as it is; write teacher.prompt out")
