"""Writes `model_cards/`: one card for each checkpoint that the authors published.

python scripts/make_model_cards.py [FOLDER]
"""

import sys
from pathlib import Path

from ifc_hf.cards.published import PUBLISHED, published_card
from ifc_hf.files import write_text

if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "model_cards")
    for result in PUBLISHED:
        path = folder / f"{result.name}.md"
        write_text(path, published_card(result))
        print(path)
