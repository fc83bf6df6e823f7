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

test("a file of version 1 keeps its keys and gets one to sign snapshots with, once", async () => {
  const key = { id: "aa", key: "11".repeat(32) };
  await writeFile(file, JSON.stringify({ version: 1, session: [key], digest: key }), { mode: 0o600 });
  const first = await openKeyring({ file, given: null }, ports);
  expect(first.session[0].key.toString("hex")).toBe(key.key);
  expect(first.snapshot).toHaveLength(1);
  expect(JSON.parse(await readFile(file, "utf8"))).toMatchObject({ version: 2, session: [key], digest: key });
  expect(await openKeyring({ file, given: null }, ports)).toEqual(first);
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
