"""The plugin in ContextForge's own plugin manager, loaded from a file as the gateway loads it."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

os.environ["PLUGINS_FAIL_ON_PLUGIN_ERROR"] = "true"
pytest.importorskip("cpex", reason="ContextForge needs an environment of its own: it uses mcp 1.x")

from cpex.framework import (
    GlobalContext,
    PluginManager,
    PluginViolationError,
    PromptHookType,
    PromptPrehookPayload,
    ResourceHookType,
    ResourcePreFetchPayload,
    ToolHookType,
    ToolPreInvokePayload,
)
from support import Sidecar

Ask = Callable[..., Awaitable[Any]]


def write_plugins(folder: Path, config: dict[str, Any]) -> str:
    """Writes the gateway's file of plugins, and gives its path."""
    lines = "\n".join(f"      {name}: {'null' if value is None else value}" for name, value in config.items())
    (folder / "plugins.yaml").write_text(
        f"""
plugins:
  - name: Sluice
    kind: sluice.contextforge.SluicePlugin
    hooks: [tool_pre_invoke, resource_pre_fetch, prompt_pre_fetch]
    mode: sequential
    priority: 10
    config:
{lines}
plugin_dirs: []
plugin_settings: {{}}
"""
    )
    return str(folder / "plugins.yaml")


def with_plugin(folder: Path, config: dict[str, Any], body: Callable[[Ask], Awaitable[None]]) -> None:
    """Runs a body with a manager that has the plugin; it gets a function that runs a hook."""
    path = write_plugins(folder, config)

    async def main() -> None:
        PluginManager.reset()
        manager = PluginManager(path)
        await manager.initialize()

        async def ask(hook: Any, payload: Any, user: Any, **known: Any) -> Any:
            context = GlobalContext(request_id="1", user=user, **known)
            result, _ = await manager.invoke_hook(hook, payload, context, violations_as_exceptions=True)
            return result

        try:
            await body(ask)
        finally:
            await manager.shutdown()

    asyncio.run(main())


def call(name: str) -> tuple[Any, Any]:
    return ToolHookType.TOOL_PRE_INVOKE, ToolPreInvokePayload(name=name, args={})


def test_the_eleventh_call_is_a_violation(shared_sidecar: Sidecar, grant: str, tmp_path: Path) -> None:
    async def body(ask: Ask) -> None:
        for user in [grant, {"email": grant}] * 5:
            assert (await ask(*call("run"), user)).continue_processing
        with pytest.raises(PluginViolationError) as caught:
            await ask(*call("run"), grant)
        violation = caught.value.violation
        assert violation is not None and violation.description.startswith("run is limited to 10 calls")
        assert violation.code == "SLUICE_LIMIT" and violation.http_status_code == 429
        assert int(violation.http_headers["Retry-After"]) > 0 and violation.mcp_error_code == -32000
        with pytest.raises(PluginViolationError, match="needs a caller"):
            await ask(*call("run"), None)

    with_plugin(tmp_path, {"socket": shared_sidecar.path, "timeout": 20}, body)
    assert shared_sidecar.used(grant, "run") == [10]


def test_reads_and_prompts_are_checked_where_the_policy_lists_them(grant: str, tmp_path: Path) -> None:
    limit = {"limits": [{"counter": "c", "window": 31_622_400, "max": 1}]}
    sidecar = Sidecar(policy={"version": "1", "default": "deny", "tools": {"resources/read": limit}})

    async def body(ask: Ask) -> None:
        read = (ResourceHookType.RESOURCE_PRE_FETCH, ResourcePreFetchPayload(uri="text://one"))
        await ask(*read, None, tenant_id=grant)
        with pytest.raises(PluginViolationError, match="is limited to 1 call"):
            await ask(*read, None, tenant_id=grant)
        await ask(PromptHookType.PROMPT_PRE_FETCH, PromptPrehookPayload(prompt_id="p"), None, tenant_id=grant)

    try:
        with_plugin(tmp_path, {"socket": sidecar.path, "timeout": 20, "grant": "tenant"}, body)
    finally:
        sidecar.close()


@pytest.mark.parametrize("fail", ["closed", "open"])
def test_without_a_sidecar(fail: str, tmp_path: Path) -> None:
    async def body(ask: Ask) -> None:
        if fail == "open":
            assert (await ask(*call("run"), "g")).continue_processing
            return
        with pytest.raises(PluginViolationError, match="does not answer") as caught:
            await ask(*call("run"), "g")
        assert caught.value.violation is not None and caught.value.violation.http_status_code == 503

    with_plugin(tmp_path, {"socket": "/tmp/there-is-no.sock", "fail": fail}, body)


@pytest.mark.parametrize("config", [{"socket": None}, {"socket": "s", "wrong": 1}, {"socket": "s", "grant": "all"}], ids=str)
def test_a_wrong_config_does_not_start(config: dict[str, Any], tmp_path: Path) -> None:
    async def body(ask: Ask) -> None:
        raise AssertionError("it started")

    with pytest.raises(Exception, match="Sluice"):
        with_plugin(tmp_path, config, body)


def test_a_running_gateway_answers_the_eleventh_call_with_429(sidecar: Sidecar, tmp_path: Path) -> None:
    if importlib.util.find_spec("mcpgateway") is None:
        pytest.skip("there is no mcp-contextforge-gateway")
    plugins = write_plugins(tmp_path, {"socket": sidecar.path, "timeout": 20})
    words = [sys.executable, str(Path(__file__).with_name("contextforge_gateway.py")), plugins, "11"]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    answers = [json.loads(line.removeprefix("answer ")) for line in run.stdout.splitlines() if line.startswith("answer ")]
    assert [answer["status"] for answer in answers] == [200] * 10 + [429], run.stderr[-3000:]
    assert all(answer["document"]["result"]["isError"] is False for answer in answers[:10])
    denied = answers[10]
    assert int(denied["headers"]["retry-after"]) > 0 and denied["headers"]["ratelimit-limit"] == "10"
    assert denied["document"]["error"]["code"] == -32000
    assert denied["document"]["error"]["data"]["details"]["sluice/verdict"] == "limit"
    assert sidecar.used("admin@example.com", "run") == [10], "the grant is who authenticated"
