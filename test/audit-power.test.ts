/** The power fails at any moment, on a disk that fails besides: no acknowledged record is lost, and what is left verifies. */
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openCheckpoints } from "../src/audit/checkpoints.ts";
import { openSpool } from "../src/audit/spool.ts";
import { verify } from "../src/audit/verify.ts";
import { pinOf } from "../src/ed25519.ts";
import { realPorts, silent } from "../src/ports.ts";
import { SIGNING, openLine } from "./audit-parts.ts";
import { random, simulatedDisk } from "./audit-simulated-disk.ts";
import type { Chances } from "./audit-simulated-disk.ts";

const SEEDS = process.env["FULL"] === "1" ? 10_000 : 300;

type Run = { readonly acknowledged: ReadonlySet<string>; readonly directory: string; readonly folder: string };

/** Two starts on the same folder; the power fails in both. */
async function run(seed: number, flush: "fsync" | "write" = "fsync"): Promise<Run> {
  const folder = mkdtempSync(join(tmpdir(), "power-"));
  const directory = join(folder, "audit");
  const chance = random(seed);
  const acknowledged = new Set<string>();
  for (const start of [1, 2]) {
    const faulty = chance() < 0.6;
    const chances: Chances = {
      ...(faulty ? { write: 0.08, sync: 0.08, truncate: 0.3 } : { write: 0, sync: 0, truncate: 0 }),
      operations: 5 + Math.floor(chance() * 60),
    };
    await once({ directory, chance, chances, flush, name: `${start}`, acknowledged });
  }
  return { acknowledged, directory, folder };
}

type Start = {
  readonly directory: string;
  readonly chance: () => number;
  readonly chances: Chances;
  readonly flush: "fsync" | "write";
  readonly name: string;
  readonly acknowledged: Set<string>;
};

async function once({ directory, chance, chances, flush, name, acknowledged }: Start): Promise<void> {
  const ports = realPorts(silent);
  let ms = 0;
  const clock = { ...ports.clock, monotonicMs: () => (ms += 40) };
  const { disk, lose, dead } = simulatedDisk(chance, chances);
  const place = { directory, disk, writer: "gateway" };
  const options = {
    every: 3,
    intervalMs: 60_000,
    sync: flush === "fsync",
    publish: () => {},
    keys: [SIGNING] as const,
  };
  const checkpoints = openCheckpoints({ ...place, ...options }, { ...ports, clock });
  const spool = openSpool({ ...place, flush, segmentBytes: 2_000, durable: checkpoints.add }, { ...ports, clock });
  const work = async (worker: number): Promise<void> => {
    for (let at = 0; at < 80 && !dead(); at++) {
      const line = `${name}-${worker}-${at}-${"x".repeat(Math.floor(chance() * 200))}`;
      await spool.append(openLine(line)).then(
        () => acknowledged.add(line),
        () => new Promise((later) => setImmediate(later)),
      );
    }
  };
  await Promise.all([1, 2, 3].map(work));
  lose();
  await checkpoints.close();
}

function namesIn(directory: string): ReadonlySet<string> {
  const files = readdirSync(directory).filter((file) => file.endsWith(".jsonl"));
  // what stands after the last newline is no record
  const lines = files.flatMap((file) => readFileSync(join(directory, file), "latin1").split("\n").slice(0, -1));
  return new Set(lines.map((line) => /"name":"([^"]*)"/.exec(line)?.[1] ?? ""));
}

test(`${SEEDS} losses of power`, async () => {
  let acknowledged = 0;
  let signed = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const left = await run(seed);
    try {
      const names = left.acknowledged.size === 0 ? new Set() : namesIn(left.directory);
      const lost = [...left.acknowledged].filter((name) => !names.has(name));
      if (lost.length > 0) expect.unreachable(`seed ${seed}: ${lost.length} of ${left.acknowledged.size} lost`);
      const seen = await verify(left.directory, { pins: [pinOf(SIGNING)] }).catch(() => null);
      if (seen?.ok === false) expect.unreachable(`seed ${seed}: ${JSON.stringify(seen.firstBad)}`);
      acknowledged += left.acknowledged.size;
      signed += seen?.signed.checkpoints ?? 0;
    } finally {
      rmSync(left.folder, { recursive: true });
    }
  }
  expect(acknowledged).toBeGreaterThan(SEEDS * 3);
  expect(signed).toBeGreaterThan(SEEDS / 2);
}, 1_800_000);

test("the simulation loses what was never synced", async () => {
  let lost = 0;
  for (let seed = 1; seed <= 30; seed++) {
    const left = await run(seed, "write");
    const names = left.acknowledged.size === 0 ? new Set() : namesIn(left.directory);
    lost += [...left.acknowledged].filter((name) => !names.has(name)).length;
    rmSync(left.folder, { recursive: true });
  }
  expect(lost).toBeGreaterThan(30);
});
