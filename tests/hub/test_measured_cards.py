"""Scores that are put into a card after the training."""

from huggingface_hub import ModelCard

from hub_metadata import metadata_errors
from ifc_hf.cards.measured import add_scores
from ifc_hf.cards.template import model_card

SCORES = {"AP": 0.5, "AP50": 0.75, "AP75": 0.25, "AR1": 0.125, "AR10": -1.0, "APs": 0.1}


def write_card(path, scores="Not measured during the training."):
    text = model_card("tiny", "tiny", "Tiny.", ["cat"], num_frames=3, scores=scores, training="None.")
    path.write_text(text, encoding="utf-8")
    return path


def test_scores_replace_that_nothing_was_measured(tmp_path):
    card_file = write_card(tmp_path / "README.md")
    assert add_scores(card_file, "ytvis_2019", "val_sub", 3, SCORES)
    card = ModelCard.load(card_file)
    assert "Not measured" not in card.text
    expected = "YouTube-VIS 2019, split val_sub, whole videos in windows of 3 frames, in percent, measured by `ifc-hf"
    assert expected in card.text and "| 50.0 | 75.0 | 25.0 | 12.5 | - |" in card.text
    assert "## Training\n\nNone.\n" in card.text and "## Use\n" in card.text
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results == {"AP": 50.0, "AP50": 75.0, "AP75": 25.0, "AR1": 12.5}
    assert card.data.model_name == "tiny" and metadata_errors(card_file.read_text()) == []


def test_the_same_measurement_is_replaced_and_others_stay(tmp_path):
    card_file = write_card(tmp_path / "README.md", scores="Of the training: 1.")
    for split, ap in (("val_sub", 0.1), ("other", 0.2), ("val_sub", 0.3)):
        add_scores(card_file, "my set (2)", split, 3, SCORES | {"AP": ap})
    card = ModelCard.load(card_file)
    section = card.text.partition("## Scores")[2].partition("## Training")[0]
    assert section.count("| AP |") == 2 and "Of the training: 1." in section
    assert "| 10.0 |" not in section and "| 20.0 |" in section and "| 30.0 |" in section
    values = {r.dataset_split: r.metric_value for r in card.data.eval_results if r.metric_type == "AP"}
    assert values == {"other": 20.0, "val_sub": 30.0} and metadata_errors(card_file.read_text()) == []
    assert "/" not in card.data.eval_results[0].dataset_type


def test_other_cards_are_left_alone(tmp_path):
    assert not add_scores(tmp_path / "README.md", "a", "valid", 3, SCORES)
    (tmp_path / "README.md").write_text("# My model\n\nAs I like it.\n")
    assert not add_scores(tmp_path / "README.md", "a", "valid", 3, SCORES)
    assert (tmp_path / "README.md").read_text() == "# My model\n\nAs I like it.\n"
