/** A gateway whose disk is full or broken refuses at once and runs nothing unrecorded; when the disk is back, so is it. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { openSpool } from "../src/audit/spool.ts";
import { verify } from "../src/audit/verify.ts";
import { folder, openLine } from "./audit-parts.ts";
import { realPorts, silent } from "../src/ports.ts";
import { DOORS } from "./support/ask.ts";
import { discovered, fixtureServer, KEYS, startGateway, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

/** What is promised is 1 s, and 5 s until it is back. */
const REFUSED_MS_MAX = 5_000;
const BACK_MS_MAX = 25_000;

/** From now on writes to the trail fail like this; returns the way to mend it. */
function broken(code: string): () => void {
  const { writeSync } = fs;
  const put = (instead: typeof writeSync): void => {
    Object.assign(fs, { writeSync: instead });
    syncBuiltinESMExports();
  };
  put(() => {
    throw Object.assign(new Error(code), { code });
  });
  const mend = (): void => put(writeSync);
  onTestFinished(mend);
  return mend;
}

const call = (gateway: TestGateway) =>
  DOORS["rest"]!(gateway, { key: KEYS.alice, tool: "echo", arguments: { text: "x" } });

/** All are refused, none is executed, and soon. */
async function refusedAll(gateway: TestGateway, executedBefore: number, count: () => number): Promise<void> {
  const began = performance.now();
  const told = await Promise.all(Array.from({ length: 40 }, () => call(gateway)));
  expect(performance.now() - began).toBeLessThan(REFUSED_MS_MAX);
  expect(new Set(told.map(({ code, executed, status }) => `${code} ${executed} ${status}`))).toEqual(
    new Set(["audit_unavailable no 503"]),
  );
  expect(count()).toBe(executedBefore);
}

test.each([
  ["ENOSPC", "write"],
  ["EIO", "write"],
  ["ENOSPC", "fsync"],
  ["EIO", "fsync"],
] as const)("%s (%s)", async (code, flush) => {
  const fixture = await startFixture();
  const gateway = await startGateway({ servers: [fixtureServer(fixture)], audit: { flush } });
  try {
    await discovered(gateway, "fixture");
    const executed = (): number => fixture.state.arrivals.length;
    expect((await call(gateway)).code).toBe("ok");
    const before = executed();
    const mend = broken(code);
    await refusedAll(gateway, before, executed);
    mend();
    const began = performance.now();
    await until(async () => (await call(gateway)).code === "ok", "calls go on");
    expect(performance.now() - began).toBeLessThan(BACK_MS_MAX);
    await gateway.stop();
    expect(await verify(join(gateway.folder, "data/audit"))).toMatchObject({ ok: true });
    expect(await intentsIn(gateway)).toBeGreaterThanOrEqual(executed());
  } finally {
    await gateway.close();
    await fixture.close();
  }
});

async function intentsIn(gateway: TestGateway): Promise<number> {
  return (await gateway.records()).filter((record) => record["portcullis.record"] === "intent").length;
}

test("a small disk that fills up in earnest", async ({ skip }) => {
  const disk = await folder();
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]).status === 0;
  skip(!mounted, "may not mount");
  onTestFinished(() => void spawnSync("umount", [disk]));
  const spool = openSpool({ directory: disk, flush: "write", freeBytesMin: 0 }, realPorts(silent));
  let kept = 0;
  const lost: unknown[] = [];
  for (let at = 0; at < 2_000; at++)
    await spool.append(openLine(`${at}${"x".repeat(2_000)}`)).then(
      () => kept++,
      (cause: unknown) => lost.push(cause),
    );
  expect(lost[0]).toMatchObject({ code: "ENOSPC" });
  await spool.close();
  expect(await verify(disk)).toMatchObject({ ok: true, records: kept });
});
