"""A client of the python SDK 2.x (MCP 2026-07-28, stateless): lists, then makes the calls it is asked for.

Standard input: {"url", "key", "mode", "calls": [{"name", "arguments"}]}, mode being that of the SDK: "auto", "legacy"
or a revision. Standard output: one JSON object.
"""

import asyncio
import json
import sys

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client


async def call(client: Client, name: str, arguments: dict) -> dict:
    progress = []

    async def on_progress(done: float, total: float | None, message: str | None) -> None:
        progress.append([done, total])

    try:
        result = await client.call_tool(name, arguments, progress_callback=on_progress)
    except MCPError as error:
        return {"error": {"code": error.code, "message": error.message}, "progress": progress}
    return {"result": result.model_dump(mode="json", by_alias=True, exclude_none=True), "progress": progress}


async def main() -> None:
    wanted = json.load(sys.stdin)
    async with httpx2.AsyncClient(headers={"x-api-key": wanted["key"]}, timeout=30) as http:
        transport = streamable_http_client(wanted["url"], http_client=http)
        async with Client(transport, mode=wanted["mode"]) as client:
            tools = []
            page = await client.list_tools()
            tools += page.tools
            while page.next_cursor is not None:
                page = await client.list_tools(cursor=page.next_cursor)
                tools += page.tools
            calls = [await call(client, one["name"], one["arguments"]) for one in wanted["calls"]]
            print(
                json.dumps(
                    {
                        "protocol": client.protocol_version,
                        "server": client.server_info.name if client.server_info else None,
                        "tools": [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools],
                        "calls": calls,
                    }
                )
            )


asyncio.run(main())
