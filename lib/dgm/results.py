"""Published results: loaded where they exist, else computed and kept with their provenance.

A result is two files: `<name>.safetensors` holds its tensors, `<name>.json` its plain values and where
they came from. The JSON is written last, so a result is whole or absent. A result is *current* while
the code that its experiment runs is the code that made it, or while `--verify` has found the present
code to give the same numbers; otherwise its badge says "earlier code".
"""

import ast
import functools
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pooch
import torch
from torch import Tensor

from dgm import checkpoint, profiles
from dgm.data import registry

PACKAGE = Path(__file__).resolve().parent


class Result(NamedTuple):
    """A result and where it came from."""

    name: str
    values: dict[str, Any]
    tensors: dict[str, Tensor]
    provenance: dict[str, Any]
    current: bool


class Context(NamedTuple):
    """What results of one experiment share: the code they depend on and where they run."""

    experiment: str  # module name, its imports are hashed with it
    chapter: str  # folder, such as "01_rate_distortion"
    profile: profiles.Profile
    datasets: tuple[str, ...]


def folder() -> Path:
    """$DGM_RESULTS, else book/results of a checkout, else the user's cache."""
    if given := os.environ.get("DGM_RESULTS"):
        return Path(given)
    checkout = PACKAGE.parents[1]
    if (checkout / "book" / "results").is_dir() and (checkout / "pyproject.toml").is_file():
        return checkout / "book" / "results"
    return Path(pooch.os_cache("dgm")) / "results"


def work_folder() -> Path:
    """Where interrupted runs and weights that are not published are kept: beside the data cache."""
    if given := os.environ.get("DGM_RESULTS"):
        return Path(given) / ".work"
    return Path(os.environ.get("DGM_CACHE") or pooch.os_cache("dgm")) / "work"


def get(
    name: str, compute: Callable[[], tuple[dict, dict]], context: Context, **settings: Any
) -> Result:
    """Load the result `name` of the context's chapter and profile, or compute it and keep it.

    Args:
        name: such as "vae2-seed0-curve".
        compute: returns plain values (for JSON) and tensors.
        context: chapter, profile and code.
        settings: what else to remember in the provenance, such as the seed.
    """
    path = folder() / context.chapter / context.profile.name / f"{name}.json"
    if not path.exists():
        began = time.monotonic()
        values, tensors = compute()
        provenance = {
            **_provenance(context),
            **settings,
            "wall_seconds": round(time.monotonic() - began, 1),
        }
        _keep(path, values, tensors, provenance)
    return _load(path, context)


def published(chapter: str, names: Callable[[profiles.Profile], list[str]]) -> str | None:
    """The largest profile of which every result in names(profile) is there; None where none is."""
    for profile in reversed(profiles.NAMES):
        expected = names(profiles.get(profile))
        if all((folder() / chapter / profile / f"{name}.json").exists() for name in expected):
            return profile
    return None


def resolve(
    profile: str, chapter: str, names: Callable[[profiles.Profile], list[str]]
) -> profiles.Profile:
    """The profile of that name; "auto" is what is published, else small on a GPU, else smoke."""
    if profile == "auto":
        fallback = "small" if torch.cuda.is_available() else "smoke"
        profile = published(chapter, names) or fallback
    return profiles.get(profile)


@functools.cache
def code_hash(module: str, package: Path = PACKAGE) -> str:
    """Hash of a dgm module and of all dgm modules that it imports, whatever their comments say."""
    seen: dict[str, str] = {}
    _collect(module, package, seen)
    return hashlib.sha256(json.dumps(sorted(seen.items())).encode()).hexdigest()[:16]


def mark_verified(context: Context, checks: list[dict[str, Any]]) -> None:
    """Remember that the present code gives the published numbers of this chapter and profile."""
    path = folder() / context.chapter / context.profile.name / "verified.json"
    record = {**_provenance(context), "checks": checks}
    checkpoint.write_text(path, json.dumps(record, indent=1) + "\n")


def badge(results: Sequence[Result], extra: str = "") -> str:
    """One line that says at what scale, on what device and with which code results were made."""
    first = results[0].provenance
    devices = sorted({r.provenance["device"] for r in results})
    parts = [f"profile {first['profile']}", ", ".join(first["data"]), extra, " and ".join(devices)]
    if not all(r.current for r in results):
        parts.append("earlier code")
    return " · ".join(part for part in parts if part)


def _keep(path: Path, values: dict, tensors: dict[str, Tensor], provenance: dict) -> None:
    blob = path.with_suffix(".safetensors")
    checkpoint.save(blob, {key: value.detach().cpu() for key, value in tensors.items()})
    provenance["tensors_sha256"] = hashlib.sha256(blob.read_bytes()).hexdigest()
    text = json.dumps({"values": values, "provenance": provenance}, indent=1, allow_nan=False)
    checkpoint.write_text(path, text + "\n")


def _load(path: Path, context: Context) -> Result:
    content = json.loads(path.read_text())
    provenance = content["provenance"]
    blob = path.with_suffix(".safetensors")
    if hashlib.sha256(blob.read_bytes()).hexdigest() != provenance["tensors_sha256"]:
        raise ValueError(
            f"{blob} is not the file that {path.name} describes: restore both, or remove both to "
            "compute them again"
        )
    code = {provenance["code"]}
    verified = path.with_name("verified.json")
    if verified.exists():
        code.add(json.loads(verified.read_text())["code"])
    current = code_hash(context.experiment) in code and provenance["data"] == _data(context)
    return Result(path.stem, content["values"], checkpoint.load(blob), provenance, current)


def _provenance(context: Context) -> dict[str, Any]:
    return {
        "profile": context.profile.name,
        "device": profiles.describe(context.profile.device),
        "torch": torch.__version__,
        "code": code_hash(context.experiment),
        "commit": _commit(),
        "data": _data(context),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
    }


def _data(context: Context) -> dict[str, str]:
    """One checksum a data set, over those of its files."""
    return {
        name: hashlib.sha256(
            json.dumps(registry.checksums(name), sort_keys=True).encode()
        ).hexdigest()[:16]
        for name in context.datasets
    }


@functools.cache
def _commit() -> str:
    """The checkout's commit, "+" behind it when the library has changes that are not committed."""
    run = functools.partial(subprocess.run, cwd=PACKAGE, capture_output=True, text=True)
    try:
        head = run(["git", "rev-parse", "--short=12", "HEAD"])
        changed = run(["git", "status", "--porcelain", "--", str(PACKAGE)])
    except FileNotFoundError:
        return "unknown"
    return head.stdout.strip() + "+" * bool(changed.stdout) if head.returncode == 0 else "unknown"


def _collect(module: str, package: Path, seen: dict[str, str]) -> None:
    relative = Path(*module.split(".")[1:])
    candidates = (package / relative.with_suffix(".py"), package / relative / "__init__.py")
    path = next((p for p in candidates if p.is_file()), None) if module != "dgm" else None
    if path is None or module in seen:
        return
    tree = ast.parse(path.read_text())
    seen[module] = hashlib.sha256(ast.dump(_without_docstrings(tree)).encode()).hexdigest()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.startswith("dgm."):
                _collect(name, package, seen)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        text = first.value if isinstance(first, ast.Expr) else None
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            node.body = body[1:] or [ast.Pass()]
    return tree
