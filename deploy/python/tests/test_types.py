"""The package is typed, and seen as such by who uses it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import REPOSITORY

import sluice

pytest.importorskip("mypy")

PROGRAM = """
from sluice import AsyncSluice, Decision, Sluice

decision: Decision = Sluice("s").check("alice", "run", attributes={"team": "blue"})
with Sluice("s", fail="open").reserve("alice", "chat", cost=5) as reservation:
    done: bool = reservation.commit(4)

async def main() -> int:
    return (await AsyncSluice("s").check("alice", "run")).remaining
"""


def mypy(folder: Path, program: str) -> str:
    """What mypy finds in a program that uses the installed package."""
    (folder / "program.py").write_text(program)
    words = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / "cache"), "program.py"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120).stdout


def test_a_right_program_has_no_findings_and_a_wrong_one_has(tmp_path: Path) -> None:
    assert "Success" in mypy(tmp_path, PROGRAM)
    wrong = mypy(tmp_path, PROGRAM.replace('fail="open"', 'fail="maybe"').replace("-> int", "-> str"))
    assert wrong.count("error:") == 2, wrong


def test_the_core_is_strictly_typed(tmp_path: Path) -> None:
    core = Path(__file__).parents[1] / "src/sluice/__init__.py"
    words = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(core)]
    checked = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout


def test_the_version_is_the_sidecars() -> None:
    swift = (REPOSITORY / "Sources/SluiceProtocol/Commands/SluiceVersion.swift").read_text()
    project = (REPOSITORY / "deploy/python/pyproject.toml").read_text()
    assert re.findall(r'current = "(.*?)"', swift) == [sluice.__version__]
    assert re.findall(r'^version = "(.*?)"', project, re.MULTILINE) == [sluice.__version__]
