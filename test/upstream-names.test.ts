/** Where the file says so, each address that a host's name has is an instance of its own, now and as the name changes. */
import { afterEach, expect, test } from "vitest";
import type { InstanceSpec } from "../src/model.ts";
import { Refusal } from "../src/refusal.ts";
import type { Resolve } from "../src/upstream/address.ts";
import { TRAFFIC } from "../src/config-traffic.ts";
import { callOn, http, textOf, until, upstreamsOf } from "./support/upstreams/calling.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const open: { close: () => Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).toReversed()) await one.close();
});

/** A name whose addresses the test decides. */
function named(...first: readonly string[]) {
  const name = { addresses: first, fails: false };
  const resolve: Resolve = (_host, _options, done) => {
    if (name.fails) return done(new Error("no answer"), []);
    done(
      null,
      name.addresses.map((address) => ({ address, family: 4 })),
    );
  };
  return { name, resolve };
}

async function place() {
  const fixture = await startFixture({ era: "modern" });
  open.push(fixture);
  return { fixture, url: `http://files.example:${new URL(fixture.url).port}/mcp` };
}

const spec = (url: string, allowPrivate = true): InstanceSpec =>
  http(url, { id: "s@1#0", allowPrivate, resolveMs: 50 });
const ids = (upstreams: ReturnType<typeof upstreamsOf>) => upstreams.status().map(({ id }) => id);

test("each address is an instance, one that is new joins, and one that is gone leaves", async () => {
  const { url } = await place();
  const { name, resolve } = named("127.0.0.1", "127.0.0.2");
  const upstreams = upstreamsOf([spec(url)], { resolve });
  open.push(upstreams);
  expect(ids(upstreams)).toEqual(["s@1#0/127.0.0.1", "s@1#0/127.0.0.2"]);
  name.addresses = ["127.0.0.3", "127.0.0.1"];
  await until(() => ids(upstreams).includes("s@1#0/127.0.0.3"));
  expect(ids(upstreams).toSorted()).toEqual(["s@1#0/127.0.0.1", "s@1#0/127.0.0.3"]);
  const { call, answer } = callOn(upstreams, "echo", { idempotent: true, args: { text: "x" } });
  expect(textOf(await answer)).toBe("x");
  expect(call.instance).toBe("s@1#0/127.0.0.1");
});

test("an address that failed is not new when a resolver that gives some of many names it again", async () => {
  const { url } = await place();
  const { name, resolve } = named("127.0.0.1", "127.0.0.2");
  const upstreams = upstreamsOf([spec(url)], { resolve, backoffFirstMs: 60_000, backoffMaxMs: 60_000 });
  open.push(upstreams);
  const [ill, well] = upstreams.group("s", "1")?.instances() ?? [];
  ill?.fitness.failed(new Refusal("upstream_unavailable", "gone"), true);
  name.addresses = ["127.0.0.2", "127.0.0.3"];
  await until(() => ids(upstreams).join() === "s@1#0/127.0.0.2,s@1#0/127.0.0.3");
  name.addresses = ["127.0.0.1"];
  await until(() => ids(upstreams).join() === "s@1#0/127.0.0.1");
  expect(upstreams.group("s", "1")?.instances()[0]).toBe(ill);
  expect(upstreams.status()).toMatchObject([{ breaker: "open", lastError: "gone" }]);
  // nothing is to be remembered of one that never failed
  name.addresses = ["127.0.0.2"];
  await until(() => ids(upstreams).join() === "s@1#0/127.0.0.2");
  expect(upstreams.group("s", "1")?.instances()[0]).not.toBe(well);
  // nor of one whose name nobody has any more
  upstreams.reconcile([]);
  upstreams.reconcile([{ server: "s", version: "1", specs: [spec(url)] }]);
  name.addresses = ["127.0.0.1"];
  await until(() => ids(upstreams).join() === "s@1#0/127.0.0.1");
  expect(upstreams.status()).toMatchObject([{ breaker: "closed", lastError: null }]);
});

test("a name that cannot be asked, or has no address, changes nothing", async () => {
  const { url } = await place();
  const { name, resolve } = named("127.0.0.1");
  const upstreams = upstreamsOf([spec(url)], { resolve });
  open.push(upstreams);
  name.fails = true;
  await new Promise((next) => setTimeout(next, 150));
  name.fails = false;
  name.addresses = [];
  await new Promise((next) => setTimeout(next, 150));
  expect(ids(upstreams)).toEqual(["s@1#0/127.0.0.1"]);
});

test("a resolver that hangs is asked no second time meanwhile", async () => {
  const { url } = await place();
  const waiting: Parameters<Resolve>[2][] = [];
  const upstreams = upstreamsOf([spec(url)], { resolve: (_host, _options, done) => void waiting.push(done) });
  open.push(upstreams);
  await new Promise((next) => setTimeout(next, 300));
  expect(waiting.length).toBe(1);
  waiting[0]?.(new Error("no answer"), []);
  await until(() => waiting.length === 2);
});

test("a private address is refused where the file does not allow it, however it was found", async () => {
  const { fixture, url } = await place();
  const { resolve } = named("127.0.0.1");
  const upstreams = upstreamsOf([spec(url, false)], { resolve });
  open.push(upstreams);
  expect(await callOn(upstreams, "echo").came()).toBe("upstream_unavailable");
  expect(upstreams.status()[0]?.lastError).toBe("The server's address is not allowed.");
  expect(fixture.requests).toEqual([]);
});

test("a name is asked no more once its server is gone", async () => {
  const { url } = await place();
  let asked = 0;
  const resolve: Resolve = (_host, _options, done) => {
    asked++;
    done(null, [{ address: "127.0.0.1", family: 4 }]);
  };
  const upstreams = upstreamsOf([spec(url)], { resolve });
  open.push(upstreams);
  await until(() => asked > 2);
  upstreams.reconcile([]);
  const before = asked;
  await new Promise((next) => setTimeout(next, 200));
  expect(asked).toBe(before);
});

test("an instance that nobody calls is asked whether it answers, where the file says how often", async () => {
  const { fixture } = await place();
  const upstreams = upstreamsOf([http(fixture.url)], { terms: { ...TRAFFIC, probe: 100 } });
  open.push(upstreams);
  await callOn(upstreams, "echo").answer;
  fixture.mute(true);
  await until(() => upstreams.status()[0]?.state === "set_aside");
  fixture.mute(false);
  await until(() => upstreams.status()[0]?.state === "ready");
});

test("an instance that had no call at all is asked too, however often the configuration is read", async () => {
  const { fixture } = await place();
  const terms = { ...TRAFFIC, probe: 150 };
  const upstreams = upstreamsOf([http(fixture.url)], { terms });
  open.push(upstreams);
  const reading = setInterval(
    () => upstreams.reconcile([{ server: "s", version: "1", specs: [http(fixture.url)], terms }]),
    40,
  );
  open.push({ close: async () => clearInterval(reading) });
  await until(() => upstreams.status()[0]?.state === "ready");
});
