/** The dialer reaches only the addresses that the operator allowed, and carries only so much at once. */
import { createServer } from "node:http";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { checkedLookup, isPublicAddress } from "../src/upstream/address.ts";
import type { Resolve } from "../src/upstream/address.ts";
import { newExchange } from "../src/upstream/connection.ts";
import { openDial } from "../src/upstream/dial.ts";
import type { Dial, DialOptions, DialRequest } from "../src/upstream/dial.ts";
import { request } from "../src/upstream/reply.ts";

const servers: Server[] = [];
const dials: Dial[] = [];
afterEach(async () => {
  for (const dial of dials.splice(0)) await dial.close();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

async function listen(handler: Parameters<typeof createServer>[1]): Promise<number> {
  const server = createServer(handler);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return (server.address() as AddressInfo).port;
}

function dialTo(url: string, more: Partial<DialOptions> = {}): Dial {
  const dial = openDial({
    url,
    allowPrivate: false,
    connectionsMax: 4,
    queueMax: 4,
    memoryBytesMax: 1 << 20,
    connectTimeoutMs: 1000,
    ...more,
  });
  dials.push(dial);
  return dial;
}

type Came = { readonly status?: number; readonly bytes: number; readonly sent: boolean; readonly fault: string | null };

function get(dial: Dial, bytesMax = 1 << 20): Promise<Came> & { readonly stop: () => void } {
  let stop = (): void => {};
  const came = new Promise<Came>((resolve) => {
    let status: number | undefined;
    let bytes = 0;
    let sent = false;
    stop = dial.send(
      { method: "GET", headers: [], body: null, bytesMax },
      {
        sent: () => void (sent = true),
        head: (code) => void (status = code),
        data: (chunk) => void (bytes += chunk.length),
        end: () => resolve({ ...(status === undefined ? {} : { status }), bytes, sent, fault: null }),
        fail: (refusal) => resolve({ bytes, sent, fault: `${refusal.code}: ${refusal.message}` }),
      },
    );
  });
  return Object.assign(came, { stop: () => stop() });
}

const NOT_ALLOWED = "upstream_unavailable: The server's address is not allowed.";

describe("an address is public", () => {
  test.each(["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2a00:1450:4001::1"])("when it is %s", (address) => {
    expect(isPublicAddress(address)).toBe(true);
  });

  test.each([
    ["loopback", ["127.0.0.1", "127.255.0.1", "::1"]],
    ["unspecified", ["0.0.0.0", "0.1.2.3", "::"]],
    ["private", ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"]],
    ["shared by carriers", ["100.64.0.1", "100.127.255.255"]],
    ["link-local", ["169.254.169.254", "fe80::1", "fe80::1%eth0"]],
    ["unique-local", ["fc00::1", "fd12:3456::1"]],
    ["site-local of old", ["fec0::1"]],
    ["multicast or broadcast", ["224.0.0.1", "239.255.255.255", "255.255.255.255", "ff02::1"]],
    [
      "mapped or compatible IPv4",
      ["::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::7f00:1", "::1:2:3", "4000::1", "::ffff:0:127.0.0.1"],
    ],
    ["NAT64", ["64:ff9b::7f00:1", "64:ff9b::8.8.8.8", "64:ff9b:1::1"]],
    ["6to4", ["2002:7f00:1::", "2002:c0a8:101::1"]],
    ["Teredo", ["2001:0:4136:e378:8000:63bf:3fff:fdd2"]],
    [
      "reserved or for documents",
      [
        "192.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "240.0.0.1",
        "2001:db8::1",
        "3fff::1",
        "100::1",
      ],
    ],
    ["ORCHID or a site's own routing", ["2001:20::1", "2001:10::1", "5f00::1"]],
    ["no address", ["", "localhost", "0x7f.1", "2130706433", "127.1", "1.2.3", "999.1.1.1"]],
  ])("never when it is %s", (_, addresses) => {
    expect(addresses.filter(isPublicAddress)).toEqual([]);
  });
});

describe("an instance without allowPrivate", () => {
  test.each([
    "http://127.0.0.1:PORT/",
    "http://2130706433:PORT/",
    "http://0x7f.1:PORT/",
    "http://0177.0.0.1:PORT/",
    "http://127.1:PORT/",
    "http://①②⑦.0.0.1:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://[64:ff9b::7f00:1]:PORT/",
    "http://localhost:PORT/",
    "http://user:pass@127.0.0.1:PORT/",
  ])("is not dialled at %s", async (url) => {
    let connections = 0;
    const port = await listen((_, response) => void response.end("x"));
    servers[0]?.on("connection", () => connections++);
    expect(await get(dialTo(url.replace("PORT", String(port))))).toEqual({ bytes: 0, sent: false, fault: NOT_ALLOWED });
    expect(connections).toBe(0);
  });

  test("is not dialled where its name resolves to a private address, whatever else it resolves to first", async () => {
    const port = await listen((_, response) => void response.end("x"));
    const resolve: Resolve = (_, __, done) =>
      done(null, [
        { address: "127.0.0.1", family: 4 },
        { address: "::1", family: 6 },
      ]);
    expect((await get(dialTo(`http://files.example:${port}/`, { resolve }))).fault).toBe(NOT_ALLOWED);
  });

  test("is dialled only at the public ones of a name's addresses", () => {
    const resolve: Resolve = (_, __, done) =>
      done(
        null,
        ["10.0.0.1", "8.8.8.8", "::ffff:8.8.4.4"].map((address) => ({ address, family: 4 })),
      );
    const looked: unknown[] = [];
    checkedLookup(false, resolve)("files.example", { all: true }, (_, addresses) => looked.push(addresses));
    checkedLookup(false, resolve)("files.example", {}, (_, address, family) => looked.push(address, family));
    expect(looked).toEqual([[{ address: "8.8.8.8", family: 4 }], "8.8.8.8", 4]);
  });

  test("is dialled at the very address that was checked: the name is asked once per connection", async () => {
    const asked: string[] = [];
    const port = await listen((_, response) => void response.end("x"));
    const resolve: Resolve = (host, _, done) => {
      asked.push(host);
      // a second question would be answered with the metadata service
      done(null, [{ address: asked.length === 1 ? "127.0.0.1" : "169.254.169.254", family: 4 }]);
    };
    const dial = dialTo(`http://files.example:${port}/`, { resolve, allowPrivate: true });
    expect(await get(dial)).toMatchObject({ status: 200, fault: null });
    expect(asked).toEqual(["files.example"]);
  });
});

describe("an instance with allowPrivate", () => {
  test("is dialled on loopback, by name and by address", async () => {
    const port = await listen((_, response) => void response.end("hello"));
    for (const host of ["127.0.0.1", "localhost"]) {
      const resolve: Resolve = (_, __, done) => done(null, [{ address: "127.0.0.1", family: 4 }]);
      const came = await get(dialTo(`http://${host}:${port}/`, { allowPrivate: true, resolve }));
      expect(came).toEqual({ status: 200, bytes: 5, sent: true, fault: null });
    }
  });
});

describe("what is carried", () => {
  const at = async (handler: Parameters<typeof createServer>[1], more: Partial<DialOptions> = {}) =>
    dialTo(`http://127.0.0.1:${await listen(handler)}/`, { allowPrivate: true, ...more });

  test("follows no redirect", async () => {
    let reached = 0;
    const target = await listen((_, response) => void (reached++, response.end()));
    const dial = await at(
      (_, response) => void response.writeHead(307, { location: `http://127.0.0.1:${target}/` }).end(),
    );
    expect(await get(dial)).toMatchObject({ status: 307 });
    expect(reached).toBe(0);
  });

  test("is cut when one answer is over its bound", async () => {
    const dial = await at((_, response) => void response.end(Buffer.alloc(300_000)));
    expect(await get(dial, 100_000)).toMatchObject({
      sent: true,
      fault: "upstream_error: The server's answer is too large.",
    });
  });

  test("is cut when all answers together are over the instance's memory", async () => {
    const dial = await at((_, response) => void response.end(Buffer.alloc(60_000)), { memoryBytesMax: 50_000 });
    expect((await get(dial, 100_000)).fault).toBe("upstream_error: The server's answers together are too large.");
  });

  test("no longer counts once it is over", async () => {
    const dial = await at((_, response) => void response.end(Buffer.alloc(20_000)), { memoryBytesMax: 50_000 });
    for (let calls = 0; calls < 6; calls++) expect((await get(dial)).fault).toBeNull();
  });

  test("is refused unsent where nobody listens", async () => {
    const port = await listen(() => {});
    await new Promise((resolve) => servers.splice(0)[0]?.close(resolve));
    const came = await get(dialTo(`http://127.0.0.1:${port}/`, { allowPrivate: true }));
    expect(came).toEqual({ bytes: 0, sent: false, fault: "upstream_unavailable: The server cannot be reached." });
  });

  test("was sent when the connection breaks before an answer", async () => {
    const dial = await at((request) => void request.socket.destroy());
    expect(await get(dial)).toMatchObject({
      sent: true,
      fault: "upstream_error: The server closed the connection before it answered.",
    });
  });

  test("uses no more connections than it may, and queues no more than it may", async () => {
    const waiting: (() => void)[] = [];
    let open = 0;
    let most = 0;
    const dial = await at((_, response) => {
      most = Math.max(most, ++open);
      waiting.push(() => void (open--, response.end()));
    });
    const all = Array.from({ length: 9 }, () => get(dial));
    expect((await (all[8] as (typeof all)[0])).fault).toBe(
      "upstream_unavailable: Too many calls wait for this server.",
    );
    // released only then: a slow machine could else answer the first before the fourth has come
    await expect.poll(() => open).toBe(4);
    const release = setInterval(() => waiting.shift()?.(), 2);
    const came = await Promise.all(all.slice(0, 8));
    clearInterval(release);
    expect(came.every(({ fault }) => fault === null)).toBe(true);
    expect(most).toBe(4);
    setTimeout(() => waiting.shift()?.(), 20);
    expect((await get(dial)).fault).toBeNull();
  });

  test("has its answer, and then gives its place to who needs it instead of waiting for its stream to end", async () => {
    const answer = `data: ${JSON.stringify({ jsonrpc: "2.0", id: 1, result: {} })}\n\n`;
    const dial = await at(
      (_, response) => void response.writeHead(200, { "content-type": "text/event-stream" }).write(answer),
      { connectionsMax: 2, queueMax: 0 },
    );
    const nothing = (): void => {};
    const asked = { id: 1, notification: false, onOther: nothing, onStopped: nothing };
    for (let calls = 0; calls < 6; calls++) {
      const exchange = newExchange("ping", {}, 1 << 20);
      const post: DialRequest = { method: "POST", headers: [], body: "{}", bytesMax: 1 << 20 };
      const reply = await request({ ...asked, dial, request: post, exchange });
      expect(reply.kind).toBe("answer");
    }
  });

  test("is stopped with its socket, and hears nothing more", async () => {
    let closed = false;
    const dial = await at((request) => void request.socket.on("close", () => (closed = true)));
    const came = get(dial);
    await new Promise((resolve) => setTimeout(resolve, 50));
    came.stop();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(closed).toBe(true);
    expect(await Promise.race([came, Promise.resolve("silence")])).toBe("silence");
  });

  test("is never sent when it is stopped while it waits for a connection", async () => {
    let arrived = 0;
    const held: { end: () => void }[] = [];
    const dial = await at((_, response) => void (arrived++, held.push(response)), { connectionsMax: 1 });
    const first = get(dial);
    await new Promise((resolve) => setTimeout(resolve, 50));
    get(dial).stop();
    held[0]?.end();
    await first;
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(arrived).toBe(1);
  });
});
