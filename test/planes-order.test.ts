/**
 * The promise: a sidecar may go from one control plane to another at any moment. What it knows was revoked stays so, however
 * far behind, cut off or wrong about the time that one may be; what is true at one that is well it takes; and each of them
 * says truly what is in force there.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { realPorts, silent } from "../src/ports.ts";
import { overtakenBy } from "../src/snapshot/seal.ts";
import type { Manifest } from "../src/snapshot/seal.ts";
import { discovered, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { lacks } from "./support/parts.ts";
import { adminOf, startSidecar } from "./support/planes.ts";
import { startRelay } from "./support/relay.ts";
import { echo, permits, sharedStand, soon, storeCheck } from "./support/shared.ts";
import { wayTo } from "./support/way.ts";
import type { Way } from "./support/way.ts";

const AGAIN_MS = 15_000;
const RESTARTS = process.env["FULL"] === "1" ? 3 : 1;
const shown = ({ gateway }: TestGateway) => gateway.control.feed?.followers()[0];

/** A sidecar of `first`, which goes wherever it is told. */
async function wandering(first: TestGateway, config: object = {}) {
  let standing = first;
  const relay = await startRelay(() => standing.admin);
  onTestFinished(relay.close);
  const sidecar = await startSidecar(first, { url: relay.url, config });
  onTestFinished(sidecar.close);
  const goTo = async (next: TestGateway): Promise<void> => {
    const asked = relay.streams();
    relay.cut();
    standing = next;
    relay.join();
    await until(() => relay.streams() > asked, "the sidecar asks the next", 2 * AGAIN_MS);
  };
  return { sidecar, goTo };
}

type Plane = { readonly way: Way; readonly plane: TestGateway; readonly again: () => Promise<TestGateway> };

/** Control planes with a way to Redis each, and a sidecar of the first that knows a key of alice's, as all of them do. */
async function planes(count: number, { config = {}, clocks = [] as (() => number)[] } = {}) {
  const { redis, open } = await sharedStand();
  const { clock } = realPorts(silent);
  const all = await Promise.all(
    Array.from({ length: count }, async (_, at): Promise<Plane> => {
      const way = await wayTo(redis.url);
      const ahead = clocks[at] ?? (() => 0);
      const ports = { clock: { ...clock, nowMs: () => clock.nowMs() + ahead() } };
      const own = { role: "control", config: { store: way.url, ...config }, ports } as const;
      const plane = await open(own);
      await discovered(plane, "fixture");
      return { way, plane, again: () => open({ ...own, folder: plane.folder }) };
    }),
  );
  const [first] = all as [Plane];
  const { sidecar, goTo } = await wandering(first.plane, config);
  const { id, text } = await adminOf(first.plane).keys.issue.mutate({ principal: "alice" });
  await until(async () => (await echo(sidecar, text)) === "ok", "the key is known to the sidecar", AGAIN_MS);
  await soon(() => all.every(({ plane }) => plane.gateway.snapshot().keys.has(id)), "the key is known to all");
  const code = () => echo(sidecar, text);
  const revoked = () => until(async () => (await code()) === "unauthenticated", "the key is gone", AGAIN_MS);
  return { all, sidecar, goTo, key: { id, code, revoked } };
}

describe.skipIf(lacks("redis-server"))("a revoked key does not come back", () => {
  test("from a control plane that is cut off from Redis, and was started again and again", async () => {
    const { all, goTo, key } = await planes(2);
    const [one, other] = all as [Plane, Plane];
    other.way.shut();
    await adminOf(one.plane).keys.revoke.mutate({ id: key.id });
    await key.revoked();
    let { plane } = other;
    for (let at = 0; at < RESTARTS; at++) {
      await plane.stop();
      plane = await other.again();
      await goTo(plane);
      await sleep(1_000);
      expect(await key.code()).toBe("unauthenticated");
    }
  }, 90_000);

  test("where it was revoked together with changes that show nowhere", async () => {
    const { all, goTo, key } = await planes(3);
    const [one, behind, cutOff] = all as [Plane, Plane, Plane];
    await goTo(behind.plane);
    cutOff.way.shut();
    await sleep(1_000);
    behind.way.shut();
    const admin = adminOf(one.plane);
    const { revision } = await admin.roles.put.mutate(permits("next", ["demo:use"]));
    await admin.changes.rollback.mutate({ to: revision - 1 });
    await admin.keys.revoke.mutate({ id: key.id });
    behind.way.open();
    await key.revoked();
    await goTo(cutOff.plane);
    await sleep(1_000);
    expect(await key.code()).toBe("unauthenticated");
  }, 60_000);

  test("and is not kept by a sidecar of a control plane whose clock is ahead", async () => {
    let aheadMs = 0;
    const { all, sidecar, goTo, key } = await planes(2, { clocks: [() => aheadMs] });
    const [one, other] = all as [Plane, Plane];
    aheadMs = 600_000;
    await adminOf(one.plane).roles.put.mutate(permits("next", ["demo:use"]));
    await soon(() => "next" in sidecar.gateway.snapshot().roles, "the sidecar has the role");
    await soon(() => "next" in other.plane.gateway.snapshot().roles, "the other has the role");
    await goTo(other.plane);
    await adminOf(other.plane).keys.revoke.mutate({ id: key.id });
    await key.revoked();
  }, 60_000);

  test("from one that is cut off and finds something new", async () => {
    const { all, sidecar, goTo, key } = await planes(2);
    const [one, other] = all as [Plane, Plane];
    other.way.shut();
    await adminOf(one.plane).keys.revoke.mutate({ id: key.id });
    await key.revoked();
    await one.plane.stop();
    await other.plane.rewrite({ roles: { analyst: ["demo:use"] } });
    await goTo(other.plane);
    await sleep(1_000);
    expect(await key.code()).toBe("unauthenticated");
    other.way.open();
    await soon(async () => (await storeCheck(other.plane)).ok, "the other hears Redis");
    await adminOf(other.plane).roles.put.mutate(permits("next", ["demo:use"]));
    await until(() => "next" in sidecar.gateway.snapshot().roles, "the sidecar follows the other", AGAIN_MS);
    expect(await key.code()).toBe("unauthenticated");
  }, 60_000);
});

describe.skipIf(lacks("redis-server"))("what is in force at a sidecar", () => {
  test("is what was rolled back to, also where its control plane saw neither step", async () => {
    const { all, sidecar, goTo } = await planes(2);
    const [one, other] = all as [Plane, Plane];
    const revisionAt = ({ gateway }: TestGateway) => gateway.snapshot().revision;
    const before = revisionAt(one.plane);
    const follows = (plane: TestGateway) =>
      until(() => shown(plane)?.current === true, "the sidecar follows", AGAIN_MS);
    await goTo(other.plane);
    await follows(other.plane);
    await goTo(one.plane);
    await follows(one.plane);
    other.way.shut();
    await goTo(other.plane);
    await sleep(500);
    // signed by the one a little later, and the same
    expect(shown(other.plane)).toMatchObject({ current: true, lastError: null });
    await goTo(one.plane);
    await adminOf(one.plane).roles.put.mutate(permits("next", ["demo:use"]));
    await soon(() => "next" in sidecar.gateway.snapshot().roles, "the sidecar has the role");
    const during = revisionAt(one.plane);
    await goTo(other.plane);
    await until(() => shown(other.plane)?.lastError !== null, "what the other has is refused", AGAIN_MS);
    expect(shown(other.plane)).toMatchObject({ revision: during, current: false });
    await adminOf(one.plane).changes.rollback.mutate({ to: 1 });
    await sleep(500);
    expect(revisionAt(sidecar)).toBe(during);
    other.way.open();
    await until(() => revisionAt(sidecar) === before, "the sidecar has the role no more", AGAIN_MS);
    expect(revisionAt(other.plane)).toBe(before);
    await soon(() => shown(other.plane)?.current === true, "the sidecar says so");
  }, 90_000);

  test("is not what was rolled back, though its own control plane has nothing new to tell", async () => {
    const { all, sidecar, goTo } = await planes(3);
    const [one, behind, cutOff] = all as [Plane, Plane, Plane];
    await goTo(behind.plane);
    behind.way.shut();
    const { revision } = await adminOf(one.plane).roles.put.mutate(permits("next", ["demo:use"]));
    await soon(() => "next" in cutOff.plane.gateway.snapshot().roles, "the one in between has the role");
    cutOff.way.shut();
    await adminOf(one.plane).changes.rollback.mutate({ to: revision - 1 });
    behind.way.open();
    await until(
      () => behind.plane.gateway.control.changeRevision() === revision + 1,
      "it heard of both at once",
      AGAIN_MS,
    );
    // between two signs of life
    await sleep(1_500);
    await goTo(cutOff.plane);
    await sleep(1_000);
    expect(sidecar.gateway.snapshot().roles).not.toHaveProperty("next");
  }, 60_000);

  test("is as old as what its control plane last heard of the others", async () => {
    const config = { control: { maxStaleness: "5s" } };
    const { all, goTo, key } = await planes(2, { config });
    const [one, other] = all as [Plane, Plane];
    await goTo(other.plane);
    await soon(() => shown(other.plane)?.current === true, "the sidecar follows the other");
    other.way.shut();
    const cutMs = performance.now();
    await adminOf(one.plane).keys.revoke.mutate({ id: key.id });
    await until(async () => (await key.code()) !== "ok", "calls are refused", 30_000);
    expect(performance.now() - cutMs).toBeLessThan(9_000);
  }, 60_000);

  test("is shown by every control plane, as current where it is what that one has", async () => {
    const { all, sidecar } = await planes(2);
    const [one, other] = all as [Plane, Plane];
    const told = () => other.plane.gateway.control.sidecars()[0];
    await until(() => told()?.current === true && told()?.connected === true, "the other tells of it", AGAIN_MS);
    await sidecar.stop();
    await one.plane.stop();
    await adminOf(other.plane).roles.put.mutate(permits("next", ["demo:use"]));
    expect(told()).toMatchObject({ current: false });
    await sleep(100);
    expect(told()?.lagMs).toBeGreaterThan(50);
    other.way.shut();
    await until(() => told()?.connected === false, "nobody follows", 3 * AGAIN_MS);
  }, 90_000);
});

describe("of two snapshots", () => {
  const of = (changes: number | undefined, keys: number | undefined, issuedMs: number) =>
    ({ format: 1, revision: "", parts: [], issuedMs, ...(changes === undefined ? {} : { changes, keys }) }) as Manifest;
  test.each<[string, Manifest, Manifest, "follows" | "older" | "lacks"]>([
    ["more changes hold, whatever the time", of(6, 6, 1), of(5, 5, 9), "follows"],
    ["fewer do not, whatever the time", of(5, 5, 9), of(6, 6, 1), "lacks"],
    ["keys may be ahead", of(5, 7, 1), of(5, 5, 9), "follows"],
    ["and may not fall back", of(5, 5, 9), of(5, 7, 1), "lacks"],
    ["not for other changes either", of(6, 6, 9), of(5, 7, 1), "lacks"],
    ["of the same changes the later holds", of(5, 5, 2), of(5, 5, 1), "follows"],
    ["and not the earlier", of(5, 5, 1), of(5, 5, 2), "older"],
    ["one that says neither is before all that do", of(undefined, undefined, 9), of(1, 1, 1), "lacks"],
    ["and after its like by time", of(undefined, undefined, 2), of(undefined, undefined, 1), "follows"],
  ])("%s", (_, next, newest, wanted) => {
    const said = overtakenBy(next, newest);
    expect(said === null ? "follows" : said.includes("lacks") ? "lacks" : "older").toBe(wanted);
  });
});
