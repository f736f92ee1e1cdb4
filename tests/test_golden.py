"""The golden reader and the weight recipe."""

import pytest

from golden import all_cases, case_description, golden, golden_json, manifest, reference_state_dict

VARIANTS = ["r50_ytvis", "r101_ytvis", "r50_coco"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_generated_weights_are_those_of_the_recording(variant):
    weights = reference_state_dict(variant)
    rows = golden_json(f"weights_check_{variant}")
    assert [row[0] for row in rows] == list(weights)
    for name, first, last, total in rows:
        flat = weights[name].flatten()
        assert (flat[0].item(), flat[-1].item()) == (first, last), name
        assert flat.double().sum().item() == pytest.approx(total, rel=1e-9, abs=1e-9), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_generated_weights_have_the_shapes_of_the_manifest(variant):
    weights = reference_state_dict(variant)
    assert {name: tuple(tensor.shape) for name, tensor in weights.items()} == manifest(variant)


@pytest.mark.parametrize("case", all_cases())
def test_every_case_reads_as_its_index_says(case):
    tensors, info = golden(case)
    shapes = {name: row[0] for name, row in case_description(case).get("shapes", {}).items()}
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == shapes
    assert tensors or info


def test_an_unknown_case_is_named():
    with pytest.raises(KeyError, match="no golden named 'clip_r18'"):
        golden("clip_r18")
