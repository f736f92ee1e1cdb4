"""The network's behaviour: shapes, batches, padding, freezing, precision, tracing, and what it refuses."""

import copy
import re

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel, AutoModelForUniversalSegmentation
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.testing_utils import CaptureLogger
from transformers.utils import is_flash_attn_2_available, logging
from transformers.utils.generic import find_labels

from ifc_hf import IfcConfig, IfcForVideoInstanceSegmentation, IfcModel
from ifc_hf.model.modeling_ifc import IfcSinePositionEmbedding
from tiny_models import TINY_BACKBONE, tiny_config, tiny_model

OUTPUTS = ("class_queries_logits", "masks_queries_logits", "memory_tokens", "last_hidden_state")


def clips(batch_size=2, num_frames=3, height=64, width=96, seed=0):
    return torch.randn(batch_size, num_frames, 3, height, width, generator=torch.Generator().manual_seed(seed))


def labels_for(pixel_values, instances=(2, 1)):
    generator = torch.Generator().manual_seed(1)
    num_frames, _, height, width = pixel_values.shape[1:]
    return [
        {
            "class_labels": torch.arange(n),
            "masks": (torch.rand(n, num_frames, height, width, generator=generator) > 0.7).float(),
        }
        for n in instances
    ]


def assert_same(outputs, others, names=OUTPUTS, **tolerance):
    for name in names:
        torch.testing.assert_close(outputs[name], others[name], **tolerance)


@pytest.mark.parametrize("size", [(64, 96), (50, 71)])
@pytest.mark.parametrize("num_frames", [1, 4])
def test_shapes(size, num_frames):
    model = tiny_model()
    pixel_values = clips(2, num_frames, *size)
    h, w = (-(-side // 8) for side in size)
    h5, w5 = (-(-side // 32) for side in size)
    for mode in (True, False):
        outputs = model.train(mode)(pixel_values, output_hidden_states=True)
        assert outputs.class_queries_logits.shape == (2, 7, 4)
        assert outputs.masks_queries_logits.shape == (2, 7, num_frames, h, w)
        assert outputs.last_hidden_state.shape == (2, 7, 32)
        assert outputs.encoder_last_hidden_state.shape == (2, num_frames, 32, h5, w5)
        assert outputs.memory_tokens.shape == (2, num_frames, 3, 32)
        assert [state.shape for state in outputs.encoder_hidden_states] == [(2, num_frames, h5 * w5 + 3, 32)] * 3
        assert [state.shape for state in outputs.decoder_hidden_states] == [(2, 7, 32)] * 3
        assert outputs.loss is outputs.loss_dict is outputs.auxiliary_outputs is None


def test_training_and_evaluation_agree_without_dropout():
    model, pixel_values = tiny_model(), clips()
    assert_same(model.train()(pixel_values), model.eval()(pixel_values), rtol=0, atol=0)


def test_dropout_is_for_training_only():
    model, pixel_values = tiny_model(dropout=0.5), clips()
    assert not torch.equal(model(pixel_values).last_hidden_state, model(pixel_values).last_hidden_state)
    model.eval()
    assert torch.equal(model(pixel_values).last_hidden_state, model(pixel_values).last_hidden_state)


def test_a_batch_gives_what_its_clips_give_alone():
    model, pixel_values = tiny_model().eval(), clips(3)
    outputs = model(pixel_values)
    for index in range(3):
        alone = model(pixel_values[index : index + 1])
        assert_same({name: outputs[name][index : index + 1] for name in OUTPUTS}, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_whole_padded_frames_change_nothing(implementation):
    model = tiny_model().eval()
    model.set_attn_implementation({"": implementation})
    pixel_values = clips(num_frames=3)
    padded = torch.cat([pixel_values, torch.full_like(pixel_values[:, :2], 3.0)], dim=1)
    pixel_mask = torch.ones(2, 5, 64, 96, dtype=torch.bool)
    pixel_mask[:, 3:] = False
    outputs, expected = model(padded, pixel_mask), model(pixel_values)
    assert_same(outputs, expected, names=("class_queries_logits", "last_hidden_state"), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        outputs.masks_queries_logits[:, :, :3], expected.masks_queries_logits, rtol=1e-4, atol=1e-5
    )


def test_what_lies_in_padded_pixels_does_not_matter():
    model, pixel_values = tiny_model().eval(), clips()
    pixel_mask = torch.ones(2, 3, 64, 96, dtype=torch.bool)
    pixel_mask[1, :, 50:] = pixel_mask[1, :, :, 70:] = False
    other_values = torch.where(pixel_mask[:, :, None], pixel_values, torch.tensor(7.0))
    assert_same(model(pixel_values, pixel_mask), model(other_values, pixel_mask), rtol=0, atol=0)


def test_transformer_ignores_padded_pixels():
    """Of the same maps, the part beyond a frame's own size is neither attended to nor counted in positions."""
    model = tiny_model().eval().model
    embeddings = torch.randn(1, 2, 32, 3, 4, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(embeddings, (0, 2, 0, 1), value=9.0)
    pixel_mask = torch.zeros(1, 2, 4 * 32, 6 * 32, dtype=torch.bool)
    pixel_mask[..., : 3 * 32 - 5, : 4 * 32 - 20] = True
    outputs, expected = model(frame_embeddings=padded, pixel_mask=pixel_mask), model(frame_embeddings=embeddings)
    assert_same(outputs, expected, names=("last_hidden_state", "memory_tokens"), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        outputs.encoder_last_hidden_state[..., :3, :4], expected.encoder_last_hidden_state, rtol=1e-4, atol=1e-5
    )


def test_a_full_mask_is_no_mask():
    model, pixel_values = tiny_model().eval(), clips()
    pixel_mask = torch.ones(2, 3, 64, 96, dtype=torch.bool)
    assert_same(model(pixel_values), model(pixel_values, pixel_mask), rtol=1e-4, atol=1e-5)


def test_attention_implementations_agree():
    model, pixel_values = tiny_model().eval(), clips()
    pixel_mask = torch.ones(2, 3, 64, 96, dtype=torch.bool)
    pixel_mask[1, :, 40:] = False
    outputs = model(pixel_values, pixel_mask)
    model.set_attn_implementation("eager")
    with_weights = model(pixel_values, pixel_mask, output_attentions=True)
    assert_same(outputs, with_weights, rtol=1e-4, atol=1e-5)
    tokens = 2 * 3 + 3  # P + M
    assert [w.shape for w in with_weights.encoder_attentions] == [(2 * 3, 4, tokens, tokens)] * 2
    assert [w.shape for w in with_weights.decoder_attentions] == [(2, 4, 7, 7)] * 2
    assert [w.shape for w in with_weights.cross_attentions] == [(2, 4, 7, 3 * tokens)] * 2


@pytest.fixture
def attention_calls(monkeypatch):
    """Names of the classes whose attention ran through the implementation "counted", in the order of the calls."""
    calls = []

    def counted(module, *args, **kwargs):
        calls.append(type(module).__name__)
        return ALL_ATTENTION_FUNCTIONS["sdpa"](module, *args, **kwargs)

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "counted", counted)
    monkeypatch.setitem(ALL_MASK_ATTENTION_FUNCTIONS._global_mapping, "counted", ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    return calls


def set_attention(how, model_type, implementation, folder):
    """A tiny model whose attention was chosen when it was made, when it was loaded, or later."""
    backbone = backbone_like(model_type)
    if how == "made":
        config = tiny_config(backbone_config=backbone)
        return IfcForVideoInstanceSegmentation._from_config(config, attn_implementation=implementation).eval()
    model = tiny_model(backbone_config=backbone).eval()
    if how == "set":
        model.set_attn_implementation(implementation)
        return model
    model.save_pretrained(folder)
    auto_class = AutoModelForUniversalSegmentation if how == "loaded" else AutoModel
    return auto_class.from_pretrained(folder, attn_implementation=implementation).eval()


@pytest.mark.parametrize("how", ["made", "loaded", "base loaded", "set"])
@pytest.mark.parametrize(
    ("model_type", "implementation", "of_backbone"),
    [
        ("resnet", "sdpa", "eager"),
        ("resnet", "eager", "eager"),
        ("resnet", "flex_attention", "eager"),
        ("convnext", "sdpa", "eager"),
        ("efficientnet_lite", "sdpa", "eager"),
        ("swin", "sdpa", "sdpa"),
        ("swin", "eager", "eager"),
        ("swin", "flex_attention", "sdpa"),
        ("swin", {"": "eager", "backbone_config": "sdpa"}, "sdpa"),
        ("swin", {"backbone_config": "eager"}, "eager"),
    ],
)
def test_attention_is_chosen_where_there_is_attention(how, model_type, implementation, of_backbone, tmp_path):
    model = set_attention(how, model_type, implementation, tmp_path)
    of_model = implementation if isinstance(implementation, str) else implementation.get("", "sdpa")
    assert model.config._attn_implementation == of_model
    backbone = getattr(model, "model", model).backbone
    assert backbone.config._attn_implementation == of_backbone == model.config.backbone_config._attn_implementation


@pytest.mark.parametrize("how", ["made", "loaded", "set"])
@pytest.mark.parametrize("model_type", ["resnet", "swin"])
def test_the_chosen_attention_runs(how, model_type, tmp_path, attention_calls):
    set_attention(how, model_type, "counted", tmp_path)(clips())
    counts = {name: attention_calls.count(name) for name in attention_calls}
    # Two encoder layers (frames, memory), two decoder layers (queries, frames), four stages of Swin.
    expected = {"IfcSelfAttention": 4, "IfcMemoryAttention": 2, "IfcCrossAttention": 2}
    assert counts == expected | ({"SwinAttention": 4} if model_type == "swin" else {})


@pytest.mark.parametrize("how", ["made", "loaded", "set"])
def test_attention_that_cannot_be_had_is_refused(how, tmp_path):
    with pytest.raises(ValueError, match='attn_implementation="sdap"` is not supported'):
        set_attention(how, "resnet", "sdap", tmp_path)
    with pytest.raises(ValueError, match="ResNetBackbone does not support"):
        set_attention(how, "resnet", {"backbone_config": "sdpa", "": "eager"}, tmp_path)
    if not is_flash_attn_2_available():
        with pytest.raises(ImportError, match="FlashAttention2"):
            set_attention(how, "resnet", "flash_attention_2", tmp_path)


def test_memory_tokens_are_the_only_way_between_frames():
    embeddings = torch.randn(1, 3, 32, 2, 3, generator=torch.Generator().manual_seed(0))
    changed = embeddings.clone()
    changed[:, 2] += 1
    for num_memory_tokens, is_told in ((3, True), (0, False)):
        model = tiny_model(num_memory_tokens=num_memory_tokens).eval().model
        first = model(frame_embeddings=embeddings).encoder_last_hidden_state[:, 0]
        first_changed = model(frame_embeddings=changed).encoder_last_hidden_state[:, 0]
        assert torch.allclose(first, first_changed, atol=1e-6) is not is_told


@pytest.mark.parametrize("pre_norm", [False, True])
def test_without_memory_tokens_every_weight_is_trained(pre_norm):
    """DistributedDataParallel stops at a parameter that never gets a gradient."""
    model = tiny_model(num_memory_tokens=0, pre_norm=pre_norm)
    pixel_values = torch.randn(2, 2, 3, 64, 64)
    model(pixel_values, labels=labels_for(pixel_values)).loss.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_memory_token_sees_only_its_counterparts():
    """Attention over time alone: a change of token 0 in one frame reaches token 0 of the others, not token 1."""
    layer = tiny_model(num_memory_tokens=2).eval().model.encoder.layers[0]
    memory = torch.randn(1, 3, 2, 32, generator=torch.Generator().manual_seed(0))  # (B, T, M, C)
    changed = memory.clone()
    changed[:, 0, 0] += 1

    def exchange(tokens):
        return layer.communicate(tokens.transpose(1, 2).flatten(0, 1)).unflatten(0, (1, 2)).transpose(1, 2)

    difference = (exchange(memory) - exchange(changed)).abs().amax(-1)[0]  # (T, M)
    assert (difference[:, 0] > 1e-4).all()
    assert (difference[:, 1] == 0).all()


def test_position_embedding_counts_real_pixels():
    embedding = IfcSinePositionEmbedding(8)
    maps = torch.zeros(1, 1, 8, 2, 3)
    alone = embedding(maps)
    mask = torch.zeros(1, 1, 3, 5, dtype=torch.bool)
    mask[..., :2, :3] = True
    padded = embedding(torch.zeros(1, 1, 8, 3, 5), mask).unflatten(2, (3, 5))[:, :, :2, :3].flatten(2, 3)
    torch.testing.assert_close(alone, padded)
    angle = torch.tensor(2 * torch.pi / (2 + 1e-6))  # the first of two rows
    torch.testing.assert_close(
        alone[0, 0, 0, :4], torch.stack([angle.sin(), angle.cos(), (angle / 100).sin(), (angle / 100).cos()])
    )


def test_gradients_reach_every_weight_that_trains():
    model, pixel_values = tiny_model(), clips()
    with torch.no_grad():  # biases that start from zero hide what comes before them
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    model(pixel_values, labels=labels_for(pixel_values)).loss.backward()
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()}
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    # The content of the queries starts from zero, so the first self attention has one value, its bias, for all.
    no_content = {f"model.decoder.layers.0.self_attention.{p}_proj.{k}" for p in "qk" for k in ("weight", "bias")}
    no_content.add("model.decoder.layers.0.self_attention.v_proj.weight")
    # A constant added to all keys cancels in the softmax.
    key_biases = {name for name, _ in model.named_parameters() if name.endswith("k_proj.bias")}
    assert frozen <= without <= frozen | no_content | key_biases
    assert all(".embedder." in name or ".stages.0." in name for name in frozen) and frozen


def test_loss_is_the_weighted_sum():
    model, pixel_values = tiny_model(), clips()
    outputs = model(pixel_values, labels=labels_for(pixel_values))
    terms = outputs.loss_dict
    expected = sum(terms["loss_ce" + k] + 3 * terms["loss_mask" + k] + 3 * terms["loss_dice" + k] for k in ("", "_0"))
    torch.testing.assert_close(outputs.loss, expected)
    assert len(outputs.auxiliary_outputs) == 1
    assert outputs.auxiliary_outputs[0]["masks_queries_logits"].shape == outputs.masks_queries_logits.shape


def test_without_auxiliary_loss_only_the_last_layer_counts():
    model, pixel_values = tiny_model(auxiliary_loss=False), clips()
    outputs = model(pixel_values, labels=labels_for(pixel_values))
    assert outputs.auxiliary_outputs == [] and "loss_ce_0" not in outputs.loss_dict


def test_clips_without_instances_train():
    model, pixel_values = tiny_model(), clips()
    outputs = model(pixel_values, labels=labels_for(pixel_values, instances=(0, 0)))
    outputs.loss.backward()
    assert outputs.loss.isfinite() and outputs.loss_dict["class_error"] == 100


def test_labels_in_the_spelling_of_mask2former():
    model, pixel_values = tiny_model(), clips()
    labels = labels_for(pixel_values)
    halves = {
        "mask_labels": [label["masks"] for label in labels],
        "class_labels": [label["class_labels"] for label in labels],
    }
    outputs, expected = model(pixel_values, **halves), model(pixel_values, labels=labels)
    assert torch.equal(outputs.loss, expected.loss) and outputs.loss_dict.keys() == expected.loss_dict.keys()
    with pytest.raises(ValueError, match="got both"):
        model(pixel_values, labels=labels, **halves)
    for missing in halves:
        with pytest.raises(ValueError, match=f"belong together, but {missing} is missing"):
            model(pixel_values, **{name: value for name, value in halves.items() if name != missing})
    with pytest.raises(ValueError, match="an entry for every clip, got 1 and 2"):
        model(pixel_values, mask_labels=halves["mask_labels"][:1], class_labels=halves["class_labels"])
    # `Trainer` would not evaluate a batch that lacks one of these.
    assert find_labels(IfcForVideoInstanceSegmentation) == ["labels"]


@pytest.mark.parametrize(
    ("keyword", "hint"),
    [
        ("label", "did you mean labels"),
        ("mask_label", "did you mean mask_labels"),
        ("pixel_masks", "did you mean pixel_mask"),
        ("output_attention", "did you mean output_attentions"),
        ("targets", "known are class_labels, "),
        ("input_ids", "known are class_labels, "),
    ],
)
def test_unknown_keywords_are_refused(keyword, hint):
    with pytest.raises(TypeError, match=f"IfcForVideoInstanceSegmentation: unknown keyword {keyword}; {hint}"):
        tiny_model()(clips(), **{keyword: None})


def test_the_bare_network_has_no_loss():
    pixel_values = clips()
    with pytest.raises(TypeError, match="IfcModel: unknown keyword labels"):
        tiny_model().model(pixel_values, labels=labels_for(pixel_values))


def test_keywords_of_transformers_own_tools_are_taken():
    model = tiny_model(attn_implementation="eager").eval()
    keywords = {
        "output_attentions": True, "output_hidden_states": True, "return_dict": True, "use_cache": False,
        "interpolate_pos_encoding": True, "num_items_in_batch": torch.tensor(3),
    }  # fmt: skip
    for network in (model, model.model):
        outputs = network(clips(), **keywords)
        assert len(outputs.cross_attentions) == 2 and len(outputs.encoder_hidden_states) == 3
        assert_same(outputs, network(clips()), names=("last_hidden_state", "memory_tokens"))
        assert isinstance(network(clips(), return_dict=False), tuple)


def test_dummy_inputs_fit():
    model = tiny_model().eval().to(torch.bfloat16)
    assert model(**model.dummy_inputs).masks_queries_logits.shape == (1, 7, 2, 8, 8)
    assert model.model(**model.model.dummy_inputs).memory_tokens.dtype == torch.bfloat16


def test_the_base_model_loads_a_checkpoint_with_heads_without_a_warning(tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    with CaptureLogger(logging.get_logger("transformers")) as said:
        base, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not said.out and not info["unexpected_keys"] and not info["missing_keys"]
    assert all(torch.equal(value, base.state_dict()[name]) for name, value in model.model.state_dict().items())
    # What belongs to no IFC model is still told of.
    weights = load_file(tmp_path / "model.safetensors")
    save_file({**weights, "other_head.weight": torch.zeros(1)}, tmp_path / "model.safetensors", {"format": "pt"})
    with CaptureLogger(logging.get_logger("transformers")) as said:
        info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)[1]
    assert "other_head.weight" in said.out and set(info["unexpected_keys"]) == {"other_head.weight"}


@pytest.mark.parametrize("stages", [0, 1, 2, 3])
def test_freezing_survives_loading(tmp_path, stages):
    tiny_model(frozen_backbone_stages=stages).save_pretrained(tmp_path)
    for loaded in (
        IfcForVideoInstanceSegmentation.from_pretrained(tmp_path),
        IfcForVideoInstanceSegmentation.from_pretrained(tmp_path, output_loading_info=True)[0],
        IfcModel.from_pretrained(tmp_path),
    ):
        frozen = {name.split("backbone.")[1] for name, p in loaded.named_parameters() if not p.requires_grad}
        parts = {"embedder.": 1, "encoder.stages.0.": 2, "encoder.stages.1.": 3}
        assert {part for part in parts if any(name.startswith(part) for name in frozen)} == {
            part for part, needed in parts.items() if stages >= needed
        }


def test_batch_norm_is_constant():
    model = tiny_model()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model(clips())
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert not any("normalization" in name for name, _ in model.model.backbone.named_parameters())


def test_saving_and_loading_changes_nothing(tmp_path):
    model, pixel_values = tiny_model().eval(), clips()
    model.save_pretrained(tmp_path)
    assert_same(
        IfcForVideoInstanceSegmentation.from_pretrained(tmp_path)(pixel_values), model(pixel_values), rtol=0, atol=0
    )


def test_other_number_of_classes_keeps_the_rest(tmp_path):
    model = tiny_model(num_labels=3)
    model.save_pretrained(tmp_path)
    loaded, info = IfcForVideoInstanceSegmentation.from_pretrained(
        tmp_path, num_labels=5, ignore_mismatched_sizes=True, output_loading_info=True
    )
    assert {name for name, *_ in info["mismatched_keys"]} == {"class_head.layers.1.weight", "class_head.layers.1.bias"}
    assert (
        loaded.class_head.layers[-1].weight.shape == (6, 32) and loaded.class_head.layers[-1].weight.isfinite().all()
    )
    assert torch.equal(loaded.model.query_embedding.weight, model.model.query_embedding.weight)


def test_initialisation_is_the_reference_s():
    model = IfcForVideoInstanceSegmentation(IfcConfig(num_labels=40, encoder_layers=1, decoder_layers=1))
    attention = model.model.encoder.layers[0].gather.attention
    # Xavier over the packed (3 * 256, 256) matrix; uniform in [-b, b] has the standard deviation b / sqrt(3).
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        assert projection.weight.abs().max() <= (6 / (4 * 256)) ** 0.5
        assert projection.weight.std().item() == pytest.approx((2 / (4 * 256)) ** 0.5, rel=0.02)
        assert not projection.bias.any()
    assert attention.o_proj.weight.std().item() == pytest.approx((1 / 256) ** 0.5, rel=0.02)
    assert model.model.memory_tokens.std().item() == pytest.approx((2 / 8) ** 0.5, rel=0.1)
    assert model.model.query_embedding.weight.std().item() == pytest.approx(1, rel=0.02)
    head = model.mask_head
    for convolution in (head.conv_32, head.lateral_8, head.pointwise, head.depthwise):
        assert convolution.weight.std().item() == pytest.approx(convolution.weight[0].numel() ** -0.5, rel=0.05)
        assert not convolution.bias.any()
    linear = model.class_head.layers[0]
    assert linear.weight.std().item() == pytest.approx((1 / (3 * 256)) ** 0.5, rel=0.02)
    assert linear.bias.abs().max() <= 1 / 16 and linear.bias.any()


def test_gradient_checkpointing_changes_no_gradient():
    model, pixel_values = tiny_model(), clips()
    labels = labels_for(pixel_values)
    model(pixel_values, labels=labels).loss.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    model.gradient_checkpointing_enable()
    model(pixel_values, labels=labels).loss.backward()
    for name, parameter in model.named_parameters():
        if name in expected:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_close(dtype):
    model, pixel_values = tiny_model().eval(), clips()
    expected = model(pixel_values)
    outputs = copy.deepcopy(model).to(dtype)(pixel_values)
    assert outputs.class_queries_logits.dtype == dtype
    for name in ("class_queries_logits", "masks_queries_logits"):
        error = (outputs[name].float() - expected[name]).abs().mean() / expected[name].abs().mean()
        assert error < (0.05 if dtype == torch.bfloat16 else 0.01)


def test_autocast_trains():
    model, pixel_values = tiny_model(), clips()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(pixel_values, labels=labels_for(pixel_values)).loss
    loss.backward()
    reference = model(pixel_values, labels=labels_for(pixel_values)).loss
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(reference.item(), rel=0.05)


def test_pre_norm_trains_and_has_final_norms():
    model, pixel_values = tiny_model(pre_norm=True), clips()
    model(pixel_values, labels=labels_for(pixel_values)).loss.backward()
    assert model.model.encoder.pixel_norm.weight.grad.any() and model.model.encoder.memory_norm.weight.grad.any()
    assert not hasattr(tiny_model().model.encoder.pixel_norm, "weight")


def backbone_like(model_type, **changes):
    return {
        "convnext": {"model_type": "convnext", "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1],
                     "out_features": ["stage2", "stage3", "stage4"]},
        "swin": {"model_type": "swin", "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2],
                 "window_size": 4, "out_features": ["stage2", "stage3", "stage4"]},
        "efficientnet_lite": {"model_type": "efficientnet_lite", "out_features": ["stage2", "stage3", "stage4"]},
        "resnet": TINY_BACKBONE,
    }[model_type] | changes  # fmt: skip


@pytest.mark.parametrize("model_type", ["convnext", "swin"])
def test_other_backbones(model_type, tmp_path):
    model, pixel_values = tiny_model(backbone_config=backbone_like(model_type)), clips()
    outputs = model(pixel_values, labels=labels_for(pixel_values))
    outputs.loss.backward()
    assert outputs.masks_queries_logits.shape == (2, 7, 3, 8, 12)
    assert any(not parameter.requires_grad for parameter in model.model.backbone.parameters())
    model.save_pretrained(tmp_path)
    assert_same(
        IfcForVideoInstanceSegmentation.from_pretrained(tmp_path).eval()(pixel_values), model.eval()(pixel_values)
    )


def test_backbone_of_wrong_strides_is_refused():
    backbone = backbone_like("resnet", out_features=["stage1", "stage2", "stage3"])
    with pytest.raises(ValueError, match=r"maps of stride 8, 16 and 32.*\[\(16, 24\), \(8, 12\), \(4, 6\)\]"):
        tiny_model(backbone_config=backbone)(clips())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 40}, "multiple of 32"),
        ({"num_attention_heads": 5}, "multiple of num_attention_heads, got 32 and 5"),
        ({"num_queries": 0}, "num_queries must be at least 1, got 0"),
        ({"num_memory_tokens": -1}, "num_memory_tokens must not be negative, got -1"),
        ({"dropout": 1.5}, r"dropout must lie in \[0, 1\), got 1.5"),
        ({"backbone_config": backbone_like("resnet", out_features=["stage4"])}, r"three maps.*got \['stage4'\]"),
        ({"activation_function": "rello"}, "activation_function must be one of"),
        ({"encoder_layers": 10**9}, "encoder_layers must be at most 1000, got 1000000000"),
        ({"decoder_layers": 10**30}, "decoder_layers must be at most 1000"),
        ({"hidden_size": 2**20}, "hidden_size must be at most 65536"),
        ({"intermediate_size": 2**40}, "intermediate_size must be at most 65536"),
        ({"hidden_size": 2**14, "encoder_layers": 900}, "parameters, more than the limit of 2147483648"),
        ({"num_queries": 2**31}, "num_queries must be at most"),
        ({"num_memory_tokens": 2**31}, "num_memory_tokens must be at most"),
        ({"frozen_backbone_stages": 2**31}, "frozen_backbone_stages must be at most"),
        ({"class_cost": float("nan")}, "class_cost must be a finite number"),
        ({"no_object_coefficient": -0.1}, "no_object_coefficient must be a finite number of 0 or more"),
        ({"backbone_config": backbone_like("resnet", depths=[1, 1, 1, 10**9])}, "backbone_config.depths must be at"),
        ({"backbone_config": backbone_like("resnet", hidden_sizes=[8, 8, 8, 2**30])}, "backbone_config.hidden_sizes"),
    ],
)
def test_configurations_that_cannot_work_are_refused(changes, message):
    with pytest.raises(StrictDataclassError, match=message):
        tiny_config(**changes)


@pytest.mark.parametrize("num_labels", [10**9, -1, "3", 1.5])
def test_a_number_of_labels_out_of_range_is_refused_before_labels_are_named(num_labels):
    for changes in (
        {"num_labels": num_labels},
        {"backbone_config": {"model_type": "resnet", "num_labels": num_labels}},
    ):
        with pytest.raises(ValueError, match="num_labels must be an integer up to 65536"):
            IfcConfig(**changes)


@pytest.mark.parametrize(
    ("pixel_values", "pixel_mask", "message"),
    [
        (torch.zeros(2, 3, 64, 96), None, r"\(clips, frames, 3, height, width\), got \(2, 3, 64, 96\)"),
        (torch.zeros(1, 2, 4, 64, 96), None, r"got \(1, 2, 4, 64, 96\)"),
        (torch.zeros(1, 0, 3, 64, 96), None, "at least one clip, frame and pixel"),
        (torch.zeros(1, 2, 3, 64, 96), torch.ones(1, 64, 96), r"\(1, 2, 64, 96\), got \(1, 64, 96\)"),
        (torch.zeros(1, 2, 3, 64, 96).index_fill(1, torch.tensor(1), float("nan")), None, "clip 0, frame 1 holds NaN"),
    ],
)
def test_inputs_that_are_no_clips_are_refused(pixel_values, pixel_mask, message):
    with pytest.raises(ValueError, match=message):
        tiny_model()(pixel_values, pixel_mask)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda label: label.update(masks=label["masks"][:, :2]), "frame"),
        (lambda label: label.update(masks=label["masks"][..., :-1]), "64"),
        (lambda label: label["class_labels"].fill_(3), re.escape("3")),
        (lambda label: label["masks"].mul_(0.5), "0"),
    ],
)
def test_labels_that_do_not_fit_are_refused(change, message):
    model, pixel_values = tiny_model(), clips()
    labels = labels_for(pixel_values)
    change(labels[1])
    with pytest.raises(ValueError, match=f"(?s)1.*{message}"):
        model(pixel_values, labels=labels)


@pytest.mark.parametrize(("num_frames", "with_memory", "without_memory"), [(5, 5.52, 5.17), (36, 39.73, 37.23)])
def test_encoder_multiply_adds_are_those_of_table_1(num_frames, with_memory, without_memory):
    for num_memory_tokens, expected in ((8, with_memory), (0, without_memory)):
        with torch.device("meta"):
            config = IfcConfig(num_memory_tokens=num_memory_tokens, attn_implementation="eager")
            model = IfcModel(config).eval()
            tokens = torch.zeros(1, num_frames, 12 * 20 + num_memory_tokens, 256)  # 360x640 at stride 32
        with FlopCounterMode(display=False) as counter:
            model.encoder(tokens, token_mask=None, position=tokens)
        assert counter.get_total_flops() / 2e9 == pytest.approx(expected, rel=0.02)


DYNAMIC = {"pixel_values": {1: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO, 4: torch.export.Dim.AUTO}}


@pytest.mark.slow
@pytest.mark.parametrize("strict", [False, True])
def test_export_with_dynamic_sizes(strict):
    model = tiny_model().eval()
    program = torch.export.export(model, (), {"pixel_values": clips(1)}, dynamic_shapes=DYNAMIC, strict=strict)
    for shape in ((3, 64, 96), (5, 80, 50), (2, 71, 130)):
        pixel_values = clips(1, *shape)
        assert_same(program.module()(pixel_values=pixel_values), model(pixel_values), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_compiled_graph_has_no_break_and_takes_any_size():
    model = tiny_model().eval()
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    with torch.inference_mode():
        for shape in ((3, 64, 96), (5, 80, 50)):
            pixel_values = clips(2, *shape)
            assert_same(compiled(pixel_values), model(pixel_values), rtol=1e-4, atol=1e-4)


# One size: with dynamic ones, inductor of torch 2.13 stops with "ValueRangeError: Invalid ranges [0:-1]".
@pytest.mark.slow
def test_inductor_agrees():
    model = tiny_model().eval()
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, dynamic=False)
    with torch.inference_mode():
        pixel_values = clips(2, 3, 64, 96)
        assert_same(compiled(pixel_values), model(pixel_values), rtol=1e-4, atol=1e-4)
