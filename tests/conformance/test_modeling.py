"""The official tests of a Transformers model and its configuration, for IFC."""

import copy
import unittest

import torch
from official_suite import skip_listed_tests, suite_configuration, suite_modeling
from transformers import ResNetConfig
from transformers.testing_utils import torch_device

from ifc_hf import IfcConfig, IfcForVideoInstanceSegmentation, IfcModel

SKIPPED = {
    "test_model_get_set_embeddings": "the network has no input embeddings: its input are frames",
}


class IfcModelTester:
    """Two clips of three small frames, and a network to match."""

    batch_size = 2
    num_frames = 3
    height = width = 64

    def __init__(self, parent):
        self.parent = parent
        self.is_training = True
        self.hidden_size = 32
        self.num_hidden_layers = 2
        self.num_attention_heads = 4
        self.num_queries = 6
        self.num_memory_tokens = 3
        self.encoder_seq_length = (self.height // 32) * (self.width // 32) + self.num_memory_tokens
        self.decoder_seq_length = self.num_queries

    def get_config(self):
        return IfcConfig(
            backbone_config=ResNetConfig(
                embedding_size=8,
                hidden_sizes=[8, 8, 16, 16],
                depths=[1, 1, 1, 1],
                layer_type="basic",
                out_features=["stage2", "stage3", "stage4"],
            ),
            hidden_size=self.hidden_size,
            encoder_layers=self.num_hidden_layers,
            decoder_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=32,
            num_queries=self.num_queries,
            num_memory_tokens=self.num_memory_tokens,
            num_frames=self.num_frames,
            num_labels=4,
            frozen_backbone_stages=0,  # the suite wants a gradient for every parameter
        )

    def prepare_config_and_inputs_for_common(self):
        pixel_values = suite_modeling.floats_tensor([self.batch_size, self.num_frames, 3, self.height, self.width])
        # Not boolean: the suite makes a batch larger by random integers.
        pixel_mask = torch.ones(
            self.batch_size, self.num_frames, self.height, self.width, dtype=torch.int64, device=torch_device
        )
        return self.get_config(), {"pixel_values": pixel_values, "pixel_mask": pixel_mask}


@skip_listed_tests(SKIPPED)
class IfcModelTest(suite_modeling.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (IfcModel, IfcForVideoInstanceSegmentation)
    is_encoder_decoder = True
    has_attentions = True
    test_resize_embeddings = False
    test_can_init_all_missing_weights_before_2023 = True
    zero_init_hidden_state = True
    additional_model_inputs = ["pixel_mask"]

    def setUp(self):
        self.model_tester = IfcModelTester(self)
        self.config_tester = suite_configuration.ConfigTester(self, config_class=IfcConfig, has_text_modality=False)

    def test_config(self):
        self.config_tester.run_common_tests()

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs_dict = super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels)
        if return_labels and model_class is IfcForVideoInstanceSegmentation:
            masks = torch.zeros(2, *inputs_dict["pixel_values"].shape[1:2], *inputs_dict["pixel_values"].shape[-2:])
            masks[0, :, 8:40, 8:24] = 1
            masks[1, 1:, 30:60, 30:60] = 1
            label = {"class_labels": torch.tensor([1, 3], device=torch_device), "masks": masks.to(torch_device)}
            inputs_dict["labels"] = [label] * len(inputs_dict["pixel_values"])
        return inputs_dict

    # Overridden: the original takes the keys of the cross attention for the tokens of one sequence, they are those
    # of all frames; and it counts the outputs of a model that has five.
    def test_attention_outputs(self):
        config, inputs_dict = self.model_tester.prepare_config_and_inputs_for_common()
        tester = self.model_tester
        tokens, queries = tester.encoder_seq_length, tester.num_queries
        expected_shapes = {
            "encoder_attentions": (tester.batch_size * tester.num_frames, tester.num_attention_heads, tokens, tokens),
            "decoder_attentions": (tester.batch_size, tester.num_attention_heads, queries, queries),
            "cross_attentions": (
                tester.batch_size,
                tester.num_attention_heads,
                queries,
                tester.num_frames * tokens,
            ),
        }
        for model_class in self.all_model_classes:
            model = model_class._from_config(copy.deepcopy(config), attn_implementation="eager")
            model = model.to(torch_device).eval()
            inputs = self._prepare_for_class(inputs_dict, model_class)
            with torch.no_grad():
                by_argument = model(**inputs, output_attentions=True)
                without = model(**inputs)
                model.config.output_attentions = True
                by_config = model(**inputs)
            for name, shape in expected_shapes.items():
                self.assertNotIn(name, without)
                for outputs in (by_argument, by_config):
                    self.assertEqual(
                        [tuple(layer.shape) for layer in outputs[name]], [shape] * tester.num_hidden_layers
                    )

    # Overridden: the original asks for the gradient of the decoder's first input, which is the constant zero here.
    def test_retain_grad_hidden_states_attentions(self):
        config, inputs_dict = self.model_tester.prepare_config_and_inputs_for_common()
        model = IfcModel._from_config(config, attn_implementation="eager").to(torch_device)
        outputs = model(**inputs_dict, output_hidden_states=True, output_attentions=True)
        recorded = {
            "encoder_hidden_states": outputs.encoder_hidden_states[0],
            "decoder_hidden_states": outputs.decoder_hidden_states[1],
            "encoder_attentions": outputs.encoder_attentions[0],
            "decoder_attentions": outputs.decoder_attentions[1],
            "cross_attentions": outputs.cross_attentions[0],
        }
        for tensor in recorded.values():
            tensor.retain_grad()
        outputs.last_hidden_state.flatten()[0].backward()
        for name, tensor in recorded.items():
            with self.subTest(name):
                self.assertIsNotNone(tensor.grad)
