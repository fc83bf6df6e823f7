/** One call of a tool, asked at each door in its own words, and the answer in words that all doors share. */
import { randomUUID } from "node:crypto";
import { parseOwnJson } from "../../src/json.ts";
import type { TestGateway } from "./gateway.ts";

export type Asking = {
  readonly key: string | null;
  /** Upstream name; the doors that multiplex put the server before it. */
  readonly tool: string;
  readonly arguments?: object;
  readonly version?: string;
  readonly server?: string;
};
export type Told = {
  /** `ok`, or the refusal's code. */
  readonly code: string;
  readonly executed: string | null;
  readonly callId: string | null;
  readonly status: number;
  readonly reasons: readonly string[] | null;
  /** The refusal's sentence. */
  readonly detail: string | null;
  /** The result's text, where there is one. */
  readonly text: string;
  readonly headers: Headers;
};
/** An answer's body, whatever it is: each test says what it expects. */
// oxlint-disable-next-line typescript/no-explicit-any -- one place for all tests
export type Body = any;
export type AskingDoor = (gateway: TestGateway, asking: Asking) => Promise<Told>;

export const DOORS: { readonly [name: string]: AskingDoor } = {
  rest,
  "mcp 2026-07-28": modern("/mcp", (server, tool) => `${server}__${tool}`),
  "mcp 2026-07-28, one server": modern("/mcp/fixture", (_, tool) => tool),
  "mcp 2025-11-25": legacy("/mcp", (server, tool) => `${server}__${tool}`),
  "mcp 2025-06-18, one server": legacy("/mcp/fixture", (_, tool) => tool, "2025-06-18"),
  graphql,
  trpc,
};

export async function post(
  url: string,
  key: string | null,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<{ response: Response; json: Body }> {
  const credential: Record<string, string> = key === null ? {} : credentialOf(key);
  const response = await fetch(url, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      ...credential,
      ...headers,
    },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  const text = await response.text();
  return { response, json: text === "" ? null : (parseOwnJson(text) as Body) };
}

/** A token goes where RFC 6750 puts it. */
function credentialOf(key: string): Record<string, string> {
  return key.startsWith("ey") ? { authorization: `Bearer ${key}` } : { "x-api-key": key };
}

type Facts = {
  readonly code?: string;
  readonly executed?: string;
  readonly callId?: string;
  readonly reasons?: string[];
  readonly detail?: string;
};

function told({ response }: { response: Response }, refusal: Facts | null, result: unknown): Told {
  return {
    code: refusal?.code ?? "ok",
    executed: refusal?.executed ?? null,
    callId: refusal?.callId ?? response.headers.get("portcullis-call-id"),
    status: response.status,
    reasons: refusal?.reasons ?? null,
    detail: refusal?.detail ?? null,
    text: JSON.stringify(result ?? null),
    headers: response.headers,
  };
}

async function rest(
  gateway: TestGateway,
  { key, tool, arguments: args = {}, version, server = "fixture" }: Asking,
): Promise<Told> {
  const query = version === undefined ? "" : `?version=${version}`;
  const answer = await post(`${gateway.url}/tools/${server}__${tool}/call${query}`, key, { arguments: args });
  return told(answer, answer.response.ok ? null : answer.json, answer.json);
}

function modern(path: string, name: (server: string, tool: string) => string): AskingDoor {
  return async (gateway, { key, tool, arguments: args = {}, version, server = "fixture" }) => {
    const full = name(server, tool);
    const meta = {
      "io.modelcontextprotocol/protocolVersion": "2026-07-28",
      "io.modelcontextprotocol/clientCapabilities": {},
      ...(version === undefined ? {} : { "portcullis/version": version }),
    };
    const body = {
      jsonrpc: "2.0",
      id: randomUUID(),
      method: "tools/call",
      params: { name: full, arguments: args, _meta: meta },
    };
    const headers = { "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": full };
    const answer = await post(`${gateway.url}${path}`, key, body, headers);
    return fromRpc(answer);
  };
}

function legacy(path: string, name: (server: string, tool: string) => string, protocol = "2025-11-25"): AskingDoor {
  return async (gateway, { key, tool, arguments: args = {}, version, server = "fixture" }) => {
    const meta = version === undefined ? {} : { _meta: { "portcullis/version": version } };
    const body = {
      jsonrpc: "2.0",
      id: 7,
      method: "tools/call",
      params: { name: name(server, tool), arguments: args, ...meta },
    };
    return fromRpc(await post(`${gateway.url}${path}`, key, body, { "mcp-protocol-version": protocol }));
  };
}

function fromRpc(answer: { response: Response; json: Body }): Told {
  const { json } = answer;
  const refusal: Facts | null = json?.error?.data ?? json?.result?._meta?.["portcullis/refusal"] ?? null;
  // an upstream's own error passes as it is, without our fields
  if (refusal?.code === undefined && json?.error !== undefined)
    return told(answer, { code: "upstream_error", executed: "yes" }, json.error);
  return told(answer, refusal, json?.result);
}

async function graphql(
  gateway: TestGateway,
  { key, tool, arguments: args = {}, version, server = "fixture" }: Asking,
): Promise<Told> {
  const query =
    "mutation ($tool: String!, $version: String, $arguments: JSON!) { callTool(tool: $tool, version: $version, arguments: $arguments) { callId content structuredContent isError } }";
  const answer = await post(`${gateway.url}/graphql`, key, {
    query,
    variables: { tool: `${server}__${tool}`, version: version ?? null, arguments: args },
  });
  const error = answer.json?.errors?.[0];
  const ok = told(answer, error === undefined ? null : error.extensions, answer.json?.data?.callTool);
  return { ...ok, callId: ok.callId ?? answer.json?.data?.callTool?.callId ?? null };
}

async function trpc(
  gateway: TestGateway,
  { key, tool, arguments: args = {}, version, server = "fixture" }: Asking,
): Promise<Told> {
  const answer = await post(`http://${gateway.admin}/trpc/tools.callTool`, key, {
    tool: `${server}__${tool}`,
    version: version ?? null,
    arguments: args,
  });
  return told(answer, answer.json?.error?.data?.portcullis ?? null, answer.json?.result?.data);
}
