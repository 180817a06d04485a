"""A whole LiteLLM proxy with the logger, in a process of its own: it reads its settings when it is imported.

Usage: python litellm_proxy.py SOCKET SERVICE, in an empty folder; the service is OpenAI-like. Asks as one key, and prints each answer as a
line of JSON: its status and its headers.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

import httpx
from serving import served

QUESTIONS: list[dict[str, Any]] = [
    {"question": "what?"},
    {"question": "fail"},
    {"question": "what?", "stream": True, "stream_options": {"include_usage": True}},
    {"question": "what?", "max_tokens": 2000},
]


def main() -> None:
    key = f"sk-{secrets.token_hex(32)}"
    Path("limits.py").write_text(
        f"""
from sluice import AsyncSluice
from sluice.litellm import SluiceLogger
limits = SluiceLogger(AsyncSluice({sys.argv[1]!r}, timeout=20, connect_timeout=20), tool=lambda request: "tokens",
                      estimate=lambda request: request.get("max_tokens") or 100)
"""
    )
    Path("config.yaml").write_text(
        f"""
model_list:
  - model_name: m
    litellm_params: {{model: openai/model, api_base: {sys.argv[2]}, api_key: k, max_retries: 0}}
litellm_settings: {{callbacks: limits.limits, num_retries: 0}}
general_settings: {{master_key: {key}}}
"""
    )
    os.environ.update(CONFIG_FILE_PATH=os.path.abspath("config.yaml"), LITELLM_LOCAL_MODEL_COST_MAP="True")
    from litellm.proxy.proxy_server import app

    with served(app) as url:
        client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60)
        for asked in QUESTIONS:
            body = {"model": "m", "messages": [{"role": "user", "content": asked["question"]}], **asked}
            del body["question"]
            reply = client.post("/v1/chat/completions", json=body)
            print(f"answer {json.dumps({'status': reply.status_code, 'headers': dict(reply.headers)})}", flush=True)
        # Until what was logged in the background has been committed, or a test's patience ends.
        sys.stdin.read()


if __name__ == "__main__":
    main()
