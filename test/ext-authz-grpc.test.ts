/** Over gRPC a check says more, and more of it can be wrong; and the port itself: off by default, bounded, drained, by TLS beyond loopback. */
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { connect as connectHttp2, constants } from "node:http2";
import type { Settings } from "node:http2";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { credentials } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { call, openFront } from "./ext-authz-front.ts";
import type { Front } from "./ext-authz-front.ts";
import type { Body } from "./support/ask.ts";
import { checkClient, checkRequest, encodeCheck, rpc, toldBy, use } from "./support/ext-authz.ts";
import { discovered, fixtureServer, keyOf, KEYS, startGateway, until } from "./support/gateway.ts";
import { lacks, requirePart, run } from "./support/parts.ts";

const alice = KEYS.alice;
let front: Front;
beforeAll(async () => {
  front = await openFront();
});
afterAll(() => front.close());

describe("over gRPC besides", () => {
  const at = { key: alice, body: call };
  test.each([
    ["a size that differs", { ...at, http: { size: 9999 } }, 413],
    ["a length that differs", { ...at, headers: { "content-length": "9999" } }, 413],
    ["a body that is there and did not come", { key: alice, http: { size: 10 } }, 413],
    ["no word on whether it is whole", { ...at, headers: { "x-envoy-auth-partial-body": "" } }, 413],
    [
      "a body as text, which Envoy may have mended",
      { key: alice, http: { body: Buffer.from(call), size: call.length } },
      400,
    ],
  ])("refuses %s", async (_, checked, status) => {
    expect(await front.overGrpc(checked)).toMatchObject({ status });
  });
  test("takes an unknown size, and headers kept apart", async () => {
    expect(await front.overGrpc({ ...at, http: { size: -1 } })).toMatchObject({ code: "ok" });
    const { attributes }: Body = checkRequest(at);
    const pairs = Object.entries(attributes.request.http.headers);
    const apart = (more: readonly (readonly [string, unknown])[]) => ({
      ...at,
      http: {
        headers: {},
        header_map: {
          headers: [...pairs, ...more].map(([key, value]) => ({ key, raw_value: Buffer.from(String(value)) })),
        },
      },
    });
    expect(await front.overGrpc(apart([]))).toMatchObject({ code: "ok" });
    expect(await front.overGrpc(apart([["X-API-Key", alice]]))).toMatchObject({ status: 400 });
  });
  const named = (method: string, name?: string) => ({
    method: { stringValue: method },
    ...(name === undefined ? {} : { params: { structValue: { fields: { name: { stringValue: name } } } } }),
  });
  test.each([
    ["agrees", named("tools/call", "echo"), "ok"],
    ["knows the method alone", named("tools/call"), "ok"],
    ["read another name", named("tools/call", "big"), "invalid_request"],
    ["read another method", named("ping"), "invalid_request"],
    ["read nothing", {}, "invalid_request"],
  ])("asks that Envoy's MCP filter read the same: where it %s", async (_, filter, code) => {
    expect(await front.overGrpc({ ...at, filter })).toMatchObject({ code });
  });
  test("and an answer of the client's as such", async () => {
    const body = '{"jsonrpc":"2.0","id":1,"result":{}}';
    expect(await front.overGrpc({ key: alice, body, filter: named("__jsonrpc_response") })).toMatchObject({
      code: "ok",
    });
    expect(await front.overGrpc({ key: alice, body, filter: named("ping") })).toMatchObject({
      code: "invalid_request",
    });
  });
  test("does not decide on what the filter read alone", async () => {
    expect(await front.overGrpc({ key: alice, filter: named("tools/call", "echo") })).toMatchObject({
      code: "invalid_request",
    });
  });
  test("a Host that nobody listed is refused", async () => {
    expect(await front.overGrpc({ ...at, http: { host: "evil.example" } })).toMatchObject({ status: 403 });
    expect(
      await front.overGrpc({ ...at, headers: { host: "127.0.0.1" }, http: { host: "evil.example" } }),
    ).toMatchObject({
      status: 403,
    });
  });
  test("bytes that are no message are refused like any other, and recorded", async () => {
    const fresh = await startGateway({ extAuthz: { grpc: "127.0.0.1:0" } });
    const other = checkClient(fresh.grpc ?? "");
    try {
      const garbage = Buffer.from([0x0a, 0xff, 0xff, 0x01]);
      const answer = await other.raw("/envoy.service.auth.v3.Authorization/Check", garbage);
      expect(toldBy(answer)).toMatchObject({ status: 400, code: "invalid_request" });
      expect(await fresh.records()).toMatchObject([
        { "portcullis.record": "refusal", "portcullis.interface": "ext_authz", "client.address": "127.0.0.1" },
      ]);
      expect(toldBy(await other.check({}))).toMatchObject({ status: 400, code: "invalid_request" });
    } finally {
      other.close();
      await fresh.close();
    }
  });
  test("a message larger than a body may be is not read", async () => {
    await expect(
      front.overGrpc({ key: alice, body: use("echo", { text: "x".repeat(300_000) }) }),
    ).rejects.toMatchObject({
      code: 8,
    });
  });
  test.each(["/envoy.service.auth.v3.Authorization/Other", "/envoy.service.auth.v2.Authorization/Check"])(
    "%s is not implemented",
    async (path) => {
      await expect(front.client.raw(path, Buffer.alloc(0))).rejects.toMatchObject({ code: 12 });
    },
  );
  test("policy sees the client's address, and the audit too; not what the client says of it", async () => {
    const told = toldBy(
      await front.client.check(
        checkRequest({ ...at, source: "203.0.113.9", headers: { "x-forwarded-for": "1.2.3.4" } }),
      ),
    );
    const record = (await front.gateway.records()).find((one) => one["portcullis.call.id"] === told.callId);
    expect(record).toMatchObject({ "client.address": "203.0.113.9", "portcullis.interface": "ext_authz" });
  });
  test("an answer says who it was, takes the credential away and tells Envoy more", async () => {
    const answer = await front.client.check(checkRequest({ ...at, key: keyOf("zoe") }));
    const headers = Object.fromEntries(
      answer.ok_response.headers.map(({ header }: Body) => [header.key, header.value]),
    );
    expect(headers).toEqual({
      "x-portcullis-call-id": expect.stringMatching(/^[0-9a-f-]{36}$/),
      "x-portcullis-principal": "zo%C3%AB%20%25%0A",
    });
    expect(answer.ok_response.headers_to_remove).toEqual(["authorization", "x-api-key"]);
    const { fields } = answer.dynamic_metadata;
    const said = Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, (value as Body).stringValue]));
    expect(said).toEqual({
      call_id: headers["x-portcullis-call-id"],
      principal: "zoë %\n",
      tool: "echo",
      server: "fixture",
      version: "1.0.0",
      decision: "allow",
    });
    expect((await front.client.check(checkRequest({ body: call }))).status.code).toBe(16);
    expect((await front.client.check(checkRequest({ key: alice, body: use("big") }))).status.code).toBe(7);
  });
});

describe("what a connection may take", () => {
  test("is so many streams at a time, and it is told so", async () => {
    const session = connectHttp2(`http://${front.gateway.grpc}`);
    const [{ maxConcurrentStreams }] = (await once(session, "remoteSettings")) as [Settings];
    session.destroy();
    expect(maxConcurrentStreams).toBe(128);
  });
  test("is one place of so many: those beyond are closed, those within go on, and a place that is left is free", async () => {
    const own = await startGateway({ extAuthz: { grpc: "127.0.0.1:0" } });
    const [host, port] = (own.grpc ?? "").split(":");
    const within = checkClient(own.grpc ?? "");
    const open = () => connect(Number(port), host);
    try {
      await within.check(checkRequest({ body: call }));
      const sockets = Array.from({ length: 600 }, open);
      const closed = new Set<Socket>();
      for (const socket of sockets) socket.on("error", () => {}).on("close", () => closed.add(socket));
      await until(() => closed.size >= 600 - 511, "those beyond are closed");
      await sleep(200);
      expect(sockets.length - closed.size).toBe(511);
      expect(toldBy(await within.check(checkRequest({ body: call })))).toMatchObject({ status: 401 });
      for (const socket of sockets) socket.destroy();
      const stays = async () => {
        const late = open().on("error", () => {});
        await sleep(200);
        const stayed = !late.destroyed;
        late.destroy();
        return stayed;
      };
      await until(stays, "a place that was left is free");
    } finally {
      within.close();
      await own.close();
    }
  });
});

test("a check that Envoy gives up, since its client went away, is recorded as cancelled and lets nothing through", async () => {
  const own = await startGateway({ extAuthz: { grpc: "127.0.0.1:0" }, servers: [fixtureServer(front.fixture)] });
  await discovered(own, "fixture");
  const session = connectHttp2(`http://${own.grpc}`);
  try {
    const message = encodeCheck(checkRequest({ key: alice, body: call }));
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(message.length, 1);
    const [path, te] = ["/envoy.service.auth.v3.Authorization/Check", "trailers"];
    const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/grpc", te });
    stream.on("error", () => {});
    stream.end(Buffer.concat([prefix, message]), () => stream.close(constants.NGHTTP2_CANCEL));
    const answered = once(stream, "response").then(() => "answered");
    expect(await Promise.race([answered, once(stream, "close").then(() => "closed")])).toBe("closed");
    await until(async () => (await own.records()).length > 0, "it is written down");
    expect(await own.records()).toMatchObject([
      {
        "portcullis.record": "refusal",
        "portcullis.interface": "ext_authz",
        "error.type": "cancelled",
        "portcullis.executed": "no",
      },
    ]);
  } finally {
    session.destroy();
    await own.close();
  }
});

describe("where it is not switched on", () => {
  test("there is nothing at /ext_authz, and no port", async () => {
    const plain = await startGateway();
    try {
      const answer = await fetch(`${plain.url}/ext_authz/fixture/mcp`, { headers: { "x-api-key": alice } });
      expect(answer.status).toBe(404);
      expect(plain.grpc).toBeNull();
    } finally {
      await plain.close();
    }
  });
  test("a taken port is named, and nothing stays open", async () => {
    const taken = front.gateway.grpc ?? "";
    const port = Number(taken.split(":").at(-1));
    await expect(startGateway({ extAuthz: { grpc: taken } })).rejects.toMatchObject({ code: "EADDRINUSE", port });
  });
  test("beyond loopback gRPC needs clients with certificates", async () => {
    await expect(startGateway({ extAuthz: { grpc: "0.0.0.0:0" } })).rejects.toThrow(/clientCa/);
    await expect(startGateway({ extAuthz: { grpc: "127.evil.example:0" } })).rejects.toThrow(/clientCa/);
  });
});

test.skipIf(lacks("openssl"))("with TLS and clientCa, gRPC answers to clients of that authority alone", async () => {
  const folder = await mkdtemp(join(tmpdir(), "portcullis-tls-"));
  const file = (name: string): string => join(folder, name);
  const issue = async (name: string, args: readonly string[]): Promise<void> => {
    const own = ["-keyout", file(`${name}.key`), "-out", file(`${name}.crt`), "-subj", `/CN=${name}`, "-days", "2"];
    const made = await run(requirePart("openssl"), ["req", "-x509", "-nodes", "-newkey", "rsa:2048", ...own, ...args]);
    expect(made.code, made.stderr).toBe(0);
  };
  await issue("ca", []);
  const signed = ["-CA", file("ca.crt"), "-CAkey", file("ca.key"), "-addext", "subjectAltName=DNS:localhost"];
  for (const name of ["server", "envoy"]) await issue(name, signed);
  const tls = { cert: file("server.crt"), key: file("server.key"), clientCa: file("ca.crt") };
  const secure = await startGateway({ tls, extAuthz: { grpc: "127.0.0.1:0" } });
  const [ca, key, cert] = await Promise.all(["ca.crt", "envoy.key", "envoy.crt"].map((name) => readFile(file(name))));
  const address = `localhost:${secure.grpc?.split(":").at(-1)}`;
  const clients = {
    own: checkClient(address, credentials.createSsl(ca, key, cert)),
    bare: checkClient(address, credentials.createSsl(ca)),
    plain: checkClient(address),
  };
  try {
    expect(toldBy(await clients.own.check(checkRequest({ body: call })))).toMatchObject({ status: 401 });
    await expect(clients.bare.check(checkRequest({ body: call }))).rejects.toMatchObject({ code: 14 });
    await expect(clients.plain.check(checkRequest({ body: call }))).rejects.toMatchObject({ code: 14 });
  } finally {
    for (const client of Object.values(clients)) client.close();
    await secure.close();
    await rm(folder, { recursive: true });
  }
});

describe("a gateway that stops", () => {
  test("answers the checks that it has, and takes no more", async () => {
    const stopping = await startGateway({ extAuthz: { grpc: "127.0.0.1:0" }, servers: [fixtureServer(front.fixture)] });
    await discovered(stopping, "fixture");
    const other = checkClient(stopping.grpc ?? "");
    try {
      await other.check(checkRequest({ key: alice, body: rpc("ping") }));
      const running = Array.from({ length: 64 }, () => other.check(checkRequest({ key: alice, body: call })));
      await Promise.race(running);
      const [answers] = await Promise.all([Promise.all(running), stopping.stop()]);
      expect(answers.map((answer) => toldBy(answer).code)).toEqual(running.map(() => "ok"));
      await expect(other.check(checkRequest({ key: alice, body: call }))).rejects.toMatchObject({ code: 14 });
    } finally {
      other.close();
      await stopping.clean();
    }
  });
});
