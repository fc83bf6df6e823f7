/** What node:http itself cannot read is refused like everything else: with a code, a call id and a record. */
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { discovered, fixtureServer, KEYS, startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

let fixture: Fixture;
let gateway: TestGateway;
beforeAll(async () => {
  fixture = await startFixture();
  gateway = await startGateway({ servers: [fixtureServer(fixture)] });
  await discovered(gateway, "fixture");
});
afterAll(async () => {
  await gateway.clean();
  await fixture.close();
});

type Told = { readonly status: number; readonly code: string; readonly callId: string };

/** Sends the bytes as they are, and reads until the gateway closes. */
function bytes(...sent: readonly (string | Buffer)[]): Promise<readonly Told[]> {
  const [host, port] = gateway.traffic.split(":");
  return new Promise((resolve) => {
    let text = "";
    const socket = connect(Number(port), host, () => {
      for (const one of sent) socket.write(one);
    });
    socket.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    socket.on("error", () => {});
    socket.on("close", () => resolve(answersIn(text)));
  });
}

function answersIn(text: string): readonly Told[] {
  return text
    .split(/(?=HTTP\/1\.1 \d)/)
    .filter((one) => one !== "")
    .map((one) => {
      const [head = "", body = ""] = one.split("\r\n\r\n");
      const { code, callId } = JSON.parse(body) as { code?: string; callId?: string };
      const named = /^portcullis-call-id: (.*)$/im.exec(head)?.[1]?.trim();
      expect(callId ?? named).toBe(named);
      return { status: Number(head.split(" ")[1]), code: code ?? "ok", callId: named ?? "" };
    });
}

let further = 0;
const HOST = "Host: 127.0.0.1\r\n";
const KEY = `x-api-key: ${KEYS.alice}\r\n`;
const CALL = `POST /tools/fixture__echo/call HTTP/1.1\r\n${HOST}${KEY}content-type: application/json\r\n`;
const GOOD = `${CALL}content-length: 30\r\n\r\n{"arguments":{"text":"hello"}}`;
const BROKEN: readonly (readonly [string, readonly (string | Buffer)[], number])[] = [
  ["bytes that are no HTTP", ["hello\r\n\r\n"], 400],
  ["a TLS greeting", [Buffer.from("16030100c8010000c40303", "hex")], 400],
  ["an unknown method", [`FLY /tools HTTP/1.1\r\n${HOST}\r\n`], 400],
  ["headers of 100 KB", [`GET /tools HTTP/1.1\r\n${HOST}${KEY}x: ${"a".repeat(100_000)}\r\n\r\n`], 431],
  ["two lengths", [`${CALL}content-length: 3\r\ncontent-length: 4\r\n\r\nabcd`], 400],
  ["a length and chunks", [`${CALL}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`], 400],
  ["a coding under the chunks", [`${CALL}transfer-encoding: gzip, chunked\r\nconnection: close\r\n\r\n0\r\n\r\n`], 415],
  ["a header with a line feed in it", [`GET /tools HTTP/1.1\r\n${HOST}x-api-key: a\nb\r\n\r\n`], 400],
  ["a tunnel", [`CONNECT example.org:443 HTTP/1.1\r\n${HOST}\r\n`], 405],
  ["garbage that goes on and on", Array.from({ length: 50 }, () => "garbage\r\n\r\n"), 400],
];

describe("what is broken", () => {
  test.each(BROKEN)("%s", async (_, sent, status) => {
    expect(await bytes(...sent)).toEqual([
      { status, code: "invalid_request", callId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string },
    ]);
  });

  test("a chunk that is none, in the body of a request whose sender is known", async () => {
    const [told] = await bytes(`${CALL}transfer-encoding: chunked\r\n\r\n`, "zz\r\n");
    expect(told).toMatchObject({ status: 400, code: "invalid_request" });
    const own = (await gateway.records()).filter((record) => record["portcullis.call.id"] === told?.callId);
    expect(own).toMatchObject([{ "error.type": "invalid_request", "portcullis.principal.id": "alice" }]);
  });

  test("garbage behind a request, which is answered first", async () => {
    const told = await bytes(GOOD + "garbage\r\n\r\n");
    expect(told.map(({ status, code }) => [status, code])).toEqual([
      [200, "ok"],
      [400, "invalid_request"],
    ]);
  });

  test("headers that do not come to an end", async () => {
    expect(await bytes(`GET /tools HTTP/1.1\r\n${HOST}`)).toMatchObject([{ status: 408, code: "invalid_request" }]);
  });

  test("a tunnel whose caller resets the connection at once: the gateway goes on", async () => {
    const [host, port] = gateway.traffic.split(":");
    const faults: unknown[] = [];
    const note = (fault: unknown): void => void faults.push(fault);
    process.on("uncaughtException", note);
    for (let count = 0; count < 30; count++) {
      const socket = connect(Number(port), host);
      socket.on("error", () => {});
      await new Promise<void>((resolve) => socket.once("connect", () => resolve()));
      socket.write(`CONNECT example.org:443 HTTP/1.1\r\n${HOST}\r\n`, () => socket.resetAndDestroy());
      await new Promise<void>((resolve) => socket.once("close", () => resolve()));
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
    process.off("uncaughtException", note);
    expect(faults).toEqual([]);
    further += 30;
  });

  test.each([
    ["of a type that is not read", CALL.replace("application/json", "text/plain"), 0],
    ["at a path that is nowhere", CALL.replace("/tools/fixture__echo/call", "/nowhere"), 0],
    ["with a Host that is none of ours", CALL.replace("127.0.0.1", "evil.example"), 2],
    ["larger than the cap", CALL.replace("content-type", "content-length: 99999999\\r\\nx-type"), 2],
  ])("a broken chunk behind a request %s", async (_, head, unread) => {
    const faults: unknown[] = [];
    const note = (fault: unknown): void => void faults.push(fault);
    process.on("uncaughtException", note);
    await bytes(`${head}transfer-encoding: chunked\r\n\r\nzz\r\n`);
    await bytes(`${head}transfer-encoding: chunked\r\n\r\n`, "zz\r\n");
    process.off("uncaughtException", note);
    expect(faults).toEqual([]);
    // refused before anybody was looked for
    further += unread;
  });

  test("a missing Host", async () => {
    expect(await bytes(`GET /tools HTTP/1.1\r\n${KEY}connection: close\r\n\r\n`)).toMatchObject([
      { status: 403, code: "invalid_request" },
    ]);
  });

  test("an expectation that nobody knows is none: the request is read", async () => {
    const told = await bytes(GOOD.replace("content-length", "connection: close\r\nexpect: the-best\r\ncontent-length"));
    expect(told).toMatchObject([{ status: 200, code: "ok" }]);
  });

  test("all of it is written down or counted, under the address that sent it", async () => {
    await gateway.stop();
    const counted = (await gateway.records()).filter(
      (record) => record["error.type"] === "invalid_request" && record["portcullis.principal.id"] === undefined,
    );
    const sum = counted.reduce((count, record) => count + Number(record["portcullis.count"] ?? 1), 0);
    // those above, the garbage behind a request, the endless headers and the missing Host
    expect(sum).toBe(BROKEN.length + 3 + further);
    const addresses = new Set(counted.map((record) => record["client.address"] ?? ""));
    expect(addresses).toContain("127.0.0.1");
    // of a tunnel that was reset at once nobody knows it
    expect([...addresses].filter((address) => address !== "" && address !== "127.0.0.1")).toEqual([]);
  });
});
