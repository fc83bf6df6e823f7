/** Ten thousand ways to touch a trail at random, and none goes unseen; five hundred of them in each run. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { verify } from "../src/audit/verify.ts";
import { pinOf } from "../src/ed25519.ts";
import { SIGNING, auditing, callOnce, folder } from "./audit-parts.ts";
import { random } from "./audit-simulated-disk.ts";

const FULL = process.env["FULL"] === "1";
const RUNS = FULL ? 10_000 : 500;
const PINS = [pinOf(SIGNING)];

type Files = ReadonlyMap<string, Buffer>;

/** Two writers' trails, each of two starts. */
async function trail(writer: string): Promise<{ readonly directory: string; readonly files: Files }> {
  const directory = await folder();
  for (let start = 0; start < 2; start++) {
    const checkpoints = { keys: [SIGNING] as const };
    const room = await auditing({ directory, writer, segmentBytes: 11_000, checkpoints });
    for (let turn = 0; turn < 5; turn++) await callOnce(room);
    await room.audit.close();
  }
  const names = readdirSync(directory);
  return { directory, files: new Map(names.map((name) => [name, readFileSync(join(directory, name))])) };
}

type Tamper = (lines: readonly Buffer[], chance: () => number, foreign: readonly Buffer[]) => readonly Buffer[];

const at = (chance: () => number, count: number) => Math.floor(chance() * count);
const flip: Tamper = (lines, chance) => {
  const line = at(chance, lines.length);
  const changed = Buffer.from(lines[line]!);
  const byte = at(chance, changed.length);
  changed[byte]! ^= 1 << at(chance, 8);
  return lines.with(line, changed);
};
const drop: Tamper = (lines, chance) => lines.toSpliced(at(chance, lines.length), 1 + at(chance, 2));
const swap: Tamper = (lines, chance) => {
  if (lines.length < 2) return lines;
  const one = at(chance, lines.length - 1);
  return lines.with(one, lines[one + 1]!).with(one + 1, lines[one]!);
};
const insert: Tamper = (lines, chance) => {
  const from = lines[at(chance, lines.length)]!;
  const made = chance() < 0.5 ? from : Buffer.from(from.toString("latin1").replace("alice", "mallo"), "latin1");
  return lines.toSpliced(at(chance, lines.length + 1), 0, made);
};
const cut: Tamper = (lines, chance) => lines.slice(0, -1 - at(chance, lines.length));
const tear: Tamper = (lines, chance) => {
  const all = Buffer.concat(lines);
  return [all.subarray(0, all.length - 1 - at(chance, all.length))];
};
const splice: Tamper = (lines, chance, foreign) =>
  lines.with(at(chance, lines.length), foreign[at(chance, foreign.length)]!);
const graft: Tamper = (_, chance, foreign) => foreign.slice(at(chance, 2));
const TAMPERINGS: { readonly [name: string]: Tamper } = { flip, drop, swap, insert, cut, tear, splice, graft };

/** With their newlines. */
function linesOf(file: Buffer): readonly Buffer[] {
  return file
    .toString("latin1")
    .split(/(?<=\n)/)
    .map((line) => Buffer.from(line, "latin1"));
}

test(`${RUNS} random tamperings are all found`, async () => {
  const [mine, other] = [await trail("gateway"), await trail("other")];
  const records = [...mine.files.keys()].filter((name) => name.endsWith(".jsonl")).toSorted();
  const foreign = [...other.files].filter(([name]) => name.endsWith(".jsonl")).map(([, file]) => linesOf(file));
  expect((await verify(mine.directory, { pins: PINS })).ok).toBe(true);
  const kinds = Object.keys(TAMPERINGS);
  const seen = new Map<string, number>();
  const chance = random(7);
  for (let run = 0; run < RUNS; run++) {
    const kind = kinds[at(chance, kinds.length)]!;
    const name = records[at(chance, records.length)]!;
    const before = mine.files.get(name)!;
    const after = Buffer.concat(TAMPERINGS[kind]!(linesOf(before), chance, foreign[at(chance, foreign.length)]!));
    if (after.equals(before)) continue;
    writeFileSync(join(mine.directory, name), after);
    const { ok, firstBad } = await verify(mine.directory, { pins: PINS });
    if (ok || firstBad === null) expect.unreachable(`run ${run}: ${kind} in ${name} was not found`);
    writeFileSync(join(mine.directory, name), before);
    seen.set(kind, (seen.get(kind) ?? 0) + 1);
  }
  expect([...seen.keys()].toSorted()).toEqual(kinds.toSorted());
  expect((await verify(mine.directory, { pins: PINS })).ok).toBe(true);
}, 600_000);

test("and whole files, in every way that they can be taken away or changed for one another", async () => {
  const { directory, files } = await trail("gateway");
  const records = [...files.keys()].filter((name) => name.endsWith(".jsonl")).toSorted();
  for (const name of records) {
    rmSync(join(directory, name));
    expect((await verify(directory, { pins: PINS })).ok, `without ${name}`).toBe(false);
    for (const instead of records.filter((one) => one !== name)) {
      writeFileSync(join(directory, name), files.get(instead)!);
      expect((await verify(directory, { pins: PINS })).ok, `${instead} as ${name}`).toBe(false);
    }
    writeFileSync(join(directory, name), files.get(name)!);
  }
  expect((await verify(directory, { pins: PINS })).ok).toBe(true);
});
