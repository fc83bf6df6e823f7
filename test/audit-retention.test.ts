/** What is removed for its age leaves a trail that still verifies, and no leave to remove more. */
import { readFile, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Keep } from "../src/audit/retention.ts";
import { proveCall } from "../src/audit/proof.ts";
import { verify } from "../src/audit/verify.ts";
import { pinOf } from "../src/ed25519.ts";
import { SIGNING, auditing, callOnce, folder, spoolFiles } from "./audit-parts.ts";

const PINS = [pinOf(SIGNING)];
const DAY_MS = 86_400_000;
const checkpoints = { keys: [SIGNING] as const, every: 3, intervalMs: 60_000 };
const keepDays: Keep = { ageMs: DAY_MS, targets: [] };

/** Three starts of several files each; those of the first two, and the first files of the third, are old. */
async function trail(keep: Keep = keepDays) {
  const directory = await folder();
  const start = () => auditing({ directory, segmentBytes: 6_000, checkpoints, keep });
  for (let turn = 0; turn < 2; turn++) {
    const room = await start();
    for (let call = 0; call < 5; call++) await callOnce(room);
    await room.audit.close();
  }
  const before = await spoolFiles(directory);
  const room = await start();
  const calls = [];
  for (let call = 0; call < 8; call++) calls.push((await callOnce(room)).call.id);
  const own = (await spoolFiles(directory)).filter((file) => !before.includes(file));
  const old = [...before, ...own.slice(0, 2)];
  for (const file of old) await age(directory, file);
  return { room, directory, old, own, calls };
}

async function age(directory: string, file: string): Promise<void> {
  const then = new Date(Date.now() - 2 * DAY_MS);
  await utimes(join(directory, file), then, then);
}

const check = (directory: string) => verify(directory, { pins: PINS });

test("old files go, and what is left verifies, while it grows and after the next start", async () => {
  const { room, directory, old, own, calls } = await trail();
  expect(await room.audit.prune()).toEqual(old);
  expect(await spoolFiles(directory)).toEqual(own.slice(2));
  const seen = await check(directory);
  expect(seen).toMatchObject({ ok: true, chains: 1 });
  expect(seen.signed.removed).toBeGreaterThan(20);
  await callOnce(room);
  await room.audit.close();
  const next = await auditing({ directory, checkpoints, keep: keepDays });
  await callOnce(next);
  await next.audit.close();
  expect(await check(directory)).toMatchObject({ ok: true, chains: 2 });
  const proof = await proveCall(directory, { call: calls.at(-1)!, intent: false, pins: PINS, outside: null });
  expect(proof).toMatchObject({ line: expect.stringContaining(calls.at(-1)!) as string });
});

test("a chain of which nothing is left keeps one word of itself, and the next one follows it", async () => {
  const { room, directory, own } = await trail();
  await room.audit.prune();
  await room.audit.close();
  for (const file of own) await age(directory, file).catch(() => {});
  const next = await auditing({ directory, checkpoints, keep: keepDays });
  await callOnce(next);
  await next.audit.prune();
  expect(await spoolFiles(directory)).toHaveLength(1);
  await next.audit.close();
  const seen = await check(directory);
  expect(seen).toMatchObject({ ok: true, chains: 1, records: 2, signed: { removed: 36 } });
});

test("whoever removes one more file than was signed is found out", async () => {
  const { room, directory, own } = await trail();
  await room.audit.prune();
  await room.audit.close();
  await rm(join(directory, own[2]!));
  expect(await check(directory)).toMatchObject({
    ok: false,
    firstBad: { file: own[3], reason: "segment 1 is missing" },
  });
});

test("whoever removes old files himself is found out", async () => {
  const { room, directory, old } = await trail();
  await room.audit.close();
  for (const file of old) await rm(join(directory, file));
  expect(await check(directory)).toMatchObject({ ok: false });
});

test("beyond so many bytes the oldest go", async () => {
  const { room, directory } = await trail({ bytes: 20_000, targets: [] });
  const removed = await room.audit.prune();
  expect(removed.length).toBeGreaterThan(3);
  const left = await spoolFiles(directory);
  const sizes = await Promise.all(left.map(async (file) => (await readFile(join(directory, file))).length));
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(20_000);
  expect(await check(directory)).toMatchObject({ ok: true });
});

test("what somebody is still to be sent stays", async () => {
  const target = "http://127.0.0.1:4318";
  const { room, directory, old } = await trail({ ageMs: DAY_MS, targets: [target] });
  expect(await room.audit.prune()).toEqual([]);
  const { cursorFile } = await import("../src/audit/export-cursor.ts");
  await cursorFile(directory, target, room.ports.disk).write({ file: old[2]!, offset: 0, sequence: 9 });
  expect(await room.audit.prune()).toEqual(old.slice(0, 2));
  expect(await check(directory)).toMatchObject({ ok: true });
});

test("a file without a checkpoint at its end stays, and nothing young goes", async () => {
  const { room, directory, old } = await trail();
  const notes = (await readdir(directory)).find(
    (file) => file.endsWith(".checkpoints") && old[0]!.startsWith(file.slice(0, 28)),
  );
  await writeFile(join(directory, notes!), "");
  const removed = await room.audit.prune();
  expect(removed).not.toContain(old[0]);
  const young = await auditing({ directory: await folder(), checkpoints, keep: keepDays });
  await callOnce(young);
  expect(await young.audit.prune()).toEqual([]);
});

test("however many checkpoints a chain has, its old files go, and the rest of the gateway goes on meanwhile", async () => {
  const { room, directory, own } = await trail();
  const notes = join(directory, `${own[0]!.slice(0, own[0]!.lastIndexOf("-"))}.checkpoints`);
  const signed = await readFile(notes, "utf8");
  const last = signed.slice(signed.lastIndexOf("portcullis/"));
  // the ends of the old files stand in front of 70 MiB of later ones
  await writeFile(notes, `${signed}\n\n${`${last}\n\n`.repeat(Math.ceil((70 * 2 ** 20) / last.length))}`);
  const begun = performance.now();
  const turns: number[] = [begun];
  const turning = setInterval(() => turns.push(performance.now()), 1);
  expect(await room.audit.prune()).toEqual(expect.arrayContaining(own.slice(0, 2)));
  clearInterval(turning);
  const took = performance.now() - begun;
  turns.push(begun + took);
  // a share of it, since how long it takes is the machine's
  expect(Math.max(...turns.slice(1).map((at, index) => at - turns[index]!))).toBeLessThan(took / 2);
}, 60_000);
