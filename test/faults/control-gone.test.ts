/**
 * The promise: a control plane that is killed and stays away for minutes (seconds, unless FULL=1) stops nobody. Sidecars serve,
 * start again from their disks, and refuse what was revoked; and once it is back every record of every answer arrives, chains whole.
 */
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { lines } from "../audit-parts.ts";
import { until } from "../support/gateway.ts";
import { key, portcullis, temporaryFolder } from "../support/portcullis.ts";
import type { Portcullis } from "../support/portcullis.ts";
import { startRelay } from "../support/relay.ts";
import { startFixture } from "../support/upstreams/fixture.ts";

const BIN = join(import.meta.dirname, "..", "..", "bin/portcullis.js");
const execute = promisify(execFile);
const AWAY_MS = process.env["FULL"] === "1" ? 150_000 : 4_000;
const NAMES = ["edge-1", "edge-2"] as const;
const alice = key("alice", "alice");

type Edge = { readonly name: string; readonly words: readonly string[]; at: Portcullis };

async function startControl(folder: string, upstream: string): Promise<Portcullis> {
  const plane = await portcullis({
    command: ["control"],
    folder,
    config: {
      roles: { user: ["demo:use"] },
      principals: ["alice", "bob"].map((id) => ({ id, roles: ["user"] })),
      auth: { keys: [alice.entry] },
      servers: [
        { name: "fixture", permissions: ["demo:use"], instances: [{ http: { url: upstream, allowPrivate: true } }] },
      ],
    },
  });
  onTestFinished(async () => void (await plane.stop()));
  return plane;
}

async function startEdge(edge: Pick<Edge, "words">, folder: string): Promise<Portcullis> {
  const at = await portcullis({ command: ["sidecar", ...edge.words], config: {}, folder });
  onTestFinished(async () => void (await at.stop()));
  return at;
}

const adminOf = (plane: Portcullis): string => /http:\/\/(\S+)\/trpc/.exec(plane.output())?.[1] ?? "";

/** `ok` or the refusal's code, and the call's id. */
type Answered = { readonly code: string; readonly callId: string };

async function call(at: Portcullis, secret: string): Promise<Answered> {
  const response = await fetch(`${at.url}/tools/fixture__echo/call`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-api-key": secret },
    body: JSON.stringify({ arguments: { text: "through" } }),
  });
  const callId = response.headers.get("portcullis-call-id") ?? "";
  const { code = "ok" } = (await response.json()) as { readonly code?: string };
  return { code, callId };
}

/** One call after the other, until told to end. */
function load({ at }: Edge, answered: Answered[]): () => Promise<void> {
  const ending = new AbortController();
  const ended = (async () => {
    for (; !ending.signal.aborted; await sleep(20)) answered.push(await call(at, alice.text));
  })();
  return () => {
    ending.abort();
    return ended;
  };
}

test(
  "sidecars outlive a control plane that is away, restart without it, and all records arrive",
  async () => {
    const fixture = await startFixture();
    onTestFinished(fixture.close);
    const home = temporaryFolder();
    const plane = { now: await startControl(home, fixture.url) };
    const relay = await startRelay(() => adminOf(plane.now));
    onTestFinished(relay.close);
    const run = async (...words: string[]) => (await execute(process.execPath, [BIN, ...words], { cwd: home })).stdout;
    const bob = (await run("keys", "issue", "--principal", "bob")).trim();
    const edges: Edge[] = [];
    for (const name of NAMES) {
      const file = join(home, `${name}.key`);
      writeFileSync(file, await run("keys", "issue", "--sidecar", name));
      const words = ["--control", relay.url, "--key-file", file];
      edges.push({ name, words, at: await startEdge({ words }, temporaryFolder()) });
    }
    const [, second] = edges as [Edge, Edge];
    for (const { at } of edges) {
      await until(async () => (await call(at, alice.text)).code === "ok", "a call passes");
      await until(async () => (await call(at, bob)).code === "ok", "the key is known");
    }
    await run("keys", "revoke", /^pc_([^_]+)_/.exec(bob)?.[1] ?? "");
    for (const { at } of edges)
      await until(async () => (await call(at, bob)).code === "unauthenticated", "it is heard");

    process.kill(plane.now.pid, "SIGKILL");
    const answered: Answered[] = [];
    const ends = edges.map((edge) => load(edge, answered));
    await sleep(AWAY_MS / 2);
    await ends[1]?.();
    expect(await second.at.stop()).toBe(0);
    second.at = await startEdge(second, second.at.folder);
    await until(async () => (await call(second.at, alice.text)).code === "ok", "it serves from its disk");
    ends[1] = load(second, answered);
    await sleep(AWAY_MS / 2);
    for (const { at } of edges) expect(await call(at, bob)).toMatchObject({ code: "unauthenticated" });

    plane.now = await startControl(home, fixture.url);
    const connected = async (): Promise<boolean> => {
      const status = await run("status");
      return NAMES.every((name) => new RegExp(`${name} +yes `).test(status));
    };
    await until(connected, "both are heard", 60_000);
    for (const { at } of edges) expect(await call(at, bob)).toMatchObject({ code: "unauthenticated" });
    for (const end of ends) await end();

    expect(new Set(answered.map(({ code }) => code))).toEqual(new Set(["ok"]));
    const gathered = (name: string) => join(home, "data/audit/gathered", name);
    for (const { name, at } of edges) {
      const own = join(at.folder, "data/audit");
      const all = async () => (await lines(gathered(name)).catch(() => [])).length;
      await until(async () => (await all()) === (await lines(own)).length, `all records of ${name} arrive`, 60_000);
      expect(await lines(gathered(name))).toEqual(await lines(own));
    }
    const text = (await Promise.all(NAMES.map((name) => lines(gathered(name))))).flat().join("\n");
    expect(answered.filter(({ callId }) => callId === "" || !text.includes(callId))).toEqual([]);
    expect(JSON.parse(await run("audit", "verify", "--json"))).toMatchObject({ ok: true });
  },
  AWAY_MS + 180_000,
);
