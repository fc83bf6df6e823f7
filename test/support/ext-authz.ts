/** Envoy's part, played to the letter: checks over HTTP and gRPC as Envoy 1.40 sends them, each detail open to a test. */
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { credentials, makeClientConstructor } from "@grpc/grpc-js";
import type { Client, ServiceError } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { ServiceDefinition } from "@grpc/proto-loader";
import { parseOwnJson } from "../../src/json.ts";
import type { Asking, AskingDoor, Body, Told } from "./ask.ts";
import type { TestGateway } from "./gateway.ts";

const file = join(import.meta.dirname, "../../schema/ext_authz.proto");
const service = loadSync(file, { keepCase: true, longs: Number })[
  "envoy.service.auth.v3.Authorization"
] as ServiceDefinition;
const Authorization = makeClientConstructor(service, "Authorization");

export type CheckClient = {
  readonly check: (request: object) => Promise<Body>;
  /** Any method, any bytes. @throws ServiceError */
  readonly raw: (path: string, bytes: Buffer) => Promise<Body>;
  readonly close: () => void;
};

export function checkClient(address: string, secure = credentials.createInsecure()): CheckClient {
  const client: Client = new Authorization(address, secure);
  const call = (path: string, serialize: (value: Body) => Buffer, value: unknown): Promise<Body> =>
    new Promise((resolve, reject) => {
      const deserialize = service["Check"]?.responseDeserialize ?? ((bytes: Buffer) => bytes);
      const done = (fault: ServiceError | null, answer?: unknown) => (fault === null ? resolve(answer) : reject(fault));
      client.makeUnaryRequest(path, serialize, deserialize, value, { deadline: Date.now() + 10_000 }, done);
    });
  const { path, requestSerialize } = service["Check"] as NonNullable<ServiceDefinition[string]>;
  return {
    check: (request) => call(path, requestSerialize, request),
    raw: (other, bytes) => call(other, (value: Buffer) => value, bytes),
    close: () => client.close(),
  };
}

/** The bytes of a CheckRequest. */
export function encodeCheck(request: object): Buffer {
  return (service["Check"] as NonNullable<ServiceDefinition[string]>).requestSerialize(request);
}

export type Checked = {
  readonly key?: string | null;
  readonly method?: string;
  readonly body?: string | Buffer;
  readonly headers?: { readonly [name: string]: string };
  readonly http?: object;
  readonly extensions?: { readonly [name: string]: string };
  readonly filter?: object;
  readonly source?: string;
};

/** As Envoy with `pack_as_bytes` and the body whole. */
export function checkRequest(checked: Checked): object {
  const {
    key = null,
    method = "POST",
    body,
    headers = {},
    http = {},
    extensions,
    filter,
    source = "192.0.2.7",
  } = checked;
  const raw = body === undefined ? undefined : Buffer.from(body as string);
  const own = {
    ":authority": "127.0.0.1:10000",
    ":path": "/mcp",
    ":method": method,
    accept: "application/json, text/event-stream",
    ...(key === null ? {} : { "x-api-key": key }),
    ...(raw === undefined
      ? {}
      : {
          "content-type": "application/json",
          "content-length": String(raw.length),
          "x-envoy-auth-partial-body": "false",
        }),
  };
  return {
    attributes: {
      source: { address: { socket_address: { address: source } } },
      request: {
        http: {
          method,
          host: "127.0.0.1:10000",
          headers: { ...own, ...headers },
          size: raw?.length ?? 0,
          ...(raw === undefined ? {} : { raw_body: raw }),
          ...http,
        },
      },
      context_extensions: extensions ?? { "portcullis.server": "fixture" },
      ...(filter === undefined
        ? {}
        : { metadata_context: { filter_metadata: { "envoy.filters.http.mcp": { fields: filter } } } }),
    },
  };
}

/** The message that Envoy would send. */
export function checkBytes(request: object): Buffer {
  const method = service["Check"] as NonNullable<ServiceDefinition[string]>;
  return method.requestSerialize(request);
}

export function rpc(method: string, params?: object, more: object = {}): string {
  return JSON.stringify({
    jsonrpc: "2.0",
    id: randomUUID(),
    method,
    ...(params === undefined ? {} : { params }),
    ...more,
  });
}

export function use(name: string, args: object = {}): string {
  return rpc("tools/call", { name, arguments: args });
}

/** The check as doors are asked: both forms of it. */
export const CHECKS: { readonly [name: string]: AskingDoor } = {
  "ext_authz over HTTP": async (gateway, asking) => {
    const { key, tool, arguments: args, version, server = "fixture" } = asking;
    const place = version === undefined ? server : `${server}@${version}`;
    const response = await fetch(`${gateway.url}/ext_authz/${place}/mcp`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "x-envoy-auth-partial-body": "false",
        ...(key === null ? {} : { "x-api-key": key }),
      },
      body: use(tool, args),
    });
    const text = await response.text();
    return toldOf(response.status, response.headers, text);
  },
  "ext_authz over gRPC": async (gateway, asking) => toldBy(await checkOnce(gateway, asking)),
};

async function checkOnce(gateway: TestGateway, { key, tool, arguments: args, version, server = "fixture" }: Asking) {
  const client = checkClient(gateway.grpc ?? "");
  const extensions = {
    "portcullis.server": server,
    ...(version === undefined ? {} : { "portcullis.version": version }),
  };
  try {
    return await client.check(checkRequest({ key, body: use(tool, args), extensions }));
  } finally {
    client.close();
  }
}

/** What Envoy would make of the answer. */
export function toldBy({ ok_response: ok, denied_response: denied }: Body): Told {
  const pairs = (options: Body) => (options ?? []).map(({ header }: Body) => [header.key, header.value]);
  if (denied === undefined) return toldOf(200, new Headers(pairs(ok.response_headers_to_add)), "");
  return toldOf(denied.status.code, new Headers(pairs(denied.headers)), denied.body);
}

function toldOf(status: number, headers: Headers, text: string): Told {
  const body = text === "" ? null : (parseOwnJson(text) as Body);
  return {
    code: status === 200 ? "ok" : body.code,
    executed: body?.executed ?? null,
    callId: body?.callId ?? headers.get("portcullis-call-id"),
    status,
    reasons: body?.reasons ?? null,
    detail: body?.detail ?? null,
    text,
    headers,
  };
}
