/**
 * The promise: a control plane keeps the records of its sidecars as they wrote them, each chain whole, and answers for
 * all of them. What it has it passes over, what does not follow it refuses, and what it missed it is sent again.
 */
import { cp, mkdir, readdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { createGather } from "../src/audit/gather.ts";
import { verify } from "../src/audit/verify.ts";
import type { JsonObject } from "../src/model.ts";
import { portcullis } from "./cli-io.ts";
import { DOORS, post } from "./support/ask.ts";
import { discovered, fixtureServer, KEYS, keyOf, startGateway, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { adminOf, keyFileOf, startControl, startSidecar } from "./support/planes.ts";
import { startRelay } from "./support/relay.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close();
});

const SOON_MS = 15_000;

async function control(): Promise<TestGateway> {
  const fixture = await startFixture();
  open.push(fixture.close);
  const plane = await startControl({ servers: [fixtureServer(fixture, { audit: { arguments: "full" } })] });
  open.push(plane.close);
  await discovered(plane, "fixture");
  return plane;
}

async function sidecarOf(plane: TestGateway, name: string, url?: string): Promise<TestGateway> {
  const sidecar = await startSidecar(plane, { name, ...(url === undefined ? {} : { url }) });
  open.push(sidecar.close);
  await sidecar.gateway.validators.prepare([...sidecar.gateway.snapshot().tools.values()].flat());
  return sidecar;
}

const echo = async (gateway: TestGateway, text: string) => {
  const told = await DOORS["rest"]!(gateway, { key: KEYS.alice, tool: "echo", arguments: { text } });
  expect(told.code).toBe("ok");
  return told.callId;
};
const gatheredAt = (plane: TestGateway, name: string) => join(plane.folder, "data/audit/gathered", name);

async function texts(folder: string): Promise<readonly string[]> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith(".jsonl")).toSorted();
  return Promise.all(names.map((name) => readFile(join(folder, name), "utf8")));
}

/** Byte for byte what the sidecar wrote. */
const arrived = (plane: TestGateway, sidecar: TestGateway, name: string) =>
  until(
    async () => {
      const own = (await texts(join(sidecar.folder, "data/audit"))).filter((text) => text !== "");
      return own.length > 0 && JSON.stringify(await texts(gatheredAt(plane, name))) === JSON.stringify(own);
    },
    "every record is there",
    SOON_MS,
  );

const calls = (plane: TestGateway, more: object = {}) =>
  adminOf(plane).audit.calls.query({ first: 100, filter: { operation: "tools/call" }, ...more });

describe("a control plane", () => {
  test("keeps each sidecar's records byte for byte, answers for all, and verifies every chain", async () => {
    const plane = await control();
    const one = await sidecarOf(plane, "edge-1");
    const two = await sidecarOf(plane, "edge-2");
    const ids = [];
    for (let index = 0; index < 6; index++)
      ids.push(await echo(index % 2 === 0 ? one : two, `é \u{1f600} \u001b "${index}" \\ \u2028 \u007f`));
    await arrived(plane, one, "edge-1");
    await arrived(plane, two, "edge-2");
    const { rows } = await calls(plane);
    expect(rows.map(({ callId }) => callId)).toEqual(ids.toReversed());
    expect(rows.map(({ writer }) => writer)).toEqual(["edge-2", "edge-1", "edge-2", "edge-1", "edge-2", "edge-1"]);
    const { rows: only } = await calls(plane, { filter: { operation: "tools/call", writer: "edge-1" } });
    expect(only.map(({ writer }) => writer)).toEqual(["edge-1", "edge-1", "edge-1"]);
    const { json } = await post(`${plane.url}/graphql`, KEYS.ada, {
      query: '{ calls(first: 2, filter: {operation: "tools/call"}) { edges { node { callId writer } } } }',
    });
    expect(json.data.calls.edges.map(({ node }: { node: object }) => node)).toEqual([
      { callId: ids[5], writer: "edge-2" },
      { callId: ids[4], writer: "edge-1" },
    ]);
    const printed = await portcullis(["audit", "verify", join(plane.folder, "data/audit")]);
    expect(printed.stderr).toMatch(/records of edge-1 in 1 chain: every link holds[\s\S]*records of edge-2 in 1 chain/);
    expect(printed.code).toBe(0);
  });

  test("answers page by page, each call once", async () => {
    const plane = await control();
    const sidecars = [await sidecarOf(plane, "edge-1"), await sidecarOf(plane, "edge-2")];
    const ids = [];
    for (let index = 0; index < 11; index++) ids.push(await echo(sidecars[index % 3 === 0 ? 0 : 1]!, String(index)));
    await arrived(plane, sidecars[0]!, "edge-1");
    await arrived(plane, sidecars[1]!, "edge-2");
    const read = [];
    for (let after: string | null = null, more = true; more;) {
      const page: Awaited<ReturnType<typeof calls>> = await calls(plane, { first: 3, after });
      read.push(...page.rows.map(({ callId }) => callId));
      // a row's own cursor goes on after that row
      const middle = page.rows[1];
      if (middle !== undefined) {
        const next = await calls(plane, { first: 1, after: middle.cursor });
        expect(next.rows[0]?.callId).toBe(ids.toReversed()[read.length - page.rows.length + 2]);
      }
      ({ endCursor: after, hasNextPage: more } = page);
    }
    expect(read).toEqual(ids.toReversed());
    for (const cursor of ["x", Buffer.from('{"":5}').toString("base64url"), Buffer.from("[]").toString("base64url")])
      await expect(calls(plane, { after: cursor })).rejects.toThrow("cursor");
  });

  test("that was away is sent all that happened meanwhile, in order and once", async () => {
    const plane = await control();
    const relay = await startRelay(plane.admin);
    open.push(relay.close);
    const sidecar = await sidecarOf(plane, "edge-1", relay.url);
    const before = await echo(sidecar, "before");
    await arrived(plane, sidecar, "edge-1");
    relay.cut();
    const meanwhile = [await echo(sidecar, "one"), await echo(sidecar, "two")];
    await sidecar.stop();
    relay.join();
    const again = await startSidecar(plane, { name: "edge-1", url: relay.url, folder: sidecar.folder });
    open.push(again.close);
    await arrived(plane, again, "edge-1");
    const { rows } = await calls(plane);
    expect(rows.map(({ callId }) => callId)).toEqual([...meanwhile.toReversed(), before]);
    expect((await verify(gatheredAt(plane, "edge-1"))).ok).toBe(true);
  });

  test("that lost its copy, or whose last line a crash cut, is sent it again", async () => {
    const plane = await control();
    const sidecar = await sidecarOf(plane, "edge-1");
    await echo(sidecar, "one");
    await arrived(plane, sidecar, "edge-1");
    const folder = gatheredAt(plane, "edge-1");
    const file = (await readdir(folder)).find((name) => name.endsWith(".jsonl")) ?? "";
    await plane.stop();
    await truncate(join(folder, file), (await readFile(join(folder, file))).length - 40);
    const admin = `127.0.0.1:${plane.admin.split(":")[1]}`;
    const { servers } = parse(await readFile(plane.configFile, "utf8")) as { readonly servers: readonly object[] };
    const back = await startGateway({ admin, servers }, { plane: { role: "control", folder: plane.folder } });
    open.push(back.close);
    await echo(sidecar, "two");
    await arrived(back, sidecar, "edge-1");
    expect(await verify(folder)).toMatchObject({ ok: true, tornTail: [] });
  }, 60_000);
});

test("a chain that the control plane will never take keeps back none that comes after", async () => {
  const plane = await control();
  const relay = await startRelay(plane.admin);
  open.push(relay.close);
  const sidecar = await sidecarOf(plane, "edge-1", relay.url);
  relay.cut();
  await echo(sidecar, "one");
  await echo(sidecar, "two");
  await sidecar.stop();
  const folder = join(sidecar.folder, "data/audit");
  const file = (await readdir(folder)).find((name) => name.endsWith(".jsonl")) ?? "";
  const text = await readFile(join(folder, file), "utf8");
  const [first = "", ...rest] = text.split("\n");
  await writeFile(
    join(folder, file),
    [first, ...rest.map((line) => line.replace('"one"', '"uno"').replace("one", "uno"))].join("\n"),
  );
  relay.join();
  const again = await startSidecar(plane, { name: "edge-1", url: relay.url, folder: sidecar.folder });
  open.push(again.close);
  await again.gateway.validators.prepare([...again.gateway.snapshot().tools.values()].flat());
  const callId = await echo(again, "three");
  await until(
    async () => (await calls(plane)).rows.some((row) => row.callId === callId),
    "the next chain is there",
    30_000,
  );
}, 60_000);

test("a cursor holds while the first sidecar comes", async () => {
  const plane = await control();
  await adminOf(plane).roles.put.mutate({ role: "x", permissions: [] });
  const ask = (after: string | null) => adminOf(plane).audit.calls.query({ first: 1, after });
  const { endCursor } = await ask(null);
  const sidecar = await sidecarOf(plane, "edge-1");
  await echo(sidecar, "x");
  await arrived(plane, sidecar, "edge-1");
  await expect(ask(endCursor)).resolves.toMatchObject({ rows: expect.any(Array) });
});

describe("records that are sent", () => {
  const send = async (plane: TestGateway, key: string, more: { file?: string; lines: readonly string[] }) => {
    const body = `{"resourceSpans":[${more.lines.map((line) => line.slice('{"resourceSpans":['.length, -2)).join(",")}]}`;
    const headers: Record<string, string> = more.file === undefined ? {} : { "portcullis-segment": more.file };
    const { response, json } = await post(`http://${plane.admin}/v1/traces`, key, body, headers);
    return { status: response.status, code: json.code ?? "ok" };
  };

  async function prepared() {
    const plane = await control();
    const sidecar = await sidecarOf(plane, "source");
    for (const text of ["a", "b", "c"]) await echo(sidecar, text);
    const folder = join(sidecar.folder, "data/audit");
    const file = (await readdir(folder)).find((name) => name.endsWith(".jsonl")) ?? "";
    const lines = (await readFile(join(folder, file), "utf8")).trimEnd().split("\n");
    const { file: keyFile } = await keyFileOf(plane, "edge-9");
    const [key = ""] = (await readFile(keyFile, "utf8")).split("\n");
    return { plane, file, lines, key };
  }

  test("twice are kept once; with a gap, a change or a fork they are refused", async () => {
    const { plane, file, lines, key } = await prepared();
    const [first = "", second = "", third = "", ...others] = lines;
    expect(await send(plane, key, { file, lines: [second] })).toEqual({ status: 409, code: "conflict" });
    expect(await send(plane, key, { file, lines: [first] })).toEqual({ status: 200, code: "ok" });
    expect(await send(plane, key, { file, lines: [first, second] })).toEqual({ status: 200, code: "ok" });
    expect(await send(plane, key, { file, lines: [...others] })).toMatchObject({ code: "conflict" });
    // a third that was changed is not what the fourth follows: nothing of the two is kept
    const forked = third.replace("alice", "mallory");
    expect(await send(plane, key, { file, lines: [forked, ...others] })).toMatchObject({ code: "conflict" });
    // what is there is not written again, whatever it says by now
    const changed = second.replace("alice", "mallory");
    expect(await send(plane, key, { file, lines: [changed] })).toMatchObject({ code: "ok" });
    expect(await send(plane, key, { file, lines: [third, ...others] })).toMatchObject({ code: "ok" });
    const [kept] = await texts(gatheredAt(plane, "edge-9"));
    expect(kept).toBe(lines.map((line) => `${line}\n`).join(""));
  });

  test("by anybody but a sidecar, from no file of a trail, or that are no records, are refused and kept nowhere", async () => {
    const { plane, file, lines, key } = await prepared();
    expect(await send(plane, KEYS.alice, { file, lines })).toMatchObject({ code: "forbidden" });
    expect(await send(plane, keyOf("mallory"), { file, lines })).toMatchObject({ code: "unauthenticated" });
    for (const bad of ["../../x.jsonl", "gateway.jsonl", ""])
      expect(await send(plane, key, { file: bad, lines }), bad).toMatchObject({ code: "invalid_request" });
    expect(await send(plane, key, { lines })).toMatchObject({ code: "invalid_request" });
    expect(await send(plane, key, { file, lines: ['{"resourceSpans":[{"x":1}]}'] })).toMatchObject({
      code: "invalid_request",
    });
    const next = file.replace("000001", "000002");
    expect(await send(plane, key, { file: next, lines })).toMatchObject({ code: "conflict" });
    expect(await texts(gatheredAt(plane, "edge-9"))).toEqual([]);
  });

  test("that no reader could show are not kept, whatever they end like", async () => {
    const { plane, file, lines, key } = await prepared();
    const [first = ""] = lines;
    const times = /"(start|end)TimeUnixNano":"\d+"/g;
    for (const bad of ['"$1TimeUnixNano":"abcdefghijk"', '"$1TimeUnixNano":"99999999999999999999999"', '"other":1'])
      expect(await send(plane, key, { file, lines: [first.replace(times, bad)] }), bad).toMatchObject({
        code: "invalid_request",
      });
    expect(await send(plane, key, { file, lines: [] })).toMatchObject({ code: "invalid_request" });
    expect((await calls(plane)).rows.length).toBeGreaterThanOrEqual(0);
  });

  test("by more than may wait for the disk are told to come again", async () => {
    const { plane, file, lines } = await prepared();
    const elsewhere = join(plane.folder, "elsewhere");
    await mkdir(elsewhere);
    const { take } = createGather(elsewhere);
    const spans = lines.map((line) => (JSON.parse(line) as { resourceSpans: JsonObject[] }).resourceSpans[0]!);
    const told = await Promise.allSettled(Array.from({ length: 70 }, async () => take("edge", file, spans)));
    const refused = told.filter(({ status }) => status === "rejected");
    expect(refused.map((one) => (one as PromiseRejectedResult).reason.code)).toEqual(Array(6).fill("overloaded"));
    await take("edge", file, spans);
  });

  test("of a sidecar with an odd name, and a stray file beside, keep nobody from reading", async () => {
    const { plane, file, lines } = await prepared();
    for (const name of ["constructor", "valueof"]) {
      const { file: keyFile } = await keyFileOf(plane, name);
      const [key = ""] = (await readFile(keyFile, "utf8")).split("\n");
      expect(await send(plane, key, { file, lines })).toMatchObject({ code: "ok" });
    }
    await writeFile(join(plane.folder, "data/audit/gathered/notes.txt"), "x");
    const { rows } = await calls(plane);
    expect(new Set(rows.map(({ writer }) => writer))).toContain("constructor");
  });

  test("are nobody's but a sidecar's: no administrator ships, and no sidecar is called like a principal", async () => {
    const { plane, file, lines } = await prepared();
    expect(await send(plane, KEYS.root, { file, lines })).toMatchObject({ code: "forbidden" });
    await expect(adminOf(plane).keys.issue.mutate({ sidecar: "alice" })).rejects.toThrow("already");
  });

  test("are each one sidecar's own: another's name is out of reach", async () => {
    const { plane, file, lines, key } = await prepared();
    await until(
      async () => (await texts(gatheredAt(plane, "source"))).length > 0,
      "the source's own are there",
      SOON_MS,
    );
    expect(await send(plane, key, { file, lines })).toMatchObject({ code: "ok" });
    expect(await texts(gatheredAt(plane, "edge-9"))).toEqual(await texts(gatheredAt(plane, "source")));
  });

  test("and changed at the control plane are found by audit verify", async () => {
    const { plane, file, lines, key } = await prepared();
    await send(plane, key, { file, lines });
    const copy = join(plane.folder, "copy");
    await mkdir(join(copy, "gathered"), { recursive: true });
    await cp(gatheredAt(plane, "edge-9"), join(copy, "gathered/edge-9"), { recursive: true });
    const at = join(copy, "gathered/edge-9", file);
    await writeFile(at, (await readFile(at, "utf8")).replace("alice", "alicf"));
    const printed = await portcullis(["audit", "verify", copy]);
    expect(printed.code).toBe(1);
    expect(printed.stdout).toContain(`gathered/edge-9/${file}:2: record 2`);
  });
});
