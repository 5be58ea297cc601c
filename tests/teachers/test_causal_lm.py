"""The causal-LM teacher: what its prompt shows to whom, what trains, how it answers, and what is saved."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from dima_pipeline.contracts.batch import BeamTokens, VqaPair
from dima_pipeline.models.tensors import map_arrays
from dima_pipeline.teachers import TEACHERS, causal_lm
from dima_pipeline.teachers._tokenizer import train_tokenizer
from teaching_cases import (
    ANSWERS,
    FEATURE_DIM,
    QUESTIONS,
    TEACHER_DIM,
    TEXTS,
    TINY_TEACHER,
    TOKEN_DIM,
    make_beam,
    make_pair,
    tiny_teacher,
)

SIZES = {"vocab_size": 300, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "max_position_embeddings": 128}
ARCHITECTURES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, **HEADS, tie_word_embeddings=True)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, **HEADS, num_key_value_heads=1)),
    "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, **HEADS)),
}


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of another family as anybody would have saved it."""
    directory = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(1)
    ARCHITECTURES[request.param]().save_pretrained(directory)
    train_tokenizer(TEXTS, 300).save_pretrained(directory)
    return directory


def halves(beam: BeamTokens, index: Any) -> BeamTokens:
    return map_arrays(beam, lambda tokens: tokens[index])


def test_the_teacher_is_found_by_name_and_its_configuration_survives_the_round_trip() -> None:
    config = TEACHERS.parse(TINY_TEACHER)
    assert "causal_lm" in TEACHERS.names() and TEACHERS.parse(TEACHERS.dump(config)) == config


def test_shapes_are_those_of_the_contract() -> None:
    teacher = tiny_teacher()
    answer = teacher(make_beam(), teacher.tokenize([make_pair(i) for i in range(3)]))
    shapes = {name: tuple(getattr(answer, name).shape) for name in ("bev", "ego", "agent", "map")}
    assert shapes == {"bev": (3, 6, 32), "ego": (3, 1, 32), "agent": (3, 4, 32), "map": (3, 3, 32)}
    assert answer.trajectory.shape == (3, 6, 2) and answer.ego_features.shape == (3, FEATURE_DIM)
    assert answer.language_loss.shape == () and 0 <= answer.language_accuracy <= 1
    assert teacher(make_beam(), None).language_loss is None


class TestPrompt:
    def test_scene_features_do_not_depend_on_the_text(self) -> None:
        teacher, beam = tiny_teacher().eval(), make_beam()
        alone = teacher(beam, None)
        asked = teacher(beam, teacher.tokenize([make_pair(i) for i in range(3)]))
        for name in ("bev", "ego", "agent", "map", "trajectory", "ego_features"):
            assert torch.allclose(getattr(alone, name), getattr(asked, name), atol=1e-5), name

    def test_the_ego_feature_sees_agents_and_map(self) -> None:
        teacher, beam = tiny_teacher(), make_beam()
        teacher(beam, None).ego.square().sum().backward()
        for tokens in (beam.bev, beam.ego, beam.agent, beam.map):
            assert tokens.grad.abs().sum() > 0
        assert (beam.agent.grad[:, -1] == 0).all(), "padding has no say"

    def test_features_are_the_penultimate_hidden_states(self) -> None:
        teacher, beam = tiny_teacher().eval(), make_beam()
        scene, places = teacher.embed_scene(beam)
        output = teacher.language_model.peft(inputs_embeds=scene, output_hidden_states=True)
        assert len(output.hidden_states) == 3
        expected = teacher.feature_norm(output.hidden_states[1][:, places["agent"]])
        assert torch.allclose(teacher(beam, None).agent, expected, atol=1e-5)

    def test_a_scene_without_agents_and_map_is_finite(self) -> None:
        teacher, beam = tiny_teacher(), make_beam()
        beam.agent_valid[:], beam.map_valid[:] = False, False
        answer = teacher(beam, teacher.tokenize([make_pair(i) for i in range(3)]))
        (answer.trajectory.sum() + answer.language_loss).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in teacher.parameters())
        assert answer.trajectory.isfinite().all()

    def test_a_sample_in_a_batch_is_the_sample_alone(self) -> None:
        teacher, beam = tiny_teacher().eval(), make_beam()
        together, alone = teacher(beam, None), teacher(halves(beam, slice(1, 2)), None)
        assert torch.allclose(together.ego_features[1:2], alone.ego_features, atol=1e-5)

    def test_centres_count_where_they_are_encoded_and_must_be_there(self) -> None:
        teacher, beam = tiny_teacher(encode_centers=True).eval(), make_beam()
        with pytest.raises(ValueError, match="encode_centers needs a planner that gives the centres"):
            teacher(beam, None)
        near = replace(beam, agent_center=torch.zeros(3, 5, 2), map_center=torch.zeros(3, 4, 2))
        far = replace(near, agent_center=torch.full((3, 5, 2), 9.0))
        assert not torch.allclose(teacher(near, None).ego, teacher(far, None).ego, atol=1e-3)
        blind = tiny_teacher().eval()
        assert torch.equal(blind(near, None).ego, blind(far, None).ego)


class TestText:
    def test_the_loss_falls_on_answer_and_end_only(self) -> None:
        teacher = tiny_teacher()
        text = teacher.tokenize([make_pair(0), None, make_pair(1)])
        said = [teacher.tokenizer.decode(row[row != -100]) for row in text.labels]
        assert said == [" two<eos>", "", " keep going straight<eos>"]
        assert text.attention_mask.sum(1).tolist()[1] == 0
        shown = teacher.tokenizer.decode(text.input_ids[0][text.attention_mask[0]])
        assert shown == " How many cars are ahead? Answer: two<eos>"

    def test_the_language_loss_is_the_plain_cross_entropy_of_the_answer(self) -> None:
        teacher, beam = tiny_teacher().eval(), make_beam(batch_size=1)
        text = teacher.tokenize([make_pair(1)])
        scene, _ = teacher.embed_scene(beam)
        words = teacher.language_model.embedding(text.input_ids)
        logits = teacher.language_model.peft(inputs_embeds=torch.cat([scene, words], 1)).logits[0]
        log_p = logits.log_softmax(-1)[scene.shape[1] - 1 : -1]
        asked = text.labels[0] != -100
        expected = -log_p[asked, text.labels[0][asked]].mean()
        assert torch.allclose(teacher(beam, text).language_loss, expected, atol=1e-5)

    def test_padding_to_a_longer_neighbour_does_not_change_the_loss(self) -> None:
        teacher, beam = tiny_teacher().eval(), make_beam(batch_size=2)
        long = VqaPair("b", "planning", " ".join(QUESTIONS), "no")
        pair = make_pair(0)
        both = teacher(beam, teacher.tokenize([pair, None])).language_loss
        padded = teacher.tokenize([pair, long])
        padded.labels[1] = -100
        assert torch.allclose(both, teacher(beam, padded).language_loss, atol=1e-5)

    def test_no_question_at_all_is_a_loss_of_zero_with_gradients_of_zero(self) -> None:
        teacher, beam = tiny_teacher(), make_beam()
        answer = teacher(beam, teacher.tokenize([None, None, None]))
        (answer.language_loss + 0 * answer.ego.sum()).backward()
        assert answer.language_loss == 0 and (beam.bev.grad == 0).all()

    def test_a_pair_that_is_too_long_is_refused_by_its_sample(self) -> None:
        with pytest.raises(ValueError, match=r"sample-1.*max_text_tokens = 8"):
            tiny_teacher(max_text_tokens=8).tokenize([make_pair(1)])

    def test_frequent_words_are_single_tokens_and_nothing_is_unknown(self) -> None:
        tokenizer = train_tokenizer(TEXTS, 640)
        assert len(tokenizer(" keep going straight", add_special_tokens=False)["input_ids"]) == 3
        odd = "Ümläut 歩行者 \U0001f6a6 17.5 m"
        assert tokenizer.decode(tokenizer(odd, add_special_tokens=False)["input_ids"]) == f" {odd}"

    def test_the_same_texts_train_the_same_tokenizer(self) -> None:
        assert train_tokenizer(TEXTS, 400).get_vocab() == train_tokenizer(TEXTS, 400).get_vocab()

    def test_a_tokenizer_without_texts_is_refused(self) -> None:
        with pytest.raises(ValueError, match="needs texts"):
            TEACHERS.build(TEACHERS.parse(TINY_TEACHER), token_dim=TOKEN_DIM, feature_dim=FEATURE_DIM, texts=[])


class TestAnswers:
    @pytest.fixture(scope="class")
    def taught(self) -> tuple[Any, BeamTokens]:
        """A teacher that over-fitted one question with three answers: only the scene tells which one is right."""
        teacher, beam = tiny_teacher(), make_beam()
        text = teacher.tokenize([VqaPair(str(i), "planning", QUESTIONS[0], ANSWERS[i]) for i in range(3)])
        optimizer = torch.optim.Adam(teacher.parameters(), 5e-3)
        for _ in range(80):
            loss = teacher(beam, text).language_loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return teacher, beam

    def test_it_answers_from_the_scene_what_it_was_taught(self, taught: tuple[Any, BeamTokens]) -> None:
        teacher, beam = taught
        assert teacher.answer(beam, [QUESTIONS[0]] * 3, 8) == list(ANSWERS)
        turned = halves(beam, [2, 0, 1])
        assert teacher.answer(turned, [QUESTIONS[0]] * 3, 8) == [ANSWERS[2], ANSWERS[0], ANSWERS[1]]

    def test_questions_of_different_length_do_not_disturb_each_other(self, taught: tuple[Any, BeamTokens]) -> None:
        teacher, beam = taught
        questions = [QUESTIONS[0], " ".join(QUESTIONS * 2), QUESTIONS[2]]
        alone = [teacher.answer(halves(beam, slice(i, i + 1)), [questions[i]], 8)[0] for i in range(3)]
        assert teacher.answer(beam, questions, 8) == alone

    def test_it_says_no_more_than_it_may_and_leaves_the_mode_as_it_was(self, taught: tuple[Any, BeamTokens]) -> None:
        teacher, beam = taught
        teacher.train()
        assert teacher.answer(beam, [QUESTIONS[0]] * 3, 1) == ["two", "keep", "no"]
        assert teacher.training and teacher.language_model.peft.training


class TestTraining:
    def test_a_random_base_trains_with_its_adapters(self) -> None:
        teacher = tiny_teacher()
        assert all(p.requires_grad for p in teacher.parameters())
        assert any("lora_A" in name for name, _ in teacher.named_parameters())

    def test_of_a_checkpoint_only_lora_adapters_and_heads_train(self, checkpoint: Path) -> None:
        teacher, beam = tiny_teacher(checkpoint=str(checkpoint)), make_beam()
        before = {name: p.detach().clone() for name, p in teacher.named_parameters()}
        optimizer = torch.optim.Adam([p for p in teacher.parameters() if p.requires_grad], 1e-2)
        for _ in range(3):  # LoRA's A moves only once B is no longer zero
            answer = teacher(beam, teacher.tokenize([make_pair(i) for i in range(3)]))
            loss = answer.language_loss + answer.trajectory.square().mean() + answer.bev.sin().sum()
            loss = loss + answer.agent.sin().sum() + answer.map.sin().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        moved = {name for name, p in teacher.named_parameters() if not torch.equal(before[name], p)}
        base = {name for name in before if name.startswith("language_model.") and "lora_" not in name}
        assert base and not moved & base
        assert {name for name in before if "lora_" in name} <= moved
        assert {"adapters.bev.queries", "adapters.ego.0.weight", "markers", "planning_head.steps.0.weight"} <= moved
        assert beam.bev.grad.abs().sum() > 0, "the gradient passes the frozen model"

    def test_a_checkpoint_answers_in_batches_as_alone(self, checkpoint: Path) -> None:
        teacher, beam = tiny_teacher(checkpoint=str(checkpoint)), make_beam()
        questions = [QUESTIONS[0], " ".join(QUESTIONS), QUESTIONS[1]]
        alone = [teacher.answer(halves(beam, slice(i, i + 1)), [questions[i]], 5)[0] for i in range(3)]
        assert teacher.answer(beam, questions, 5) == alone

    def test_a_wrong_path_is_named_and_nothing_is_downloaded(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"meta-llama/Llama-2-7b-hf.*no config\.json"):
            tiny_teacher(checkpoint="meta-llama/Llama-2-7b-hf")
        (tmp_path / "config.json").write_text("{}")
        with pytest.raises(ValueError, match="holds no tokenizer"):
            tiny_teacher(checkpoint=str(tmp_path))

    def test_an_odd_head_width_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"hidden_dim 20 must be an even multiple of num_heads 3"):
            tiny_teacher(hidden_dim=20, num_heads=3)


def perturbed(teacher: Any) -> Any:
    """As after training: LoRA's B matrices are no longer zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in teacher.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return teacher.eval()


class TestStorage:
    def test_a_loaded_teacher_says_the_same(self, tmp_path: Path) -> None:
        teacher, beam = perturbed(tiny_teacher()), make_beam()
        teacher.save_pretrained(tmp_path)
        loaded = causal_lm.load(tmp_path)
        text = teacher.tokenize([make_pair(i) for i in range(3)])
        first, second = teacher(beam, text), loaded(beam, loaded.tokenize([make_pair(i) for i in range(3)]))
        assert torch.equal(first.trajectory, second.trajectory) and first.language_loss == second.language_loss
        assert teacher.answer(beam, QUESTIONS, 4) == loaded.answer(beam, QUESTIONS, 4)

    def test_nothing_is_pickled_and_the_files_are_the_same_each_time(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            tiny_teacher().save_pretrained(tmp_path / name)
        files = {path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()}
        assert {path.suffix for path in files} == {".json", ".safetensors"}
        assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
        targets = json.loads((tmp_path / "a" / "adapter_config.json").read_text())["target_modules"]
        assert targets == sorted(targets)

    def test_the_base_of_a_checkpoint_is_not_copied(self, checkpoint: Path, tmp_path: Path) -> None:
        teacher, beam = perturbed(tiny_teacher(checkpoint=str(checkpoint))), make_beam()
        teacher.save_pretrained(tmp_path)
        assert not any(name.startswith("language_model.") for name in load_file(tmp_path / "weights.safetensors"))
        moved = tmp_path / "moved"
        checkpoint.rename(moved)
        try:
            loaded = causal_lm.load(tmp_path, checkpoint=str(moved))
        finally:
            moved.rename(checkpoint)
        assert torch.equal(loaded(beam, None).trajectory, teacher(beam, None).trajectory)

    def test_a_missing_or_broken_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"teacher\.json is missing"):
            causal_lm.load(tmp_path)
        tiny_teacher().save_pretrained(tmp_path)
        (tmp_path / "weights.safetensors").write_bytes(b"broken")
        with pytest.raises(ValueError, match=r"weights\.safetensors is no complete safetensors file"):
            causal_lm.load(tmp_path)


def test_scene_tokens_enter_as_loud_as_words() -> None:
    teacher = tiny_teacher()
    scene, places = teacher.embed_scene(make_beam())
    words = teacher.language_model.embedding.weight.square().mean().sqrt()
    assert teacher.hidden_dim == TEACHER_DIM
    for place in places.values():
        assert float((scene[:, place].square().mean().sqrt() / words).detach()) == pytest.approx(1.0, rel=0.2)
