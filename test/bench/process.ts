/**
 * The bench's processes: each pinned to a core, and what each has used. What is measured runs on one core, all that
 * measures it on the other, so that the figures do not depend on who was scheduled when.
 */
import { fork, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { freePort, started } from "../support/parts.ts";
import type { Part } from "../support/parts.ts";
import type { Job, Result } from "./load.ts";

const here = import.meta.dirname;
const pins = spawnSync("taskset", ["-c", "0,1", "true"]).status === 0;

/** Which core: what is measured, or what measures it. */
export type Side = "measured" | "measuring";

/** `command args`, on the side's core where the machine lets us choose. */
export function pinned(side: Side, command: readonly string[]): readonly string[] {
  return pins ? ["taskset", "-c", side === "measured" ? "0" : "1", ...command] : command;
}

/** Runs `node file args` with the listening port as its first argument. */
export async function startNode(side: Side, file: string, args: readonly string[]): Promise<Part> {
  const port = await freePort();
  const [command = "", ...rest] = pinned(side, [process.execPath, join(here, file), String(port), ...args]);
  return await started(command, rest, port);
}

export type Load = { readonly run: (job: Job) => Promise<Result>; readonly stop: () => void };

/** `load-grpc.ts` understands the same jobs. */
export function startLoad(file: "load.ts" | "load-grpc.ts" = "load.ts"): Load {
  const child = fork(join(here, file), { execPath: process.execPath });
  if (pins) spawnSync("taskset", ["-a", "-c", "-p", "1", String(child.pid)]);
  return { run: (job) => performed(child, job), stop: () => child.disconnect() };
}

function performed(child: ChildProcess, job: Job): Promise<Result> {
  return new Promise((settle, fail) => {
    child.once("error", fail);
    child.once("message", (result) => {
      child.removeListener("error", fail);
      settle(result as Result);
    });
    child.send(job);
  });
}

/** CPU time of all threads of the process since it began, µs; its children do not count. */
export function cpuMicros(pid: number): number {
  // nanoseconds, where /proc/pid/stat has hundredths of a second
  const threads = readdirSync(`/proc/${pid}/task`);
  return threads.reduce((sum, thread) => sum + threadNanos(pid, thread), 0) / 1000;
}

function threadNanos(pid: number, thread: string): number {
  try {
    return Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]);
  } catch {
    // the thread ended between the listing and the reading
    return 0;
  }
}

export function residentMb(pid: number): number {
  const kilobytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Math.round(Number(kilobytes) / 102.4) / 10;
}
