"""Programs that ask as deploy/go and deploy/node say: each reads what to ask, and answers with JSON."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from typing import Any

from stage import DEPLOY, INSTALLED, find, skip


HERE = os.path.dirname(os.path.abspath(__file__))
#: Where Debian has Go's packages and Node's.
GOCODE, NODE_PATH = "/usr/share/gocode", "/usr/share/nodejs"


def _block(name: str) -> str:
    """The Go file on deploy/go's page that imports a package."""
    with open(os.path.join(DEPLOY, "go/README.md"), encoding="utf-8") as page:
        blocks = re.findall(r"```go\n(package main\n.*?)```", page.read(), re.DOTALL)
    [block] = [block for block in blocks if name in block]
    return str(block)


def _build_go(name: str) -> list[str]:
    own = os.path.join(INSTALLED, "go-redis")
    if name == "go-redis" and not os.path.exists(os.path.join(own, "go.mod")):
        skip(f"there is no {own}/go.mod that resolves go-redis")
    if name == "redigo" and not os.path.isdir(f"{GOCODE}/src/github.com/gomodule/redigo"):
        skip("there is no golang-github-gomodule-redigo-dev, scripts/plugs installs it")
    go = os.path.join(own, "bin/go") if name == "go-redis" else find("go")
    if not go or not os.path.exists(go):
        skip("there is no go, scripts/plugs installs it")
    folder = tempfile.mkdtemp(prefix="sluice-go-")
    # Where a program of that name and the package are looked for, with modules or without.
    place = folder if name == "go-redis" else os.path.join(folder, "src/example.com/gateway")
    os.makedirs(os.path.join(place, "sluice"))
    shutil.copy(os.path.join(DEPLOY, "go/sluice.go"), os.path.join(place, "sluice"))
    shutil.copy(os.path.join(HERE, "caller.go"), place)
    with open(os.path.join(place, "open.go"), "w", encoding="utf-8") as file:
        file.write(_block("go-redis" if name == "go-redis" else "redigo"))
    environment = {**os.environ, "GOPATH": f"{folder}:{GOCODE}", "GO111MODULE": "off", "GOFLAGS": ""}
    if name == "go-redis":
        shutil.copy(os.path.join(own, "go.mod"), place)
        environment |= {"GO111MODULE": "on", "GOPROXY": "off", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
    for words in (["vet", "."], ["build", "-o", os.path.join(folder, "caller"), "."]):
        subprocess.run([go, *words], cwd=place, env=environment, check=True)
    return [os.path.join(folder, "caller")]


def hummingbird() -> str:
    """The example gateway of deploy/swift-hummingbird, as its sources are now. Ends this run with 77 if it cannot be built here."""
    place = os.path.join(INSTALLED, "hummingbird")
    words = ["swift", "build", "--package-path", os.path.join(DEPLOY, "swift-hummingbird"), "--scratch-path", place]
    program = os.path.join(place, "debug/example-gateway")
    if not os.path.exists(program):
        skip("deploy/swift-hummingbird has not been built, scripts/plugs --install does it")
    # What changed since then is built again, without a look at the registry.
    words += ["--disable-automatic-resolution", "--product", "example-gateway"]
    built = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240)
    if built.returncode != 0:
        raise SystemExit(f"deploy/swift-hummingbird cannot be built: {built.stdout[-4000:]}")
    return program


def command(name: str) -> list[str]:
    """What runs a client's program: redigo, go-redis or node. Ends this run with 77 if it is not installed."""
    if name != "node":
        return _build_go(name)
    node = find("node")
    probe = [node or "node", "-e", "require('redis')"]
    os.environ.setdefault("NODE_PATH", NODE_PATH)
    if not node or subprocess.run(probe, stderr=subprocess.DEVNULL).returncode != 0:
        skip("there is no node with node-redis, scripts/plugs installs it")
    return [node, os.path.join(HERE, "caller.js"), os.path.join(DEPLOY, "node")]


class Client:
    """A running program. Where a test is to see an answer, its time-out is long: the machine may be slow."""

    def __init__(self, words: list[str], path: str, *, fail: str = "closed", is_patient: bool = True) -> None:
        timeout = "20000" if is_patient else "250"
        self.log = tempfile.NamedTemporaryFile(prefix="sluice-client-")
        self.process = subprocess.Popen(
            [*words, path, fail, timeout], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)

    def ask(self, grant: str, tool: str, count: int = 1) -> tuple[list[dict[str, Any]], float]:
        """The decisions of so many checks at once, and how long they took, in ms."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{count} {grant} {tool}\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["decisions"], answer["ms"]

    def check(self, grant: str, tool: str) -> dict[str, Any]:
        return self.ask(grant, tool)[0][0]

    @property
    def errors(self) -> str:
        with open(self.log.name, encoding="utf-8") as file:
            return file.read()

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)
        self.log.close()
