/** A checkpoint is kept where the host's operator cannot reach it: at least once, whatever the place does meanwhile. */
import { createServer } from "node:http";
import { mkdir, readFile, readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { Redis } from "ioredis";
import { describe, expect, onTestFinished, test } from "vitest";
import { parseNotes } from "../src/audit/checkpoint.ts";
import { openSinks } from "../src/audit/sinks.ts";
import type { Post } from "../src/audit/sinks.ts";
import { verify } from "../src/audit/verify.ts";
import type { Audit } from "../src/audit/record.ts";
import { pinOf } from "../src/ed25519.ts";
import { anchorChecks } from "../src/health.ts";
import { folder, portsAhead } from "./audit-parts.ts";
import { CHAIN, backoffMs, ports, post, receiver, signed, sinksTo } from "./audit-sink-parts.ts";
import { portcullis } from "./cli-io.ts";
import { discovered, fixtureServer, KEYS, startGateway } from "./support/gateway.ts";
import { DOORS } from "./support/ask.ts";
import { freePort, lacks, redisServer } from "./support/parts.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const sizes = (text: string) => parseNotes(text).notes.map(({ checkpoint }) => checkpoint.range.size);

test("a directory gets each, beside those that are there", async () => {
  const directory = await folder();
  const sinks = await sinksTo({ file: directory });
  for (const size of [1, 2]) {
    sinks.publish(signed(size));
    await expect.poll(() => sinks.status()[0]?.size).toBe(size);
  }
  expect(sizes(await readFile(join(directory, `${CHAIN}.checkpoints`), "utf8"))).toEqual([1, 2]);
});

test("a directory that is not there is not made: a disk that is not mounted is no place outside", async () => {
  const directory = join(await folder(), "mnt");
  const sinks = await sinksTo({ file: directory });
  sinks.publish(signed(3));
  await expect.poll(() => sinks.status()[0]?.lastError).toBe("ENOENT");
  await mkdir(directory);
  await expect.poll(() => sinks.status()[0]).toMatchObject({ lastError: null, size: 3 });
});

test("an HTTP endpoint gets the note as it is, with the headers of the configuration", async () => {
  const { url, heard } = await receiver([204]);
  const sinks = await sinksTo({ http: `${url}/checkpoints?token=s3cret`, headers: { authorization: "Bearer x" } });
  sinks.publish(signed(4));
  await expect.poll(() => heard).toHaveLength(1);
  expect(heard[0]).toMatchObject({
    path: "/checkpoints?token=s3cret",
    headers: { authorization: "Bearer x", "content-type": "text/plain; charset=utf-8" },
    body: signed(4).note,
  });
  expect(sinks.status()[0]?.target).toBe(`http ${url}`);
});

test("a collector gets it as a log record", async () => {
  const { url, heard } = await receiver();
  const sinks = await sinksTo({ otlp: url, headers: {} });
  sinks.publish(signed(5));
  await expect.poll(() => heard).toHaveLength(1);
  expect(heard[0]?.path).toBe("/v1/logs");
  const { resourceLogs } = JSON.parse(heard[0]?.body ?? "") as {
    resourceLogs: { scopeLogs: { logRecords: object[] }[] }[];
  };
  expect(resourceLogs[0]?.scopeLogs[0]?.logRecords).toEqual([
    {
      timeUnixNano: `${Date.parse(signed(5).checkpoint.time)}000000`,
      observedTimeUnixNano: `${Date.parse(signed(5).checkpoint.time)}000000`,
      severityNumber: 9,
      severityText: "INFO",
      eventName: "portcullis.checkpoint",
      body: { stringValue: signed(5).note },
    },
  ]);
});

test.each([
  ["that dropped it", '{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"full"}}', "REJECTED"],
  ["that is none", "<html>welcome</html>", "NOT_OTLP"],
  ["that took it", '{"partialSuccess":null}', null],
])("a collector %s is believed so far", async (_, body, lastError) => {
  const { url, heard } = await receiver([200], { body });
  const sinks = await sinksTo({ otlp: url, headers: {} });
  sinks.publish(signed(5));
  await expect.poll(() => heard.length).toBeGreaterThan(lastError === null ? 0 : 1);
  await expect.poll(() => sinks.status()[0]).toMatchObject({ lastError, size: lastError === null ? 5 : 0 });
});

test.skipIf(lacks("redis-server"))("a Redis that grants XADD alone gets it in a stream", async () => {
  const server = await redisServer();
  const client = new Redis(server.url);
  onTestFinished(async () => {
    client.disconnect();
    await server.stop();
  });
  await client.call("ACL", "SETUSER", "adds", "on", ">pw", "~portcullis:*", "-@all", "+xadd");
  const sinks = await sinksTo({ redis: server.url.replace("//", "//adds:pw@") });
  sinks.publish(signed(6));
  await expect.poll(() => sinks.status()[0]).toMatchObject({ size: 6, lastError: null });
  const [[, fields]] = (await client.xrange("portcullis:{audit}:checkpoints", "-", "+")) as [[string, string[]]];
  expect(fields).toEqual(["chain", CHAIN, "note", signed(6).note]);
  expect(sinks.status()[0]?.target).not.toContain("pw");
});

test("one that is signed while another is on its way goes next", async () => {
  const sent = Promise.withResolvers<void>();
  const bodies: string[] = [];
  const slow: Post = async (_url, _headers, body) => {
    if (bodies.push(body) === 1) await sent.promise;
    return { status: 200, text: () => Promise.resolve("") };
  };
  const targets = [{ http: "http://127.0.0.1:1/", headers: {} }];
  const sinks = await openSinks({ targets, post: slow, backoffMs }, ports);
  onTestFinished(() => sinks.close());
  for (const size of [1, 2]) sinks.publish(signed(size));
  sent.resolve();
  await expect.poll(() => bodies).toEqual([signed(1).note, signed(2).note]);
  await expect.poll(() => sinks.status()[0]).toMatchObject({ size: 2, waitingMs: 0 });
});

describe("a place that is away", () => {
  test("gets the newest of each chain once it is back, and the others hear at once", async () => {
    const port = await freePort();
    const well = await receiver();
    const sinks = await sinksTo({ http: `http://127.0.0.1:${port}/`, headers: {} }, { http: well.url, headers: {} });
    sinks.publish(signed(1));
    await expect.poll(() => sinks.status()[0]?.lastError).toBe("ECONNREFUSED");
    for (const size of [2, 3, 4]) sinks.publish(signed(size));
    const other = "gateway-0123456789abcdef9999";
    sinks.publish(signed(7, other));
    await expect.poll(() => well.heard.length).toBeGreaterThan(1);
    const back = await receiver([200], {}, port);
    await expect.poll(() => back.heard.map(({ body }) => body)).toEqual([signed(4).note, signed(7, other).note]);
    await expect.poll(() => sinks.status()[0]).toMatchObject({ lastError: null });
  });

  test("or answers with an error is asked again, for as long as it takes", async () => {
    const { url, heard } = await receiver([500, 503, 200]);
    const sinks = await sinksTo({ http: url, headers: {} });
    sinks.publish(signed(1));
    await expect.poll(() => sinks.status()[0]).toMatchObject({ lastError: null, size: 1 });
    expect(heard.map(({ body }) => body)).toEqual(Array.from({ length: 3 }, () => signed(1).note));
  });

  test("keeps nobody from closing, and what waits is tried once more", async () => {
    const { url, heard } = await receiver([500]);
    const sinks = await openSinks(
      { targets: [{ http: url, headers: {} }], post, backoffMs: { first: 60_000, most: 60_000 } },
      ports,
    );
    sinks.publish(signed(1));
    await expect.poll(() => sinks.status()[0]?.lastError).toBe("it answered 500");
    const began = performance.now();
    await sinks.close();
    expect(performance.now() - began).toBeLessThan(5_000);
    expect(heard).toHaveLength(2);
  });
});

test("a place that takes nothing and says nothing is named once a checkpoint has waited for long", async () => {
  const silentPlace = createServer(() => {});
  await new Promise<void>((listening) => silentPlace.listen(0, "127.0.0.1", listening));
  onTestFinished(() => silentPlace.close().closeAllConnections());
  const { port } = silentPlace.address() as { readonly port: number };
  const { ports: ahead, skip } = portsAhead();
  const sinks = await openSinks(
    { targets: [{ http: `http://127.0.0.1:${port}/?token=s3cret`, headers: {} }], post, backoffMs },
    ahead,
  );
  onTestFinished(() => sinks.close());
  expect(sinks.status()[0]).toMatchObject({ waitingMs: 0, chain: null });
  sinks.publish(signed(1));
  skip(29_000);
  const audit = { checkpoints: () => ({ anchors: sinks.status() }) } as unknown as Audit;
  expect(anchorChecks(audit)).toMatchObject([{ ok: true }]);
  skip(2_000);
  expect(anchorChecks(audit)).toEqual([
    {
      name: `checkpoints to http http://127.0.0.1:${port}`,
      ok: false,
      detail: "one has waited for 31 s; none taken yet",
    },
  ]);
  // a newer one does not begin the wait anew
  sinks.publish(signed(2));
  expect(sinks.status()[0]?.waitingMs).toBeGreaterThanOrEqual(31_000);
});

test("a gateway anchors its trail as configured, says so, and what is kept there convicts a trail that was cut", async () => {
  const elsewhere = await folder();
  const { url, heard } = await receiver();
  const fixture = await startFixture();
  const gateway = await startGateway({
    servers: [fixtureServer(fixture)],
    audit: {
      checkpoints: { every: 2, interval: "200ms", to: [{ file: elsewhere }, { http: `${url}/?token=s3cret` }] },
    },
  });
  try {
    await discovered(gateway, "fixture");
    await DOORS["rest"]!(gateway, { key: KEYS.alice, tool: "echo" });
    await expect.poll(() => heard.length).toBeGreaterThan(0);
    const taken = () => gateway.gateway.audit.checkpoints().anchors.map(({ size }) => size);
    await expect.poll(taken).toEqual([2, 2]);
    const checks = await gateway.gateway.control.health();
    expect(checks.filter(({ name }) => /^(audit|checkpoints to .*)$/.test(name))).toMatchObject([
      { name: "audit", ok: true, detail: "writable; anchored as follows" },
      { name: `checkpoints to directory ${basename(elsewhere)}`, ok: true },
      { name: `checkpoints to http ${url}`, ok: true },
    ]);
    const metrics = new Map(gateway.gateway.control.metrics().map(({ name, samples }) => [name, samples[0]]));
    expect(metrics.get("portcullis_audit_unanchored_places")).toMatchObject({ value: 0 });
    const target = `directory ${basename(elsewhere)}`;
    const { time } = gateway.gateway.audit.checkpoints().anchors[0]!;
    const anchored = { labels: { target }, value: Date.parse(time ?? "") / 1000 };
    expect(metrics.get("portcullis_audit_anchored_timestamp_seconds")).toEqual(anchored);
    expect(metrics.get("portcullis_audit_anchor_waiting_seconds")).toMatchObject({ labels: { target }, value: 0 });
    const said = await portcullis(["status", "--config", gateway.configFile]);
    const place = new RegExp(`^http ${RegExp.escape(url)} +gateway-[0-9a-f]{20} +2 +\\d{4}-\\S+Z +0s +-$`, "m");
    expect(said.stdout).toMatch(place);
    expect(said.stdout).not.toContain("s3cret");
    await gateway.stop();
    const kept = await Promise.all((await readdir(elsewhere)).map((name) => readFile(join(elsewhere, name), "utf8")));
    const outside = kept.flatMap((text) => parseNotes(text).notes).map((one) => ({ ...one, from: "elsewhere" }));
    const keyring = JSON.parse(await readFile(join(gateway.folder, "data/keyring.json"), "utf8")) as {
      checkpoint: [{ id: string; key: string }];
    };
    const [{ id, key }] = keyring.checkpoint;
    const pins = [pinOf({ id, key: Buffer.from(key, "hex") })];
    const trail = join(gateway.folder, "data/audit");
    expect(await verify(trail, { pins, outside })).toMatchObject({ ok: true });
    expect(outside.length).toBeGreaterThan(0);
    expect(await verify(await folder(), { pins, outside })).toMatchObject({ ok: false, firstBad: { sequence: 1 } });
  } finally {
    await gateway.close();
    await fixture.close();
  }
});
