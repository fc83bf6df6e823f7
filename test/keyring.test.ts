/** The promise: our own secrets are made once, kept from others, and shared by those who stand for one another. */
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { realPorts, silent } from "../src/ports.ts";
import { openKeyring } from "../src/snapshot/keyring.ts";
import { adminOf } from "./support/planes.ts";
import { KEYS, startGateway } from "./support/gateway.ts";

const ports = realPorts(silent);
let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "portcullis-keyring-"));
  file = join(folder, "keyring.json");
});
afterEach(() => rm(folder, { recursive: true }));

const aa = { id: "aa", key: "11".repeat(32) };

test("a file of an older version keeps its keys and gets those that it lacks, once", async () => {
  for (const older of [
    { version: 1, session: [aa], digest: aa },
    { version: 2, session: [aa], digest: aa, snapshot: [aa] },
  ]) {
    await writeFile(file, JSON.stringify(older), { mode: 0o600 });
    const first = await openKeyring({ file, given: null }, ports);
    expect(first.session[0].key.toString("hex")).toBe(aa.key);
    expect([first.snapshot.length, first.checkpoint.length]).toEqual([1, 1]);
    expect(JSON.parse(await readFile(file, "utf8"))).toMatchObject({ ...older, version: 3 });
    expect(await openKeyring({ file, given: null }, ports)).toEqual(first);
  }
});

test("one of version 2 from the environment signs checkpoints with a key that everybody who holds it has", async () => {
  const given = JSON.stringify({ version: 2, session: [aa], digest: aa, snapshot: [aa] });
  const [one, two] = [await openKeyring({ file, given }, ports), await openKeyring({ file, given }, ports)];
  expect(one.checkpoint).toEqual(two.checkpoint);
  expect(one.checkpoint[0].key).not.toEqual(one.snapshot[0].key);
});

test("what is wrong with it is said without a word of it", async () => {
  for (const text of [
    '{"session": "s3cret',
    '{"version": 2, "session": [{"id": "a", "key": "s3cret"}]}',
    '{"version": 9}',
  ]) {
    await writeFile(file, text, { mode: 0o600 });
    const fault = await openKeyring({ file, given: null }, ports).catch((cause: Error) => cause.message);
    expect(fault).toMatch(/keyring/);
    expect(fault).not.toContain("s3cret");
    await expect(openKeyring({ file, given: text }, ports)).rejects.toThrow(/keyring/i);
  }
});

test("given by the environment it is shared: a session of one gateway is good at the other, and no file is made", async () => {
  await openKeyring({ file, given: null }, ports);
  const env = { PORTCULLIS_KEYRING: await readFile(file, "utf8") };
  const gateways = [await startGateway({}, { env }), await startGateway({}, { env }), await startGateway({})];
  try {
    const ask = (at: number, body: object, headers = {}) =>
      fetch(`${gateways[at]?.url}/mcp`, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          accept: "application/json, text/event-stream",
          "x-api-key": KEYS.alice,
          ...headers,
        },
        body: JSON.stringify({ jsonrpc: "2.0", id: 1, ...body }),
      });
    const hello = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "test", version: "1" } };
    const opened = await ask(0, { method: "initialize", params: hello });
    const session = { "mcp-session-id": opened.headers.get("mcp-session-id") ?? "" };
    const answers = [];
    for (const at of [0, 1, 2]) answers.push((await ask(at, { method: "tools/list" }, session)).status);
    expect(answers).toEqual([200, 200, 404]);
    expect(await readdir(join(gateways[1]?.folder ?? "", "data"))).not.toContain("keyring.json");
    const { checks } = await adminOf(gateways[1]!).health.check.query();
    expect(checks.find(({ name }) => name === "keyring")).toMatchObject({
      ok: true,
      detail: "from PORTCULLIS_KEYRING",
    });
  } finally {
    await Promise.all(gateways.map(({ close }) => close()));
  }
});
