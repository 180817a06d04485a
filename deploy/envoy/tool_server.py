"""An MCP server whose tools count their calls in a file. Arguments: its port, the file; `json` for answers that are no streams."""
import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("code")


@server.tool()
def opencode_run(task: str) -> str:
    with open(sys.argv[2], "a", encoding="utf-8") as calls:
        calls.write(task + "\n")
    return "done: " + task


@server.tool()
def forbidden(task: str) -> str:
    with open(sys.argv[2], "a", encoding="utf-8") as calls:
        calls.write("forbidden\n")
    return "done"


@server.tool()
def note(text: str) -> str:
    with open(sys.argv[2], "a", encoding="utf-8") as calls:
        calls.write("note\n")
    return "noted"


server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]), json_response="json" in sys.argv[3:])
