"""Runs the library's quick tests on the oldest and on the newest versions: `make test-versions`.

The lowest environment takes every lower bound of pyproject.toml as it stands, the newest the newest
release of everything. Both install the wheel, as a user would, with the torch that pip brings:
several gigabytes each on Linux. The workshop's tests, the pages and the benchmarks are left out.
"""

import argparse
import os
import subprocess
import time
import tomllib
from pathlib import Path

from dgm_book import build as book

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Makes both environments, unless they are there, and runs the tests in each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lowest", default="python3.10", help="a Python 3.10")
    parser.add_argument("--newest", default="python3.13", help="a Python 3.13 or later")
    parser.add_argument("--folder", type=Path, default=ROOT / "_build" / "versions")
    options = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    newest = project["dependencies"]
    lowest = [bound.replace(">=", "==") for bound in newest]
    library = book.wheel(ROOT, ROOT / "_build")
    passed = [
        passes(options.folder / "lowest", options.lowest, library, lowest),
        passes(options.folder / "newest", options.newest, library, newest),
    ]
    raise SystemExit(not all(passed))


def passes(folder: Path, interpreter: str, library: Path, requirements: list[str]) -> bool:
    """Whether the tests pass in an environment with these requirements."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([interpreter, "-m", "venv", folder], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "--upgrade"]
    subprocess.run([*install, *requirements, "pytest", "pytest-timeout"], check=True)
    # By force, since the library may have changed and its version not.
    subprocess.run([*install, "--force-reinstall", "--no-deps", library], check=True)
    subprocess.run([python, "-m", "pip", "list"], check=True)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    began = time.monotonic()
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-m", "not timing", "tests/dgm"],
        cwd=ROOT,
        env={**environment, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        check=False,
    )
    print(f"{folder.name}: exit status {done.returncode} in {time.monotonic() - began:.0f} s")
    return done.returncode == 0


if __name__ == "__main__":
    main()
