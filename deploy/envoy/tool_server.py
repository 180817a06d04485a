"""An MCP server whose tool counts its calls in a file. Arguments: its port, the file."""
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


server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
