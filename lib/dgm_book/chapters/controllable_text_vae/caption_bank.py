"""The bank of clauses for captions: `python -m ...caption_bank` publishes it with its scores.

The clauses are those at the ends of the styled captions that were written for the book, and some
for any scene; `captions.yaml` has the tables of words that decide which clause fits.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import yaml

from dgm.clauses import ClauseBank
from dgm.steering import CaptionModel
from dgm_book import profiles, results
from dgm_book.chapters.controllable_text_vae import judges, rewriter_results, style_scores, styles
from dgm_book.chapters.controllable_text_vae.opposites import table
from dgm_book.results import Context, Result

_TABLES = Path(__file__).with_name("captions.yaml")


def bank() -> dict[str, Any]:
    """What `dgm.clauses.ClauseBank` reads."""
    rows = []
    for item in styles.by_hand("captions"):
        clauses = [clause_of(item.texts[0], text) for text in item.texts[1:]]
        if any(clauses):
            rows.append([item.texts[0], *clauses])
    general = [[*map(styles.plain, row.values())] for row in table("caption_clauses.tsv")]
    return {"rows": rows, "any": general, **yaml.safe_load(_TABLES.read_text("utf-8"))}


def clause_of(plain: str, styled: str) -> str:
    """The clause that a styled caption has at its end; empty if it stands elsewhere."""
    caption = plain.removesuffix(" .")
    fits = styled.startswith(f"{caption} ") and styled.endswith(" .")
    return styled.removeprefix(caption).removesuffix(" .").strip() if fits else ""


def scored(model: CaptionModel) -> dict[str, Any]:
    """Scores by style on the test captions, all in one batch; `style_scores` has the judge."""
    judge = style_scores.classifier("captions")
    texts, references = style_scores.sources("captions", "test")
    scores = {}
    for vertex, targets in references.items():
        weights = torch.eye(3)[vertex].expand(len(texts), 3)
        rewrites = [row[0] for row in model.rewrites(texts, weights)]
        written = [styles.plain(rewrite.text) for rewrite in rewrites]
        added = Counter("".join(r.text[a:b] for a, b in r.changed).strip() for r in rewrites)
        scores[model.vertices[vertex]] = {
            "n": len(texts),
            "abstained": sum(bool(rewrite.reason) for rewrite in rewrites),
            "accuracy": float((judge.predict(written) == vertex).mean()),
            "accuracy of people": float((judge.predict(targets) == vertex).mean()),
            "bleu_source": judges.bleu(written, texts)._asdict(),
            "bleu_reference": judges.bleu(written, targets)._asdict(),
            "distinct clauses": len(added),
            "clauses for any scene": sum(
                n for text, n in added.items() if text in model.bank.for_any_scene
            ),
            "most added": added.most_common(8),
        }
    return scores


def publish() -> Result:
    """The result "captions-seed0": the bank, and its scores."""
    name, data = rewriter_results.FOLDER, rewriter_results.DATASETS["captions"]
    context = Context(__name__, name, profiles.get("small"), data)

    def compute() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        built = bank()
        scores = scored(CaptionModel(ClauseBank(built)))
        size = len(json.dumps(built))
        return {"bank": built, "scores": scores, "bytes": size}, {}

    return results.get("captions-seed0", compute, context, seed=0)


if __name__ == "__main__":
    published = publish()
    print(json.dumps({k: v for k, v in published.values.items() if k != "bank"}, indent=1))
