/** Limits that count over a real Redis, for the length of a test. */
import { expect, onTestFinished } from "vitest";
import { createLimits } from "../../src/limits/limit.ts";
import type { Limits } from "../../src/limits/limit.ts";
import type { Limit } from "../../src/model.ts";
import { realPorts, silent } from "../../src/ports.ts";
import { callOf, refusalOf } from "./limits.ts";

const BACK_MS_MAX = 20_000;

/** Of one gateway, from when it counts there until the test is over. */
export async function countingOver(redisUrl: string): Promise<Limits> {
  const limits = await createLimits({ redisUrl }, realPorts(silent));
  onTestFinished(limits.close);
  await isThere(limits);
  return limits;
}

/** Redis is back. */
export async function isThere(limits: Limits): Promise<void> {
  await expect.poll(() => limits.status().away, { timeout: BACK_MS_MAX, interval: 1 }).toBe(false);
}

/** What so many calls at once are told. */
export function codesOf(limits: Limits, times: number, ...inForce: readonly Limit[]): readonly Promise<string>[] {
  return Array.from({ length: times }, async () => (await refusalOf(limits, callOf(inForce)))?.code ?? "ok");
}
