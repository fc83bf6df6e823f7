/** The promise: what the admin API cannot read is refused and recorded like any call, and nothing of ours leaks with the answer. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TRPCError } from "@trpc/server";
import type { Exchange } from "../src/doors/exchange.ts";
import { trpcDoor } from "../src/doors/trpc/door.ts";
import { adminRouter } from "../src/doors/trpc/router.ts";
import { ADMIN_PERMISSIONS } from "../src/operations.ts";
import { BASE_CONFIG, KEYS, startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";

let gateway: TestGateway;

beforeAll(async () => {
  gateway = await startGateway({ roles: { ...BASE_CONFIG.roles, admin: ADMIN_PERMISSIONS } });
});
afterAll(() => gateway.close());

type Told = { readonly code: string; readonly callId: string; readonly executed: string };
type Sent = {
  readonly path: string;
  readonly key?: string | null;
  readonly method?: string;
  readonly body?: string;
  readonly headers?: { readonly [name: string]: string };
};

/** By hand, as no well-behaved client would. */
async function send({ path, key = KEYS.root, method = "POST", body, headers = {} }: Sent) {
  const credential: { [name: string]: string } = key === null ? {} : { "x-api-key": key };
  const response = await fetch(`http://${gateway.admin}/trpc/${path}`, {
    method,
    headers: { ...credential, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
    ...(body === undefined ? {} : { body }),
  });
  const json = JSON.parse(await response.text()) as {
    error?: { code: number; message: string; data: { portcullis: Told & { errors?: object[] } } };
    result?: { data: object };
  };
  return { status: response.status, headers: response.headers, json, told: json.error?.data.portcullis };
}

describe("a malformed request", () => {
  const query = (input: string) => `?${new URLSearchParams({ input }).toString()}`;
  const ROWS: readonly (readonly [string, Sent, number])[] = [
    ["an unknown procedure", { path: "keys.steal", body: "{}" }, 404],
    ["a name of an object's prototype", { path: "toString", body: "{}" }, 404],
    ["a batch", { path: "keys.list?batch=1", body: "{}" }, 400],
    ["a batch of several", { path: "keys.list,keys.list?batch=1", body: "{}" }, 404],
    ["a change by GET", { path: `keys.revoke${query('{"id":"x"}')}`, method: "GET" }, 405],
    ["another method", { path: "keys.list", method: "DELETE" }, 405],
    [
      "another content type",
      { path: "keys.list", body: "a=1", headers: { "content-type": "application/x-www-form-urlencoded" } },
      415,
    ],
    [
      "a form, as a page of another site could send",
      { path: "keys.issue", body: "{}", headers: { "content-type": "text/plain" } },
      415,
    ],
    ["another site's Origin", { path: "keys.list", body: "{}", headers: { origin: "https://evil.example" } }, 403],
    ["duplicate keys in the body", { path: "keys.revoke", body: '{"id":"a","id":"b"}' }, 400],
    ["duplicate keys in the query", { path: `audit.calls${query('{"first":1,"first":2}')}`, method: "GET" }, 400],
    ["an unknown input", { path: "audit.calls", body: '{"filter":{"all":true}}' }, 400],
    ["no input at all", { path: "keys.revoke" }, 400],
    ["a list as input", { path: "keys.revoke", body: "[1]" }, 400],
  ];

  test.each(ROWS)("%s is refused and recorded", async (_, sent, status) => {
    const { told, headers, ...answer } = await send(sent);
    expect(answer.status).toBe(status);
    expect(told).toMatchObject({ code: "invalid_request", executed: "no" });
    expect(headers.get("portcullis-call-id")).toBe(told?.callId);
    expect((await gateway.records()).find((one) => one["portcullis.call.id"] === told?.callId)).toMatchObject({
      "error.type": "invalid_request",
    });
  });

  test.each(ROWS.filter(([, { headers }]) => headers === undefined))(
    "%s tells a stranger only that it is one",
    async (_, sent) => {
      const { status, told, headers } = await send({ ...sent, key: null });
      expect({ status, code: told?.code }).toEqual({ status: 401, code: "unauthenticated" });
      expect(headers.get("www-authenticate")).toContain("Bearer");
      expect(told).not.toHaveProperty("errors");
    },
  );

  test("names the place of what is wrong", async () => {
    const { told } = await send({ path: "audit.calls", body: '{"first":0,"filter":{"tool":5}}' });
    expect(told?.errors?.map((error) => (error as { pointer: string }).pointer).toSorted()).toEqual([
      "/filter/tool",
      "/first",
    ]);
  });

  test("may be asked again by GET where it only reads", async () => {
    const { status, json } = await send({ path: `audit.calls${query('{"first":1}')}`, method: "GET" });
    expect(status).toBe(200);
    expect(json.result?.data).toHaveProperty("rows");
  });
});

describe("what leaves the door", () => {
  test("is never a stack or a cause, whatever breaks", async () => {
    const secret = "hunter2 at /etc/shadow";
    const broken = {
      ...gateway.gateway,
      audit: {
        ...gateway.gateway.audit,
        projection: { ...gateway.gateway.audit.projection, page: () => Promise.reject(new TypeError(secret)) },
      },
    };
    const answer = await inMemory(broken, { first: 1 });
    expect(answer.status).toBe(500);
    expect(JSON.parse(answer.body)).toMatchObject({
      error: { message: "The gateway failed.", data: { portcullis: { code: "internal" } } },
    });
    expect(answer.body).not.toMatch(/hunter2|TypeError|stack|\.ts/);
  });

  test("is as little when tRPC itself fails, outside every procedure", () => {
    const error = new TRPCError({ code: "PARSE_ERROR", message: "hunter2" });
    const shape = {
      code: -32700,
      message: error.message,
      data: { code: error.code, httpStatus: 400, stack: "at hunter2" },
    } as const;
    const told = adminRouter._def._config.errorFormatter({
      error,
      shape,
      ctx: undefined,
      input: {},
      path: "",
      type: "unknown",
    });
    expect(JSON.stringify(told)).not.toContain("hunter2");
  });

  test("has the numbers of the contract, none of those that MCP keeps for itself", async () => {
    expect((await send({ path: "keys.list", body: "{}", key: null })).json.error?.code).toBe(-31401);
    expect((await send({ path: "keys.list", body: "{}", key: KEYS.alice })).json.error?.code).toBe(-31403);
  });

  test("is never what a header asked for: no stream, no other form", async () => {
    const { headers, json } = await send({
      path: "keys.list",
      body: "{}",
      headers: { "trpc-accept": "application/jsonl", accept: "application/jsonl" },
    });
    expect(headers.get("content-type")).toContain("application/json");
    expect(json.result?.data).toEqual(expect.any(Array));
  });

  async function inMemory(to: TestGateway["gateway"], body: { readonly [key: string]: number }) {
    const answered = { status: 0, body: "" };
    const exchange: Exchange = {
      method: "POST",
      path: "/trpc/audit.calls",
      query: new URLSearchParams(),
      headers: {},
      body,
      ip: "local",
      credential: { kind: "local" },
      signal: new AbortController().signal,
      reply: (status, _, text) => Object.assign(answered, { status, body: text }),
      stream: () => {
        throw new Error("this door has no streams");
      },
    };
    await trpcDoor(to, exchange);
    return answered;
  }
});
