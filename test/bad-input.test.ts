/** What no honest client sends: each gets its row of the error table and an audit record, and leaves the gateway serving. */
import { hash } from "node:crypto";
import { request } from "node:http";
import type { IncomingMessage } from "node:http";
import { connect } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { DOORS, post } from "./support/ask.ts";
import type { Body } from "./support/ask.ts";
import { discovered, fixtureServer, KEYS, keyOf, startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";
import { GARBAGE } from "./support/upstreams/fixture-tools.ts";

let fixture: Fixture;
let gateway: TestGateway;

beforeAll(async () => {
  fixture = await startFixture({ era: "both" });
  gateway = await startGateway({
    maxResult: 1024 * 1024,
    auth: {
      keys: ["alice", "oscar", "ada", "root"].map((id) => ({ id, principal: id, hash: hashOf(id) })),
      addressLimit: { failures: 20, window: "60s" },
    },
    servers: [fixtureServer(fixture, { timeout: "5s" })],
  });
  await discovered(gateway, "fixture");
});
afterAll(async () => {
  await gateway.close();
  await fixture.close();
});
afterEach(async () => {
  const told = await DOORS["rest"]!(gateway, { key: KEYS.alice, tool: "echo", arguments: { text: "still here" } });
  expect(told.code).toBe("ok");
});

function hashOf(id: string): string {
  return `sha256:${hash("sha256", keyOf(id), "hex")}`;
}

type Raw = {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: readonly (readonly [string, string])[];
  readonly body?: string | Buffer;
};

/** A request whose headers are sent as they are given, repetitions included. */
function raw({
  method = "POST",
  path = "/tools/fixture__echo/call",
  headers = [],
  body = "",
}: Raw): Promise<{ status: number; headers: IncomingMessage["headers"]; json: Body }> {
  const [host, port] = gateway.traffic.split(":");
  const base = [
    ["Host", "127.0.0.1"],
    ["x-api-key", KEYS.alice],
    ["content-type", "application/json"],
  ] as const;
  const kept = base.filter(([name]) => !headers.some(([given]) => given.toLowerCase() === name.toLowerCase()));
  const length = method === "GET" ? [] : [["content-length", String(Buffer.byteLength(body))] as const];
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        host,
        port: Number(port),
        method,
        path,
        setHost: false,
        headers: [...kept, ...length, ...headers].flat() as unknown as Record<string, string>,
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () => {
          const text = Buffer.concat(chunks).toString();
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            json: text.startsWith("{") ? JSON.parse(text) : text,
          });
        });
      },
    );
    sent.on("error", reject);
    sent.end(body);
  });
}

async function recordOf(callId: string): Promise<readonly unknown[]> {
  return (await gateway.records())
    .filter((record) => record["portcullis.call.id"] === callId)
    .map((record) => record["error.type"]);
}

const good = '{"arguments":{"text":"x"}}';
const ROWS: readonly (readonly [string, Raw, number, string])[] = [
  ["malformed JSON", { body: '{"arguments":' }, 400, "invalid_request"],
  ["a duplicate key", { body: '{"arguments":{"text":"a","text":"b"}}' }, 400, "invalid_request"],
  ["a duplicate top-level key", { body: '{"arguments":{},"arguments":{"text":"b"}}' }, 400, "invalid_request"],
  ["__proto__", { body: '{"arguments":{"__proto__":{"x":1}}}' }, 400, "invalid_request"],
  ["bytes that are not UTF-8", { body: Buffer.from([0x7b, 0xff, 0x7d]) }, 400, "invalid_request"],
  ["a nesting of 100", { body: `{"arguments":${'{"a":'.repeat(100)}1${"}".repeat(100)}}` }, 400, "invalid_request"],
  [
    "a number of more digits than can be kept",
    { body: '{"arguments":{"text":12345678901234567890}}' },
    400,
    "invalid_request",
  ],
  ["a lone surrogate", { body: String.raw`{"arguments":{"text":"\ud800"}}` }, 400, "invalid_request"],
  ["a body that is no object", { body: "[1]" }, 400, "invalid_request"],
  ["an unknown key beside arguments", { body: '{"arguments":{},"admin":true}' }, 400, "invalid_request"],
  ["arguments that are no object", { body: '{"arguments":[1]}' }, 400, "invalid_request"],
  ["another content type", { body: good, headers: [["content-type", "text/plain"]] }, 415, "invalid_request"],
  ["a compressed body", { body: good, headers: [["content-encoding", "gzip"]] }, 415, "invalid_request"],
  ["a foreign Host", { body: good, headers: [["Host", "evil.example"]] }, 403, "invalid_request"],
  ["a foreign Origin", { body: good, headers: [["origin", "https://evil.example"]] }, 403, "invalid_request"],
  ["Origin null", { body: good, headers: [["origin", "null"]] }, 403, "invalid_request"],
  [
    "two Origins",
    {
      body: good,
      headers: [
        ["origin", "http://localhost"],
        ["origin", "https://evil.example"],
      ],
    },
    400,
    "invalid_request",
  ],
  [
    "two keys",
    {
      body: good,
      headers: [
        ["x-api-key", KEYS.alice],
        ["x-api-key", KEYS.ada],
      ],
    },
    400,
    "invalid_request",
  ],
  [
    "two credentials that disagree",
    {
      body: good,
      headers: [
        ["x-api-key", KEYS.alice],
        ["authorization", `Bearer ${KEYS.ada}`],
      ],
    },
    400,
    "invalid_request",
  ],
  [
    "two trace contexts",
    {
      body: good,
      headers: [
        ["traceparent", "00-1"],
        ["traceparent", "00-2"],
      ],
    },
    400,
    "invalid_request",
  ],
  ["another method", { method: "PUT", body: good }, 405, "invalid_request"],
  ["a path that is not there", { path: "/nothing", body: good }, 404, "invalid_request"],
  ["a path with an encoded slash", { path: "/tools/a%2fb/call", body: good }, 404, "tool_not_found"],
  ["a broken escape in the path", { path: "/tools/%zz/call", body: good }, 404, "invalid_request"],
  [
    "a version said twice",
    { path: "/tools/fixture__echo/call?version=1&version=2", body: good },
    400,
    "invalid_request",
  ],
  ["a parameter nobody knows", { method: "GET", path: "/tools?sever=fixture" }, 400, "invalid_request"],
  ["a cursor that is not ours", { method: "GET", path: "/tools?cursor=AAAA" }, 400, "invalid_request"],
];

describe("a bad request", () => {
  test.each(ROWS)("%s", async (_, sent, status, code) => {
    const before = fixture.state.arrivals.length;
    const answer = await raw(sent);
    expect(answer.status).toBe(status);
    expect(answer.headers["content-type"]).toBe("application/problem+json");
    expect(answer.json).toMatchObject({ code, executed: "no", retryable: false });
    expect(answer.headers["portcullis-call-id"]).toBe(answer.json.callId);
    expect(fixture.state.arrivals.length).toBe(before);
    // refused before anybody was looked for: counted with others of its kind and address
    const unread =
      answer.status === 403 || _.startsWith("two ") || sent.headers?.some(([name]) => name === "content-encoding");
    if (unread !== true) expect(await recordOf(answer.json.callId)).toEqual([code]);
  });

  test("with 50 MB of body is cut off early, and the answer says why", async () => {
    const body = Buffer.concat([
      Buffer.from('{"arguments":{"text":"'),
      Buffer.alloc(50 * 1024 * 1024, 0x61),
      Buffer.from('"}}'),
    ]);
    const answer = await raw({ body }).catch((cause: NodeJS.ErrnoException) => cause.code);
    if (typeof answer === "object") expect(answer.json).toMatchObject({ code: "payload_too_large", executed: "no" });
    else expect(["EPIPE", "ECONNRESET"]).toContain(answer);
    expect((await gateway.records()).map((record) => record["error.type"])).toContain("payload_too_large");
  });

  test("with a body larger than the cap but without a length is cut off as its bytes arrive", async () => {
    const status = await chunked(6 * 1024 * 1024);
    expect(status).toBe(413);
  });

  test("that is no HTTP at all is answered with 400 and closed", async () => {
    const [host, port] = gateway.traffic.split(":");
    const text = await new Promise<string>((resolve) => {
      const socket = connect(Number(port), host, () => socket.write("hello\r\n\r\n"));
      let got = "";
      socket.on("data", (chunk) => (got += chunk.toString()));
      socket.on("close", () => resolve(got));
    });
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
  });
});

function chunked(bytes: number): Promise<number> {
  const [host, port] = gateway.traffic.split(":");
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        host,
        port: Number(port),
        method: "POST",
        path: "/tools/fixture__echo/call",
        headers: { "x-api-key": KEYS.alice, "content-type": "application/json", "transfer-encoding": "chunked" },
      },
      (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      },
    );
    sent.on("error", (cause: NodeJS.ErrnoException) =>
      cause.code === "EPIPE" || cause.code === "ECONNRESET" ? undefined : reject(cause),
    );
    sent.write('{"arguments":{"text":"');
    for (let left = bytes; left > 0; left -= 65_536) sent.write(Buffer.alloc(65_536, 0x61));
    sent.end('"}}');
  });
}

describe("an upstream", () => {
  const call = (tool: string, args: object = {}) => DOORS["rest"]!(gateway, { key: KEYS.alice, tool, arguments: args });

  test.each(GARBAGE)(
    "that answers garbage (%s) is upstream_error, and none of its bytes come through",
    async (kind) => {
      const told = await call("garbage", { kind });
      expect(told.code).toBe("upstream_error");
      expect(["yes", "unknown"]).toContain(told.executed);
      expect(told.text).not.toMatch(/not json|987654|isError/);
      expect(await recordOf(told.callId ?? "")).toContain("upstream_error");
    },
  );

  test("that sends more than the cap is upstream_error, cut off before it is all there", async () => {
    expect(await call("big", { bytes: 100 * 1024 * 1024 })).toMatchObject({ code: "upstream_error" });
  });

  test("that asks something back is input_required at a door that cannot ask", async () => {
    expect(await call("input_required")).toMatchObject({ code: "input_required", status: 409 });
  });

  test("that is gone leaves its tools listed, and calls say that nothing was executed", async () => {
    const gone = await startFixture();
    await gateway.rewrite({
      servers: [fixtureServer(fixture, { timeout: "5s" }), fixtureServer(gone, { name: "gone" })],
    });
    await discovered(gateway, "gone");
    await gone.close();
    const told = await DOORS["rest"]!(gateway, { key: KEYS.alice, server: "gone", tool: "echo" });
    expect(told).toMatchObject({ code: "upstream_unavailable", executed: "no", status: 503 });
    const list = await fetch(`${gateway.url}/tools?server=gone`, { headers: { "x-api-key": KEYS.alice } });
    expect(((await list.json()) as { tools: unknown[] }).tools.length).toBeGreaterThan(0);
  });
});

describe("a flood of wrong keys", () => {
  test("begins with two that look alike: an unknown id and a wrong secret", async () => {
    const path = `${gateway.url}/tools/fixture__echo/call`;
    const unknown = await post(path, keyOf("stranger"), {});
    const wrong = await post(path, `pc_alice_${"1".repeat(64)}`, {});
    const text = ({ json }: { json: { callId: string } }): string => JSON.stringify({ ...json, callId: "" });
    expect(text(unknown)).toBe(text(wrong));
  });

  test("is refused in two ways, folded into few records, and locks out nobody who has a key", async () => {
    const before = (await gateway.records()).length;
    const codes = new Map<string, number>();
    for (let round = 0; round < 10; round++) {
      const answers = await Promise.all(
        Array.from({ length: 50 }, (_, index) =>
          post(`${gateway.url}/tools/fixture__echo/call`, keyOf(`stranger${round}x${index}`), {}),
        ),
      );
      for (const { json } of answers) codes.set(json.code, (codes.get(json.code) ?? 0) + 1);
      const told = await DOORS["rest"]!(gateway, { key: KEYS.alice, tool: "echo" });
      expect(told.code).toBe("ok");
    }
    expect([...codes.keys()].toSorted()).toEqual(["rate_limited", "unauthenticated"]);
    expect(codes.get("unauthenticated")).toBeLessThanOrEqual(20);
    const own = 10 * 2;
    expect((await gateway.records()).length - before - own).toBeLessThan(20);
  });
});
