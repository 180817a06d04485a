"""README.md's examples run, and its table is what is printed."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from measure_faults import rows
from support import LONG_WINDOW, Sidecar

# Otherwise LiteLLM fetches its price list when it is imported.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def _limit(name: str, maximum: int) -> dict[str, object]:
    return {"limits": [{"counter": name, "window": LONG_WINDOW, "max": maximum}]}


def _needed(block: str) -> set[str]:
    return set(re.findall(r"^(?:from|import) ([\w.]+)", block, re.MULTILINE))


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("block", BLOCKS, ids=["-".join(sorted(_needed(block) - {"sluice"})) or "ten-lines" for block in BLOCKS])
def test_an_example_runs(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in _needed(block):
        if not name.startswith("sluice") and not _is_there(name):
            pytest.skip(f"there is no {name}")
    tools = {"opencode_run": _limit("runs", 10), "chat": _limit("tokens", 10_000), "search": _limit("searches", 60)}
    sidecar = Sidecar(policy={"version": "1", "default": "deny", "tools": tools})
    names: dict[str, Any] = {"__name__": "example"}
    try:
        exec(compile(block.replace("/run/sluice/sluice.sock", sidecar.path), "README.md", "exec"), names)
        output = capsys.readouterr().out
        if "with sluice.reserve" in block:
            assert output == "forward the call; 9 are left\n" and len(block.splitlines()) == 10
            assert sidecar.used("alice-laptop", "chat") == [1234]
        if "asyncio.gather" in block:
            assert output == "60 of 100 pass\n"
        if "litellm" in names:
            names["litellm"].callbacks.remove(names["limits"])
    finally:
        sidecar.close()


def test_the_table_says_what_is_seen() -> None:
    shown = re.findall(r"^\| (.*?) \| (.*?) \| [\d.]+ ms \| [\d.]+ ms \|$", README, re.MULTILINE)
    assert len(shown) == 7
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server")
    assert [(what, seen) for what, seen, _ in rows(2)] == shown


def test_the_file_of_plugins_is_the_modules() -> None:
    if not _is_there("cpex"):
        pytest.skip("ContextForge needs an environment of its own")
    import yaml  # type: ignore[import-untyped, unused-ignore]
    from cpex.framework import PluginConfig

    from sluice.contextforge import SluicePlugin

    [block] = re.findall(r"^```yaml\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    [plugin] = yaml.safe_load(block)["plugins"]
    assert SluicePlugin(PluginConfig(**plugin)).hooks == plugin["hooks"]
