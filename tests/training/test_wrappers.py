"""Models that PEFT, torch.compile or a distributed strategy has wrapped are trained, scored and saved as they are."""

import pytest
import torch
from safetensors.torch import load_file

from ifc_hf import IfcForVideoInstanceSegmentation
from ifc_hf.data.synthetic import write_synthetic_ytvis
from ifc_hf.training.wrappers import network_of
from tiny_training import tiny_model, tiny_trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_synthetic_ytvis(tmp_path_factory.mktemp("data"), num_videos=4, num_frames=4, size_hw=(32, 48))


def eager_model(**config):
    """An untrained model that sees an object in every query, so that it has a score."""
    model = tiny_model(dropout=0.0, **config)
    with torch.no_grad():
        model.class_head.layers[-1].bias[-1] = -10
    return model


def with_lora(model):
    peft = pytest.importorskip("peft", reason="peft is in the extra `test`")
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)) and not name.startswith(("class_head", "mask_head"))
    ]
    settings = peft.LoraConfig(r=2, target_modules=targets, modules_to_save=["class_head"])
    return peft.get_peft_model(model, settings)


def with_added_adapter(model):
    peft = pytest.importorskip("peft", reason="peft is in the extra `test`")
    model.add_adapter(peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    return model


def compiled(model):
    return torch.compile(model, backend="eager")


WRAPPERS = {
    "lora": with_lora,
    "adapter": with_added_adapter,
    "compile": compiled,
    "compiled lora": lambda model: compiled(with_lora(model)),
    "data parallel": torch.nn.DataParallel,
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_network_is_found(wrapper):
    assert isinstance(network_of(WRAPPERS[wrapper](tiny_model())), IfcForVideoInstanceSegmentation)


def test_another_model_is_refused(data, tmp_path):
    with pytest.raises(TypeError, match="expected an IfcForVideoInstanceSegmentation, bare or wrapped, got IfcModel"):
        tiny_trainer(data, tmp_path, tiny_model().model)


def scores_and_losses(data, output, model):
    """Two steps that change nothing, of four parts each, with an evaluation."""
    settings = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4, "max_steps": 2, "seed": 3}
    trainer = tiny_trainer(data, output, model, learning_rate=0.0, **settings)
    trainer.train()
    metrics = trainer.evaluate()
    terms = ("loss", "loss_ce", "loss_mask", "loss_dice")
    losses = [[log[name] for name in terms] for log in trainer.state.log_history if "loss" in log]
    return torch.tensor(losses), [metrics["eval_AP50"], metrics["eval_AR100"]]


@pytest.fixture(scope="module")
def plain(data, tmp_path_factory):
    return scores_and_losses(data, tmp_path_factory.mktemp("run"), eager_model())


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapped_model_has_the_loss_of_the_whole_batch_and_the_score(data, tmp_path, plain, wrapper):
    # Adapters begin as zero, so the network is the same.
    losses, scores = scores_and_losses(data, tmp_path, WRAPPERS[wrapper](eager_model()))
    torch.testing.assert_close(losses, plain[0], rtol=1e-5, atol=1e-5)
    assert scores == pytest.approx(plain[1], abs=1e-6)


@pytest.mark.parametrize("wrapper", ["lora", "compiled lora"])
def test_adapters_are_saved_and_loaded(data, tmp_path, wrapper):
    from peft import PeftModel

    saving = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
    trainer = tiny_trainer(
        data, tmp_path, WRAPPERS[wrapper](tiny_model()), max_steps=2, load_best_model_at_end=True, **saving
    )
    trainer.train()
    trainer.save_model(str(tmp_path / "final"))
    trainer.create_model_card()
    loaded = PeftModel.from_pretrained(tiny_model(), tmp_path / "final").state_dict()
    trained = trainer.model.state_dict()
    assert trained.keys() == loaded.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in trained.items())
    head = "base_model.model.class_head.modules_to_save.default.layers.1.weight"
    assert not torch.equal(trained[head], tiny_model().class_head.layers[1].weight)


def test_a_compiled_model_has_checkpoints_of_plain_names(data, tmp_path):
    model = tiny_model()
    trainer = tiny_trainer(data, tmp_path, compiled(model), max_steps=2, save_strategy="steps", save_steps=1)
    trainer.train()
    assert load_file(tmp_path / "checkpoint-2" / "model.safetensors").keys() == model.state_dict().keys()
    resumed = tiny_trainer(data, tmp_path, compiled(tiny_model()), max_steps=2)
    resumed.train(resume_from_checkpoint=True)
    for name, tensor in model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name
