"""Where published results may lie."""

from pathlib import Path

from dgm import paths


def folders(name: str) -> list[Path]:
    """Where a folder of published results may lie: in a checkout, in the wheel, in the cache."""
    library = Path(__file__).resolve().parents[1]
    places = library.parent / "book" / "results", library / "dgm_book" / "published"
    return [place / name / "small" for place in (*places, paths.cache() / "results")]
