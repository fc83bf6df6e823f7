/** The official clients of both generations list, call, follow and cancel, whichever era the server behind is of. */
import { Client as NewClient, StreamableHTTPClientTransport as NewTransport } from "@modelcontextprotocol/client";
import { Client as OldClient } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as OldTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { setUp } from "./mcp-door-client.ts";
import type { Setup } from "./mcp-door-client.ts";
import { KEYS, until } from "./support/gateway.ts";

let it: Setup;
beforeAll(async () => {
  it = await setUp();
});
afterAll(() => it.close());
beforeEach(() => {
  it.modern.cancelled.length = 0;
  it.legacy.cancelled.length = 0;
});

const INFO = { name: "reference", version: "1" };
const init = { requestInit: { headers: { "x-api-key": KEYS.alice } } };

async function connect(kind: string, path: string) {
  const url = new URL(it.gateway.url + path);
  if (kind === "v1") {
    const client = new OldClient(INFO);
    await client.connect(new OldTransport(url, init));
    return client;
  }
  const mode =
    kind === "v2 modern" ? { pin: "2026-07-28" } : kind === "v2 auto" ? ("auto" as const) : ("legacy" as const);
  const client = new NewClient(INFO, { versionNegotiation: { mode } });
  await client.connect(new NewTransport(url, init));
  return client;
}

const KINDS = ["v1", "v2 legacy", "v2 modern", "v2 auto"];
const cells = KINDS.flatMap((kind) => ["new", "old"].map((server) => [kind, server] as const));

test.each(cells)("%s, server %s, multiplexed", async (kind, server) => {
  const client = await connect(kind, "/mcp");
  expect(client.getServerVersion()).toMatchObject({ name: "portcullis" });
  const { tools } = await client.listTools();
  expect(tools.map(({ name }) => name)).toContain(`${server}__echo`);
  const result = await client.callTool({ name: `${server}__echo`, arguments: { hello: "world" } });
  expect(result).toMatchObject({ content: [{ type: "text", text: '{"hello":"world"}' }] });
  const refused = await client.callTool({ name: `${server}__secret`, arguments: {} });
  expect(refused).toMatchObject({ isError: true, _meta: { "portcullis/refusal": { code: "forbidden" } } });
  await expect(client.callTool({ name: `${server}__none`, arguments: {} })).rejects.toMatchObject({ code: -32602 });
  await client.close();
});

test.each(cells)("%s, server %s, transparent, with progress and mirrored arguments", async (kind, server) => {
  const client = await connect(kind, `/mcp/${server}`);
  expect(client.getServerVersion()).toMatchObject({ name: "raw-server" });
  expect(client.getInstructions()).toBe("Be kind.");
  await client.listTools();
  const marked = await client.callTool({ name: "marked", arguments: { region: " größe " } });
  expect(marked).toMatchObject({ content: [{ text: '{"region":" größe "}' }] });
  const heard: number[] = [];
  const params = { name: "slow", arguments: { ms: 100 } };
  const onprogress = ({ progress }: { progress: number }) => void heard.push(progress);
  // the two generations order these parameters differently
  const result = await (client instanceof OldClient
    ? client.callTool(params, undefined, { onprogress })
    : client.callTool(params, { onprogress }));
  expect(result).toMatchObject({ content: [{ text: "done" }] });
  expect(heard.length).toBeGreaterThan(1);
  await client.close();
});

test.each(cells)("%s, server %s: an aborted call is cancelled there", async (kind, server) => {
  const upstream = server === "new" ? it.modern : it.legacy;
  const client = await connect(kind, "/mcp");
  const before = upstream.calls.length;
  const abort = new AbortController();
  const params = { name: `${server}__slow`, arguments: { ms: 5000 } };
  const { signal } = abort;
  const call =
    client instanceof OldClient ? client.callTool(params, undefined, { signal }) : client.callTool(params, { signal });
  const settled = call.then(
    () => "answered",
    () => "aborted",
  );
  await until(() => upstream.calls.length > before, "the call has arrived");
  abort.abort();
  expect(await settled).toBe("aborted");
  await until(() => upstream.cancelled.length === 1, "the server heard");
  await client.close();
});

test.each(KINDS)("%s ends its session in peace and is told no without a key", async (kind) => {
  const client = await connect(kind, "/mcp");
  const { transport } = client;
  if (transport !== undefined && "terminateSession" in transport) await (transport as OldTransport).terminateSession();
  await client.close();
  const stranger =
    kind === "v1"
      ? new OldClient(INFO)
      : new NewClient(INFO, { versionNegotiation: { mode: kind === "v2 legacy" ? "legacy" : "auto" } });
  const url = new URL(`${it.gateway.url}/mcp`);
  const connecting =
    stranger instanceof OldClient ? stranger.connect(new OldTransport(url)) : stranger.connect(new NewTransport(url));
  await expect(connecting).rejects.toThrow(/401|unauthori|credential/i);
});
