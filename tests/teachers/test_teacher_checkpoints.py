"""Teachers from real-format checkpoints: what transformers and peft saved is read, bit for bit, and written back."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from dima_pipeline.teachers import causal_lm
from dima_pipeline.teachers._base_model import language_config, open_base, read_config
from teaching_cases import TOKEN_DIM, make_beam, make_pair, tiny_teacher
from tiny_vision_models import MAKERS, SIZES, save_tiny

WIDE = {**SIZES, "vocab_size": 640}


@pytest.fixture(scope="module", params=sorted(MAKERS))
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Any]:
    """Kind, directory and the model that was saved there."""
    directory = tmp_path_factory.mktemp(request.param)
    return request.param, directory, save_tiny(request.param, directory)


def some_ids() -> torch.Tensor:
    return torch.randint(3, 298, (2, 9), generator=torch.Generator().manual_seed(5))


def perturb(teacher: Any) -> Any:
    """As after training: LoRA's B matrices are no longer zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in teacher.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return teacher.eval()


class TestBase:
    @torch.no_grad()
    def test_the_language_model_says_exactly_what_the_whole_model_says_of_a_text(self, saved: Any) -> None:
        _, directory, model = saved
        base = open_base(str(directory), "float32").eval()
        assert torch.equal(base(input_ids=some_ids()).logits, model(input_ids=some_ids()).logits)

    def test_no_weight_of_a_vision_tower_is_there(self, saved: Any) -> None:
        kind, directory, model = saved
        base = open_base(str(directory), "float32")
        assert not [name for name, _ in base.named_modules() if "vis" in name or "projector" in name]
        whole, own = (sum(p.numel() for p in m.parameters()) for m in (model, base))
        assert own == whole if kind == "llama" else own < whole

    def test_names_as_they_are_in_memory_are_read_too(self, tmp_path: Path) -> None:
        model = save_tiny("llava", tmp_path)
        save_file(
            {k: v.clone() for k, v in model.state_dict().items()}, tmp_path / "model.safetensors", {"format": "pt"}
        )
        base = open_base(str(tmp_path), "float32").eval()
        with torch.no_grad():
            assert torch.equal(base(input_ids=some_ids()).logits, model(input_ids=some_ids()).logits)

    def test_the_flat_configuration_of_published_qwen_vl_is_understood(self, tmp_path: Path) -> None:
        save_tiny("qwen2_vl", tmp_path)
        nested = json.loads((tmp_path / "config.json").read_text())
        text = nested.pop("text_config")
        rope = text.pop("rope_parameters")
        flat = {**text, **nested, "rope_theta": 1e6}
        flat["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
        before = language_config(read_config(tmp_path))
        (tmp_path / "config.json").write_text(json.dumps(flat))
        after = language_config(read_config(tmp_path))
        assert after.hidden_size == 16 and after.rope_parameters == before.rope_parameters


class TestRefusals:
    def test_missing_weights_are_named_not_drawn(self, tmp_path: Path) -> None:
        save_tiny("llama", tmp_path)
        weights = load_file(tmp_path / "model.safetensors")
        weights.pop("model.norm.weight")
        save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(ValueError, match=r"lacks 1 weights, such as \['model\.norm\.weight'\]"):
            open_base(str(tmp_path), "float32")

    def test_a_layer_more_than_the_configuration_says_is_no_checkpoint_of_it(self, tmp_path: Path) -> None:
        save_tiny("llava", tmp_path)
        config = json.loads((tmp_path / "config.json").read_text())
        config["text_config"]["num_hidden_layers"] = 2
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(ValueError, match=r"has, against its config\.json, 9 weights, such as \['model\.layers\.2"):
            open_base(str(tmp_path), "float32")

    def test_weights_in_another_format_are_refused(self, tmp_path: Path) -> None:
        save_tiny("llama", tmp_path)
        (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
        with pytest.raises(ValueError, match=r"holds no safetensors weights.*pytorch_model\.bin"):
            open_base(str(tmp_path), "float32")

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            ({"model_type": "my_lm", "auto_map": {"AutoConfig": "mine.MyConfig"}}, "auto_map.*never run"),
            ({"model_type": "llamo"}, "no model_type 'llamo'.*did you mean 'llama'"),
            ({"model_type": "vit"}, "'vit' is .* no causal language model"),
            ({}, "no model_type 'None'"),
        ],
    )
    def test_a_class_that_cannot_be_built_is_named(self, tmp_path: Path, config: dict[str, Any], words: str) -> None:
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(ValueError, match=words):
            open_base(str(tmp_path), "float32")

    def test_four_bits_without_bitsandbytes_say_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save_tiny("llama", tmp_path)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(ValueError, match=r"load_in_4bit needs bitsandbytes.*pip install"):
            open_base(str(tmp_path), "bfloat16", load_in_4bit=True)

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"load_in_4bit": True}, "load_in_4bit needs a checkpoint"),
            ({"dtype": "bfloat16"}, "is for a frozen base"),
            ({"checkpoint": "x", "base": {}}, "with a checkpoint leave it null"),
            ({"base": "nowhere.json"}, r"nowhere\.json' is no file"),
            ({"base": {"model_type": "llama", **SIZES, "vocab_size": 20}}, "base knows 20 words"),
        ],
    )
    def test_options_that_do_not_go_together_are_refused(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            tiny_teacher(**options)


@torch.no_grad()
def test_features_leave_the_layer_before_the_last_without_the_final_norm(saved: Any) -> None:
    teacher, beam = tiny_teacher(checkpoint=str(saved[1])).eval(), make_beam()
    caught: list[torch.Tensor] = []
    layers = teacher.language_model.peft.get_base_model().model.layers
    hook = layers[-2].register_forward_hook(lambda _module, _inputs, output: caught.append(output))
    answer = teacher(beam, None)
    hook.remove()
    _, places = teacher.embed_scene(beam)
    assert len(layers) == 3 and len(caught) == 1
    assert torch.equal(answer.ego, teacher.feature_norm(caught[0][:, places["ego"]]))
    assert torch.equal(answer.bev, teacher.feature_norm(caught[0][:, places["bev"]]))


class TestAdapters:
    def test_llavas_recipe_is_the_default_for_a_checkpoint_and_only_there(self, saved: Any) -> None:
        teacher = tiny_teacher(checkpoint=str(saved[1]), lora_rank=None)
        lora = teacher.language_model.peft.peft_config["default"]
        assert (lora.r, lora.lora_alpha, lora.lora_dropout) == (128, 256, 0.05)
        kinds = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
        assert {name.rsplit(".", 1)[-1] for name in lora.target_modules} == kinds, "all but the output layer"
        random = tiny_teacher(lora_rank=None).language_model.peft.peft_config["default"]
        assert (random.r, random.lora_alpha, random.lora_dropout) == (8, 16, 0.0)

    def test_rank_alpha_dropout_and_targets_come_from_the_configuration(self, saved: Any) -> None:
        options = {"lora_rank": 3, "lora_alpha": 5, "lora_dropout": 0.5, "lora_targets": ("q_proj", "v_proj")}
        teacher = tiny_teacher(checkpoint=str(saved[1]), **options)
        lora = teacher.language_model.peft.peft_config["default"]
        assert (lora.r, lora.lora_alpha, lora.lora_dropout) == (3, 5, 0.5)
        hit = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name, _ in teacher.named_parameters() if "lora_" in name}
        assert hit == {"q_proj", "v_proj"}

    @torch.no_grad()
    def test_peft_itself_reads_what_a_teacher_saved(self, saved: Any, tmp_path: Path) -> None:
        teacher = perturb(tiny_teacher(checkpoint=str(saved[1])))
        teacher.save_pretrained(tmp_path)
        again = PeftModel.from_pretrained(open_base(str(saved[1]), "float32"), str(tmp_path)).eval()
        expected = teacher.language_model.peft(input_ids=some_ids()).logits
        assert torch.equal(again(input_ids=some_ids()).logits, expected)
        plain = open_base(str(saved[1]), "float32").eval()(input_ids=some_ids()).logits
        assert not torch.allclose(plain, expected, atol=1e-3), "the adapters do something"

    @torch.no_grad()
    def test_the_saved_bundle_gives_the_same_logits_plan_and_loss(self, saved: Any, tmp_path: Path) -> None:
        teacher, beam = perturb(tiny_teacher(checkpoint=str(saved[1]), ego_adapter="qformer")), make_beam()
        teacher.save_pretrained(tmp_path)
        loaded = causal_lm.load(tmp_path)
        text = [make_pair(i) for i in range(3)]
        first, second = teacher(beam, teacher.tokenize(text)), loaded(beam, loaded.tokenize(text))
        for name in ("bev", "ego", "agent", "map", "trajectory", "ego_features", "language_loss"):
            assert torch.equal(getattr(first, name), getattr(second, name)), name
        scene, _ = teacher.embed_scene(beam)
        ours, theirs = (each.language_model.peft(inputs_embeds=scene).logits for each in (teacher, loaded))
        assert torch.equal(ours, theirs)
        assert not [name for name in load_file(tmp_path / "weights.safetensors") if name.startswith("language_model")]

    def test_an_adapter_of_another_rank_is_refused(self, saved: Any, tmp_path: Path) -> None:
        tiny_teacher(checkpoint=str(saved[1])).save_pretrained(tmp_path)
        weights = load_file(tmp_path / "adapter_model.safetensors")
        weights.popitem()
        save_file(weights, tmp_path / "adapter_model.safetensors")
        with pytest.raises(ValueError, match=r"adapter_model\.safetensors does not fit"):
            causal_lm.load(tmp_path)

    def test_a_base_in_bfloat16_trains_adapters_in_float32(self, saved: Any) -> None:
        teacher, beam = tiny_teacher(checkpoint=str(saved[1]), dtype="bfloat16"), make_beam()
        kinds = {("lora_" in name, p.dtype) for name, p in teacher.language_model.named_parameters()}
        assert kinds == {(True, torch.float32), (False, torch.bfloat16)}
        answer = teacher(beam, teacher.tokenize([make_pair(i) for i in range(3)]))
        (answer.language_loss + answer.trajectory.square().sum()).backward()
        assert beam.bev.grad.shape[2] == TOKEN_DIM and beam.bev.grad.abs().sum() > 0


class TestShapes:
    def test_a_random_base_of_a_given_shape_keeps_its_weights_in_the_bundle(self, tmp_path: Path) -> None:
        shape = {"model_type": "llava", "text_config": {"model_type": "llama", **WIDE, "tie_word_embeddings": True}}
        teacher, beam = perturb(tiny_teacher(base=shape, is_base_trained=False)), make_beam()
        assert isinstance(teacher.language_model.peft.get_base_model(), LlamaForCausalLM)
        teacher.save_pretrained(tmp_path)
        torch.manual_seed(99)
        assert torch.equal(causal_lm.load(tmp_path)(beam, None).trajectory, teacher(beam, None).trajectory)

    def test_a_shape_may_be_the_path_of_a_config_json(self, tmp_path: Path) -> None:
        LlamaConfig(**WIDE).save_pretrained(tmp_path)
        teacher = tiny_teacher(base=str(tmp_path / "config.json"))
        assert teacher.hidden_dim == 16 and all(p.requires_grad for p in teacher.parameters())

    def test_a_teacher_of_the_size_of_llava_builds_without_any_memory(self) -> None:
        text = {"model_type": "llama", "vocab_size": 32064, "max_position_embeddings": 4096}
        options = {"base": {"model_type": "llava", "text_config": text}, "is_base_trained": False, "dtype": "bfloat16"}
        with torch.device("meta"):
            teacher = tiny_teacher(**options, lora_rank=128)
        parts = [*teacher.parameters(), *teacher.buffers()]
        assert {part.device.type for part in parts} == {"meta"} and teacher.hidden_dim == 4096
        frozen = sum(p.numel() for p in teacher.parameters() if not p.requires_grad)
        # Llama-2-7B by hand: two tables of words, 32 layers of attention, feed-forward and two norms, the last norm.
        assert frozen == 2 * 32064 * 4096 + 32 * (4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096) + 4096
        lora = sum(p.numel() for name, p in teacher.named_parameters() if "lora_" in name)
        assert lora == 32 * 128 * (4 * (4096 + 4096) + 3 * (4096 + 11008))


class TestStart:
    def test_training_goes_on_from_a_saved_teacher(self, saved: Any, tmp_path: Path) -> None:
        teacher, beam = perturb(tiny_teacher(checkpoint=str(saved[1]))), make_beam()
        teacher.save_pretrained(tmp_path)
        again = tiny_teacher(checkpoint=str(saved[1]), start=str(tmp_path), lora_dropout=0.0).train()
        assert torch.equal(again(beam, None).trajectory, teacher(beam, None).trajectory)
        trained = {name for name, p in again.named_parameters() if p.requires_grad}
        assert trained == {name for name, p in teacher.named_parameters() if p.requires_grad}

    def test_a_frozen_teacher_only_teaches(self, saved: Any, tmp_path: Path) -> None:
        perturb(tiny_teacher(checkpoint=str(saved[1]))).save_pretrained(tmp_path / "first")
        options = {"checkpoint": str(saved[1]), "start": str(tmp_path / "first"), "is_frozen": True}
        teacher, beam = tiny_teacher(**options).train(), make_beam()
        assert not any(p.requires_grad for p in teacher.parameters())
        answer = teacher(beam, teacher.tokenize([make_pair(i) for i in range(3)]))
        assert torch.equal(answer.trajectory, teacher(beam, None).trajectory), "no dropout"
        (answer.language_loss + answer.trajectory.square().sum()).backward()
        assert beam.bev.grad.abs().sum() > 0 and beam.map.grad.abs().sum() > 0
        teacher.save_pretrained(tmp_path / "second")
        for name in ("weights.safetensors", "adapter_model.safetensors"):
            assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()

    def test_a_random_teacher_may_be_frozen_too(self, tmp_path: Path) -> None:
        teacher, beam = perturb(tiny_teacher()), make_beam()
        teacher.save_pretrained(tmp_path)
        frozen = tiny_teacher(start=str(tmp_path), is_frozen=True)
        assert torch.equal(frozen(beam, None).trajectory, teacher(beam, None).trajectory)
        assert not any(p.requires_grad for p in frozen.parameters())

    def test_a_start_that_does_not_fit_is_refused(self, saved: Any, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="is_frozen needs the start of a trained teacher"):
            tiny_teacher(is_frozen=True)
        with pytest.raises(ValueError, match=r"holds no saved teacher: teacher\.json is missing"):
            tiny_teacher(start=str(tmp_path))
        tiny_teacher(checkpoint=str(saved[1])).save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=r"adapter_model\.safetensors does not fit the teacher's configuration"):
            tiny_teacher(checkpoint=str(saved[1]), start=str(tmp_path), lora_rank=3)


def test_a_teacher_is_built_saved_and_asked_without_a_network(
    saved: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    tiny_teacher(checkpoint=str(saved[1])).save_pretrained(tmp_path)
    loaded = causal_lm.load(tmp_path)
    PeftModel.from_pretrained(open_base(str(saved[1]), "float32"), str(tmp_path))
    assert len(loaded.answer(make_beam(), ["How?"] * 3, 2)) == 3
