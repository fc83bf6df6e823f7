"""A client of the python SDK 1.x (MCP 2025-11-25): lists, then makes the calls it is asked for, and says what came.

Standard input: {"url", "key", "calls": [{"name", "arguments"}]}. Standard output: one JSON object.
"""

import asyncio
import json
import sys

from mcp import ClientSession, McpError
from mcp.client.streamable_http import streamablehttp_client


async def call(session: ClientSession, name: str, arguments: dict) -> dict:
    progress = []

    async def on_progress(done: float, total: float | None, message: str | None) -> None:
        progress.append([done, total])

    try:
        result = await session.call_tool(name, arguments, progress_callback=on_progress)
    except McpError as error:
        return {"error": error.error.model_dump(mode="json"), "progress": progress}
    return {"result": result.model_dump(mode="json", by_alias=True, exclude_none=True), "progress": progress}


async def main() -> None:
    wanted = json.load(sys.stdin)
    headers = {"x-api-key": wanted["key"]}
    async with streamablehttp_client(wanted["url"], headers=headers) as (read, write, _):
        async with ClientSession(read, write) as session:
            hello = await session.initialize()
            tools = []
            page = await session.list_tools()
            tools += page.tools
            while page.nextCursor is not None:
                page = await session.list_tools(cursor=page.nextCursor)
                tools += page.tools
            pong = await session.send_ping()
            calls = [await call(session, one["name"], one["arguments"]) for one in wanted["calls"]]
    print(
        json.dumps(
            {
                "protocol": hello.protocolVersion,
                "server": hello.serverInfo.name,
                "tools": [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools],
                "ping": pong.model_dump(mode="json", by_alias=True, exclude_none=True),
                "calls": calls,
            }
        )
    )


asyncio.run(main())
