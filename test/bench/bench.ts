/**
 * `npm run bench`: what a call costs, in one run on this machine, beside a bare reverse proxy. Prints tables for the
 * README; `-- --json` prints one line of JSON last, `-- --quick` takes a third of the time and warms up less, `-- --only
 * planes` runs one section. Speed is reported, never
 * asserted: the exit code is 1 only if a section could not be measured.
 */
import { availableParallelism } from "node:os";
import { spawnSync } from "node:child_process";
import { callPath } from "./call-path.ts";
import type { Bench, Effort } from "./gateways.ts";
import { startLoad, startNode } from "./process.ts";
import { planes } from "./planes.ts";
import { policy } from "./policy.ts";
import { figures, tables } from "./report.ts";
import type { Sections } from "./report.ts";
import { extAuthz, lists, memory, scale, startUp } from "./sections.ts";
import { records } from "./records.ts";
import { traffic } from "./traffic.ts";
import { trail } from "./trail.ts";

const DEFAULT: Effort = {
  quick: false,
  // several rounds: a neighbour's burst spoils one or two of them, not the middle one
  rounds: 7,
  warm: { calls: 80_000, ms: 12_000 },
  singleMs: 500,
  manyMs: 1_200,
  memoryCalls: 100_000,
};
const QUICK: Effort = {
  quick: true,
  rounds: 3,
  warm: { calls: 25_000, ms: 4_000 },
  singleMs: 300,
  manyMs: 500,
  memoryCalls: 20_000,
};

const only = process.argv[process.argv.indexOf("--only") + 1];
const json = process.argv.includes("--json");
const effort = process.argv.includes("--quick") ? QUICK : DEFAULT;
const upstream = await startNode("measuring", "upstream.ts", []);
const load = startLoad();
const bench: Bench = { load, upstream, effort };
const sections: Sections = {};
const faults: string[] = [];
for (const [name, section] of Object.entries(
  chosen({ callPath, lists, scale, extAuthz, memory, startUp, planes, traffic, policy, records, trail }),
)) {
  process.stderr.write(`${name} …\n`);
  try {
    Object.assign(sections, { [name]: await section(bench) });
  } catch (cause) {
    faults.push(`${name}: ${String(cause).slice(0, 600)}`);
  }
}
load.stop();
await upstream.stop();

const machine = {
  node: process.version,
  cores: availableParallelism(),
  pinned: spawnSync("taskset", ["-V"]).status === 0,
};
const result = { ok: faults.length === 0, quick: effort.quick, machine, ...figures(sections), faults };
process.stdout.write(tables(sections, result));
for (const fault of faults) process.stderr.write(`not measured: ${fault}\n`);
if (json) process.stdout.write(`${JSON.stringify(result)}\n`);
process.exitCode = faults.length === 0 ? 0 : 1;

function chosen<Section>(all: { readonly [name: string]: Section }): { readonly [name: string]: Section } {
  return process.argv.includes("--only")
    ? Object.fromEntries(Object.entries(all).filter(([name]) => name === only))
    : all;
}
