"""A plugin for ContextForge (mcp-contextforge-gateway): `kind: sluice.contextforge.SluicePlugin` in its plugins' file.

    plugins:
      - name: Sluice
        kind: sluice.contextforge.SluicePlugin
        hooks: [tool_pre_invoke, resource_pre_fetch, prompt_pre_fetch]
        mode: sequential
        priority: 10
        config:
          socket: /run/sluice/sluice.sock

Start the gateway with `PLUGINS_FAIL_ON_PLUGIN_ERROR=true`: otherwise it runs without a plugin whose config is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cpex.framework import (
    Plugin,
    PluginConfig,
    PluginContext,
    PluginViolation,
    PromptPrehookPayload,
    PromptPrehookResult,
    ResourcePreFetchPayload,
    ResourcePreFetchResult,
    ToolPreInvokePayload,
    ToolPreInvokeResult,
)

from ._async import AsyncSluice
from ._bounds import ANSWER_TIMEOUT_S
from ._caller import Caller
from ._decision import Decision
from ._gate import DENIED_CODE, Gate

__all__ = ["SluicePlugin"]

#: The keys of the plugin's `config`, with their defaults.
_KEYS: Mapping[str, Any] = {
    "socket": None,
    "fail": "closed",
    "grant": "user",
    "anonymous": None,
    "resources": "resources/read",
    "prompts": "prompts/get",
    "timeout": ANSWER_TIMEOUT_S,
}


class SluicePlugin(Plugin):  # type: ignore[misc, unused-ignore]
    """Asks before each tool call, resource read and prompt. The server is the virtual server's id, if there is one.

    Its `config`:
        socket: the sidecar's socket, required.
        fail: `closed` or `open`: what happens without an answer.
        grant: `user` (who authenticated: an email address), `tenant`, or `server`.
        anonymous: the grant of a caller that has none; without it such calls are denied.
        resources, prompts: the tools as which reads and prompts are checked; null: not at all. What no policy lists passes here.
        timeout: longest wait for an answer, in seconds.

    Tools with a `concurrency` limit cannot be called through it, since ContextForge does not call a plugin when a call fails.
    """

    def __init__(self, config: PluginConfig) -> None:
        super().__init__(config)
        given = dict(config.config or {})
        if unknown := sorted(set(given) - set(_KEYS)):
            raise ValueError(f"the plugin's config has {', '.join(unknown)}, expected {', '.join(_KEYS)}")
        settings = {**_KEYS, **given}
        if not settings["socket"]:
            raise ValueError("the plugin's config needs `socket`, the path of the sidecar's socket")
        if settings["grant"] not in ("user", "tenant", "server"):
            raise ValueError("the plugin's `grant` is `user`, `tenant` or `server`")
        timeout = float(settings["timeout"])
        self._sluice = AsyncSluice(settings["socket"], fail=settings["fail"], timeout=timeout)
        self._settings = settings

    async def shutdown(self) -> None:
        """Closes the connections."""
        await self._sluice.aclose()

    async def tool_pre_invoke(self, payload: ToolPreInvokePayload, context: PluginContext) -> ToolPreInvokeResult:
        """Before a tool call."""
        violation = await self._violation(payload.name, payload.args or {}, context, is_listed_only=False)
        return ToolPreInvokeResult(continue_processing=violation is None, violation=violation)

    async def resource_pre_fetch(
        self, payload: ResourcePreFetchPayload, context: PluginContext
    ) -> ResourcePreFetchResult:
        """Before a resource is read."""
        violation = await self._violation(self._settings["resources"], {}, context)
        return ResourcePreFetchResult(continue_processing=violation is None, violation=violation)

    async def prompt_pre_fetch(self, payload: PromptPrehookPayload, context: PluginContext) -> PromptPrehookResult:
        """Before a prompt is filled in."""
        violation = await self._violation(self._settings["prompts"], {}, context)
        return PromptPrehookResult(continue_processing=violation is None, violation=violation)

    async def _violation(
        self, tool: str | None, arguments: Mapping[str, Any], context: PluginContext, is_listed_only: bool = True
    ) -> PluginViolation | None:
        if tool is None:
            return None
        known = context.global_context
        gate = Gate(self._sluice, grant=self._grant, anonymous=self._settings["anonymous"], server=known.server_id or None)

        async def passes(decision: Decision) -> None:
            return None

        return await gate.call(
            Caller(context=context), tool, arguments, passes, _denied, is_listed_only=is_listed_only
        )

    def _grant(self, caller: Caller) -> str | None:
        assert isinstance(caller.context, PluginContext)
        known = caller.context.global_context
        if self._settings["grant"] == "tenant":
            return known.tenant_id or None
        if self._settings["grant"] == "server":
            return known.server_id or None
        user = known.user.get("email") if isinstance(known.user, Mapping) else known.user
        if not user and known.user_context is not None:
            user = known.user_context.user_id
        return str(user) if user else None


def _denied(decision: Decision) -> PluginViolation | None:
    return PluginViolation(
        reason="Denied by Sluice",
        description=decision.message,
        code=f"SLUICE_{decision.verdict.upper()}",
        details=dict(decision.meta),
        mcp_error_code=DENIED_CODE,
        http_status_code=decision.http_status,
        http_headers=decision.http_headers,
    )
