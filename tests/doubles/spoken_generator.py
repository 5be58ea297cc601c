"""A text generator for tests: it rephrases what it is given to rephrase, word for word but for a few it knows."""

import json
import re

from dima_pipeline.language import Reply
from dima_pipeline.plugins import config_dataclass


@config_dataclass
class Config:
    label: str = "spoken"
    temperature: float = 0.0


class SpokenGenerator:
    def __init__(self, config):
        self.name = config.label
        self.identity = {"kind": "spoken", "temperature": config.temperature}
        self.prompts = []

    def replies(self, prompts):
        for at, prompt in enumerate(prompts):
            self.prompts.append(prompt)
            yield at, Reply(text=answer_to(prompt[-1].text), tokens_in=100, tokens_out=20, seconds=0.25)


def answer_to(text):
    """A line of JSON for every pair to rephrase."""
    lines = []
    for name, question, answer in re.findall(r"^(q\d+): (.+) \| (.+)$", text, re.MULTILINE):
        lines.append({"of": name, "question": f"Now: {question}", "answer": answer})
    return "\n".join(json.dumps(line) for line in lines)


build = SpokenGenerator
