"""The plugin in ContextForge's own plugin manager, loaded from a file as the gateway loads it."""

from __future__ import annotations

import asyncio
import os
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


def with_plugin(folder: Path, config: dict[str, Any], body: Callable[[Ask], Awaitable[None]]) -> None:
    """Runs a body with a manager that has the plugin; it gets a function that runs a hook."""
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
"""
    )

    async def main() -> None:
        PluginManager.reset()
        manager = PluginManager(str(folder / "plugins.yaml"))
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
