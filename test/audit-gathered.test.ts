/** What is gathered is signed where it is kept: a control plane's checkpoints stand beside each sidecar's chain, under its name. */
import { cp, mkdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { parseNotes, signCheckpoint } from "../src/audit/checkpoint.ts";
import type { Signed } from "../src/audit/checkpoint.ts";
import type { Sinks } from "../src/audit/sinks.ts";
import { verify } from "../src/audit/verify.ts";
import { pinOf } from "../src/ed25519.ts";
import { realPorts, silent } from "../src/ports.ts";
import { SIGNING, auditing, callOnce, folder, spoolFiles } from "./audit-parts.ts";
import { portcullis } from "./cli-io.ts";

const PINS = [pinOf(SIGNING)];
const OTHERS = { id: "others", key: Buffer.alloc(32, 5) } as const;

/** A sidecar's own trail, closed. */
async function trailOf(calls: number) {
  const room = await auditing({ checkpoints: { keys: [OTHERS], intervalMs: 60_000 } });
  for (let turn = 0; turn < calls; turn++) await callOnce(room);
  await room.audit.close();
  const [file = ""] = await spoolFiles(room.directory);
  const text = await readFile(join(room.directory, file), "utf8");
  const chain = file.replace(/-\d+\.jsonl$/, "");
  const own = parseNotes(await readFile(join(room.directory, `${chain}.checkpoints`), "utf8")).notes.at(-1)!;
  const note = (name: string) => signCheckpoint({ ...own.checkpoint, chain: name }, OTHERS);
  return { file, chain, lines: text.split("\n").slice(0, -1), note };
}

async function gatherer(directory?: string, intervalMs = 20) {
  const heard: Signed[] = [];
  const sinks: Sinks = { publish: (signed) => void heard.push(signed), status: () => [], close: async () => {} };
  const more = directory === undefined ? {} : { directory };
  const room = await auditing({ ...more, checkpoints: { keys: [SIGNING], intervalMs, sinks } });
  const gathered = () => heard.filter(({ checkpoint }) => checkpoint.chain.includes("/"));
  return { ...room, gathered };
}

const edge = (directory: string) => join(directory, "gathered/edge-1");
const held = (directory: string, more: object = {}) =>
  verify(edge(directory), { pins: PINS, writer: "edge-1", ...more });

/** Gathers all of it in two goes. */
async function gathered() {
  const sidecar = await trailOf(5);
  const room = await gatherer();
  for (const lines of [sidecar.lines.slice(0, 4), sidecar.lines.slice(4)]) {
    await room.audit.keep("edge-1", sidecar.file, lines, null);
    await expect.poll(() => room.gathered().at(-1)?.checkpoint.head).toBeDefined();
  }
  await expect.poll(() => room.gathered().at(-1)?.checkpoint.range.size).toBe(10);
  return { sidecar, room };
}

describe("a chain that is gathered", () => {
  test("is signed as it grows, beside it and elsewhere, under its writer's name", async () => {
    const { sidecar, room } = await gathered();
    const name = `edge-1/${sidecar.chain}`;
    expect(new Set(room.gathered().map(({ checkpoint }) => checkpoint.chain))).toEqual(new Set([name]));
    const beside = await readFile(join(edge(room.directory), `${sidecar.chain}.checkpoints`), "utf8");
    expect(parseNotes(beside).notes).toEqual(room.gathered());
    await room.audit.close();
    expect(await held(room.directory)).toMatchObject({ ok: true, records: 10, signed: { records: 10 } });
    expect(await verify(room.directory, { pins: PINS })).toMatchObject({ ok: true });
  });

  test("and was cut, taken away or written anew is found out", async () => {
    const { sidecar, room } = await gathered();
    await room.audit.close();
    const path = join(edge(room.directory), sidecar.file);
    const whole = await readFile(path);
    await truncate(path, whole.lastIndexOf(10, whole.length - 2) + 1);
    expect(await held(room.directory)).toMatchObject({ ok: false, firstBad: { sequence: 10 } });
    await rm(path);
    expect(await held(room.directory)).toMatchObject({ ok: false, firstBad: { sequence: 1 } });
    const other = await trailOf(5);
    await writeFile(path, `${other.lines.join("\n")}\n`);
    expect((await held(room.directory)).firstBad?.reason).toMatch(/^records 1 to \d+ are not those of the checkpoint/);
    // without those beside it, those that were kept elsewhere tell
    await rm(join(edge(room.directory), `${sidecar.chain}.checkpoints`));
    expect(await held(room.directory)).toMatchObject({ ok: true });
    const outside = room.gathered().map((one) => ({ ...one, from: "elsewhere" }));
    expect(await held(room.directory, { outside })).toMatchObject({ ok: false, firstBad: { sequence: 1 } });
  });

  test("is signed to its end by the next start, where a kill came before", async () => {
    const sidecar = await trailOf(3);
    const directory = await folder();
    await mkdir(edge(directory), { recursive: true });
    // a checkpoint of somebody else is none to go on from
    await writeFile(join(edge(directory), `${sidecar.chain}.checkpoints`), sidecar.note(`edge-1/${sidecar.chain}`));
    await writeFile(join(edge(directory), sidecar.file), `${sidecar.lines.join("\n")}\n`);
    const room = await gatherer(directory);
    await expect.poll(() => room.gathered().map(({ checkpoint }) => checkpoint.range.size)).toEqual([6]);
    await room.audit.close();
    const again = await gatherer(directory);
    await again.audit.close();
    expect(again.gathered()).toEqual([]);
  });

  test("is signed to its end when the gateway stops", async () => {
    const sidecar = await trailOf(2);
    const room = await gatherer(undefined, 60_000);
    await room.audit.keep("edge-1", sidecar.file, sidecar.lines, null);
    await room.audit.close();
    expect(room.gathered().map(({ checkpoint }) => checkpoint.range.size)).toEqual([4]);
  });

  test("is signed as far as it is here, where another gatherer has what follows", async () => {
    const sidecar = await trailOf(5);
    const room = await gatherer();
    await room.audit.keep("edge-1", sidecar.file, sidecar.lines.slice(0, 4), null);
    await expect.poll(() => room.gathered().at(-1)?.checkpoint.range.size).toBe(4);
    const hash = /"audit.sequence.prev_hash","value":\{"stringValue":"([0-9a-f]{64})"/.exec(sidecar.lines[7]!)![1]!;
    const keeper = "gateway-0123456789abcdef0123";
    await room.audit.keep("edge-1", sidecar.file, sidecar.lines.slice(7), { sequence: 7, hash, keeper });
    await room.audit.close();
    expect(room.gathered().at(-1)?.checkpoint.range.size).toBe(4);
    expect(await held(room.directory)).toMatchObject({ ok: true, records: 7, elsewhere: [{ keeper }] });
  });

  test("has no gap where it was signed, whatever a note beside it says", async () => {
    const { sidecar, room } = await gathered();
    await room.audit.close();
    const [, hash] = /"audit.sequence.prev_hash","value":\{"stringValue":"([0-9a-f]{64})"/.exec(sidecar.lines[6]!)!;
    const left = [...sidecar.lines.slice(0, 3), ...sidecar.lines.slice(6)];
    await writeFile(join(edge(room.directory), sidecar.file), `${left.join("\n")}\n`);
    const gap = { v: 1, after: 3, sequence: 6, hash, keeper: "gateway-0123456789abcdef0123" };
    await writeFile(join(edge(room.directory), `${sidecar.chain}.gaps`), `${JSON.stringify(gap)}\n`);
    expect(await held(room.directory)).toMatchObject({ ok: false, firstBad: { sequence: 4 } });
  });

  test("is with whoever a note beside it names, but a terminal is told no more than text", async () => {
    const sidecar = await trailOf(5);
    const room = await gatherer();
    const [, hash = ""] = /"audit.sequence.prev_hash","value":\{"stringValue":"([0-9a-f]{64})"/.exec(
      sidecar.lines[7]!,
    )!;
    const there = { sequence: 7, hash, keeper: "\u001b[2Jgateway" };
    await room.audit.keep("edge-1", sidecar.file, sidecar.lines.slice(7), there);
    await room.audit.close();
    const { stderr } = await portcullis(["audit", "verify", room.directory]);
    expect(stderr).toContain("gateway\n");
    expect(stderr).not.toContain("\u001b");
  });

  test.each([
    ["was torn", (text: string) => text.slice(0, -30)],
    ["was lost with the power", (text: string) => "\0".repeat(text.length)],
  ])("is signed by the next start, where the last checkpoint %s", async (_, broken) => {
    const sidecar = await trailOf(3);
    const directory = await folder();
    const first = await gatherer(directory, 60_000);
    await first.audit.keep("edge-1", sidecar.file, sidecar.lines, null);
    await first.audit.close();
    const notes = join(edge(directory), `${sidecar.chain}.checkpoints`);
    await writeFile(notes, broken(await readFile(notes, "utf8")));
    const again = await gatherer(directory);
    await expect.poll(() => again.gathered().map(({ checkpoint }) => checkpoint.range.size)).toEqual([6]);
  });

  test("and taken away before it was signed is asked for no more", async () => {
    const sidecar = await trailOf(1);
    const warned: string[] = [];
    const ports = realPorts({ ...silent, warn: (_, message) => void warned.push(message) });
    const room = await auditing({ checkpoints: { keys: [SIGNING], intervalMs: 50 } }, ports);
    await room.audit.keep("edge-1", sidecar.file, sidecar.lines, null);
    await rm(join(room.directory, "gathered"), { recursive: true });
    await sleep(300);
    expect(warned).toEqual([]);
  });

  test("with the name of one of the gateway's own is not taken for it", async () => {
    const room = await gatherer();
    await callOnce(room);
    const [own = ""] = await spoolFiles(room.directory);
    const sidecar = await trailOf(5);
    // a sidecar may call its files what it likes
    await room.audit.keep("edge-1", own, sidecar.lines, null);
    await expect.poll(() => room.gathered().at(-1)?.checkpoint.range.size).toBe(10);
    await room.audit.close();
    const outside = room.gathered().map((one) => ({ ...one, from: "elsewhere" }));
    await rm(join(room.directory, own));
    await cp(join(edge(room.directory), own), join(room.directory, own));
    const beside = join(room.directory, own.replace(/-\d+\.jsonl$/, ".checkpoints"));
    await writeFile(beside, outside.map(({ note }) => note).join("\n\n"));
    const seen = await verify(room.directory, { pins: PINS, writer: null });
    expect(seen).toMatchObject({ ok: false, signed: { records: 0 } });
  });
});

test("`audit verify` says of each sidecar what is signed, and holds it against what was kept elsewhere", async () => {
  const { sidecar, room } = await gathered();
  await room.audit.close();
  const kept = await folder();
  const [outside, itsOwn, keys] = [join(kept, "ours"), join(kept, "theirs"), join(kept, "keys")] as const;
  await writeFile(outside, room.gathered().at(-1)!.note);
  await writeFile(itsOwn, sidecar.note(sidecar.chain));
  await writeFile(keys, [...PINS, pinOf(OTHERS)].join("\n"));
  const run = (place: string, checkpoints = outside) =>
    portcullis(["audit", "verify", place, "--key", keys, "--checkpoints", checkpoints]);
  const well = await run(room.directory);
  expect(well.stderr).toMatch(
    /10 records of edge-1 in 1 chain: every link holds\.\n10 of them are under \d+ checkpoints/,
  );
  expect(well.code).toBe(0);
  expect((await run(edge(room.directory))).code).toBe(0);
  expect((await run(room.directory, itsOwn)).code).toBe(0);
  const evidence = join(kept, "evidence");
  await cp(edge(room.directory), evidence, { recursive: true });
  expect((await run(evidence)).code).toBe(1);
  expect(
    await portcullis(["audit", "verify", evidence, "--key", keys, "--checkpoints", outside, "--writer", "edge-1"]),
  ).toMatchObject({ code: 0 });
  const file = join(edge(room.directory), sidecar.file);
  await writeFile(file, `${sidecar.lines.slice(0, 8).join("\n")}\n`);
  await rm(join(edge(room.directory), `${sidecar.chain}.checkpoints`));
  for (const place of [outside, itsOwn])
    expect(await run(room.directory, place)).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/edge-1\/\S+: record 9: .* has 10 records, the trail ends after 8/) as string,
    });
});

test.each([
  ["other sidecars", ["gathered/a-copy", "gathered/z-copy"]],
  ["the gateway itself", ["."]],
])("a copy among the files of %s does not vouch for a trail that was cut", async (_, places) => {
  const { sidecar, room } = await gathered();
  await room.audit.close();
  const kept = await folder();
  const [itsOwn, keys] = [join(kept, "theirs"), join(kept, "keys")] as const;
  await writeFile(itsOwn, sidecar.note(sidecar.chain));
  await writeFile(keys, [...PINS, pinOf(OTHERS)].join("\n"));
  for (const place of places) {
    const copy = join(room.directory, place);
    await mkdir(copy, { recursive: true });
    await cp(join(edge(room.directory), sidecar.file), join(copy, sidecar.file));
  }
  await writeFile(join(edge(room.directory), sidecar.file), `${sidecar.lines.slice(0, 8).join("\n")}\n`);
  await rm(join(edge(room.directory), `${sidecar.chain}.checkpoints`));
  expect(await portcullis(["audit", "verify", room.directory, "--key", keys, "--checkpoints", itsOwn])).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/edge-1\/\S+: record 9: .* has 10 records, the trail ends after 8/) as string,
  });
});
