"""A whole ContextForge gateway with the plugin, in a process of its own: it reads its settings when it is imported.

Usage: python contextforge_gateway.py PLUGINS_FILE CALLS, in an empty folder. Registers a tool `run`, calls it so often as one user, and
prints each answer as a line of JSON: its status, its headers and its document.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
import uuid
from typing import Any

import httpx
from serving import served
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

USER = "admin@example.com"


def settings(plugins: str) -> tuple[dict[str, str], str]:
    """The gateway's environment, and the secret that signs tokens."""
    secret, password = secrets.token_urlsafe(48), secrets.token_urlsafe(24) + "!aA1"
    passwords = ("PLATFORM_ADMIN_PASSWORD", "BASIC_AUTH_PASSWORD", "DEFAULT_USER_PASSWORD")
    return {
        "DATABASE_URL": f"sqlite:///{os.getcwd()}/gateway.db",
        "CACHE_TYPE": "memory",
        "PLUGINS_ENABLED": "true",
        "PLUGINS_CONFIG_FILE": plugins,
        "PLUGINS_CONFIG_PATH": plugins,
        "PLUGINS_FAIL_ON_PLUGIN_ERROR": "true",
        "AUTH_REQUIRED": "true",
        "JWT_SECRET_KEY": secret,
        "AUTH_ENCRYPTION_SECRET": secrets.token_urlsafe(48),
        "PLATFORM_ADMIN_EMAIL": USER,
        "SSRF_ALLOW_LOCALHOST": "true",
        "SSRF_ALLOW_PRIVATE_NETWORKS": "true",
        "LOG_LEVEL": "ERROR",
        **dict.fromkeys(passwords, password),
    }, secret


def token(secret: str) -> str:
    import jwt

    now = int(time.time())
    claims: dict[str, Any] = {
        "sub": USER, "iss": "mcpgateway", "aud": "mcpgateway-api", "iat": now, "exp": now + 3600, "jti": str(uuid.uuid4()),
        "user": {"email": USER, "is_admin": True, "auth_provider": "local"}, "teams": None, "is_admin": True,
        "token_use": "api",
    }  # fmt: skip
    return str(jwt.encode(claims, secret, algorithm="HS256"))


async def answer(request: Request) -> JSONResponse:
    return JSONResponse({"done": True})


def main() -> None:
    environment, secret = settings(sys.argv[1])
    os.environ.update(environment)
    from mcpgateway.main import app

    with served(Starlette(routes=[Route("/run", answer, methods=["POST"])])) as tool, served(app) as gateway:
        client = httpx.Client(base_url=gateway, headers={"Authorization": f"Bearer {token(secret)}"}, timeout=60)
        described = {"name": "run", "url": f"{tool}/run", "integration_type": "REST", "request_type": "POST"}
        schema = {"type": "object", "properties": {}}
        client.post("/tools", json={"tool": {**described, "input_schema": schema}}).raise_for_status()
        for number in range(int(sys.argv[2])):
            call = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "run", "arguments": {}}}
            reply = client.post("/rpc", json=call)
            line = {"status": reply.status_code, "headers": dict(reply.headers), "document": reply.json()}
            print(f"answer {json.dumps(line)}", flush=True)


if __name__ == "__main__":
    main()
