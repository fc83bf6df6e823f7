/** No byte of an answer, and none to an upstream, before its record: seen at the system calls themselves. */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { Socket } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { fixtureServer, discovered, BASE_CONFIG, KEYS, shareCompiled, startGateway } from "./support/gateway.ts";
import { lacks } from "./support/parts.ts";
import { portcullis, temporaryFolder } from "./support/portcullis.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const CALLS = process.env["FULL"] === "1" ? 10_000 : 300;
const AT_ONCE = 16;

type Event = { readonly kind: "record" | "sync" | "socket"; readonly text: string };

/** What this process writes to files of the trail and to sockets, and syncs, in order. */
function watched(): readonly Event[] {
  const events: Event[] = [];
  const { writeSync, fdatasync } = fs;
  const generic = Reflect.get(Socket.prototype, "_writeGeneric") as (...all: readonly unknown[]) => unknown;
  const restore = (): void => {
    Object.assign(fs, { writeSync, fdatasync });
    Reflect.set(Socket.prototype, "_writeGeneric", generic);
    syncBuiltinESMExports();
  };
  onTestFinished(restore);
  Object.assign(fs, {
    writeSync: (fd: number, bytes: Buffer) => {
      const wrote = writeSync(fd, bytes);
      events.push({ kind: "record", text: bytes.toString("latin1", 0, wrote) });
      return wrote;
    },
    fdatasync: (fd: number, done: (error: Error | null) => void) =>
      fdatasync(fd, (error) => {
        events.push({ kind: "sync", text: "" });
        done(error);
      }),
  });
  Reflect.set(Socket.prototype, "_writeGeneric", function (this: Socket, ...all: readonly unknown[]) {
    events.push({ kind: "socket", text: textOf(all[1]) });
    return generic.apply(this, [...all]);
  });
  syncBuiltinESMExports();
  return events;
}

function textOf(data: unknown): string {
  if (Array.isArray(data)) return data.map((one: { readonly chunk: unknown }) => textOf(one.chunk)).join("");
  return Buffer.isBuffer(data) ? data.toString("latin1") : String(data);
}

test.each(["write", "fsync"] as const)(`in one process, ${CALLS} calls at once (%s)`, async (flush) => {
  const fixture = await startFixture();
  const gateway = await startGateway({ servers: [fixtureServer(fixture)], audit: { flush } });
  try {
    await discovered(gateway, "fixture");
    const events = watched();
    let next = 0;
    const work = async (): Promise<void> => {
      for (let at = next++; at < CALLS; at = next++) {
        const tool = at % 5 === 4 ? "fixture__none" : "fixture__echo";
        const headers = { "content-type": "application/json", "x-api-key": KEYS.alice };
        const body = JSON.stringify({ arguments: { text: `marker-${at}-` } });
        await (await fetch(`${gateway.url}/tools/${tool}/call`, { method: "POST", headers, body })).text();
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    expect(violations(events, flush)).toEqual([]);
  } finally {
    await gateway.close();
    await fixture.close();
  }
});

/** Each answer and each request to an upstream that came too early; and too few of them seen is one too. */
function violations(events: readonly Event[], flush: "write" | "fsync"): readonly string[] {
  const durable = { intent: new Map<string, number>(), ending: new Map<string, number>() };
  let written: { readonly kind: "intent" | "ending"; readonly call: string }[] = [];
  const sent = new Map<string, number>();
  const found: string[] = [];
  let answers = 0;
  for (const [at, { kind, text }] of events.entries()) {
    if (kind === "record") {
      for (const line of text.split("\n")) {
        const call = /"portcullis\.call\.id","value":\{"stringValue":"([^"]+)"/.exec(line)?.[1];
        if (call !== undefined)
          written.push({ kind: line.includes('"stringValue":"intent"') ? "intent" : "ending", call });
      }
    }
    if (kind === (flush === "write" ? "record" : "sync")) {
      for (const one of written) durable[one.kind].set(one.call, at);
      written = [];
    }
    if (kind !== "socket") continue;
    const marker = /marker-\d+-/.exec(text)?.[0] ?? "";
    if (text.includes('"tools/call"')) sent.set(marker, at);
    const call = /^HTTP\/1\.1 [^]*?portcullis-call-id: (\S+)/i.exec(text)?.[1];
    if (call === undefined) continue;
    answers++;
    if (!durable.ending.has(call)) found.push(`an answer before its record: ${call}`);
    const asked = text.startsWith("HTTP/1.1 200") ? (sent.get(marker) ?? -1) : Infinity;
    if (asked < (durable.intent.get(call) ?? Infinity) && asked !== Infinity)
      found.push(`an upstream before the intent: ${call}`);
  }
  return answers < CALLS ? [...found, `only ${answers} answers were seen`] : found;
}

test.skipIf(lacks("strace"))("in a process of its own, by strace", async () => {
  const fixture = await startFixture();
  const folder = temporaryFolder();
  await shareCompiled(folder);
  const { listen: _listen, admin: _admin, ...base } = BASE_CONFIG;
  const config = { ...base, servers: [fixtureServer(fixture)], audit: { flush: "fsync" } };
  const file = join(folder, "trace");
  const prefix = ["strace", "-D", "-f", "-qq", "-s", "12000", "-o", file, "-e", "trace=write,writev,fdatasync"];
  const gateway = await portcullis({ config, folder, prefix, tools: { key: KEYS.alice, ids: ["fixture__echo"] } });
  const calls: string[] = [];
  try {
    for (let at = 0; at < 20; at++) {
      const headers = { "content-type": "application/json", "x-api-key": KEYS.alice };
      const answer = await fetch(`${gateway.url}/tools/fixture__echo/call`, {
        method: "POST",
        headers,
        body: '{"arguments":{"text":"x"}}',
      });
      calls.push(answer.headers.get("portcullis-call-id") ?? "");
    }
  } finally {
    await gateway.stop();
    await fixture.close();
  }
  const trace = fs.readFileSync(file, "latin1").split("\n");
  fs.rmSync(folder, { recursive: true });
  for (const call of calls) {
    const record = trace.findLastIndex(
      (line) => line.includes("resourceSpans") && line.includes(call) && / write\(/.test(line),
    );
    // begun after the line was written; another thread says when it is done
    const synced = trace.findIndex(
      (line, at) => at > record && /fdatasync\(\d+\) += 0|fdatasync resumed.* = 0/.test(line),
    );
    const answer = trace.findIndex(
      (line) => line.includes("HTTP/1.1 ") && line.includes(`portcullis-call-id: ${call}`),
    );
    expect([record > 0, record < synced, synced < answer], call).toEqual([true, true, true]);
  }
});
