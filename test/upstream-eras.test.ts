/** The gateway gets along with servers built on either version of the official SDK, over either transport. */
import { afterEach, describe, expect, test } from "vitest";
import { callOn, http, stdio, textOf, until, upstreamsOf } from "./support/upstreams/calling.ts";
import { startReferenceV1 } from "./support/upstreams/reference-v1.ts";
import type { Reference } from "./support/upstreams/reference-v1.ts";
import { startReferenceV2 } from "./support/upstreams/reference-v2.ts";
import type { Upstreams } from "../src/upstream/forward.ts";

const open: { close: () => Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).toReversed()) await one.close();
});

const script = (name: string): string => new URL(`support/upstreams/${name}.ts`, import.meta.url).pathname;

type Peer = {
  readonly name: string;
  readonly era: "modern" | "legacy";
  readonly start: (() => Promise<Reference>) | null;
  readonly args: readonly string[];
};
const PEERS: readonly Peer[] = [
  { name: "version 1 over HTTP, as a stream", era: "legacy", start: () => startReferenceV1({ json: false }), args: [] },
  { name: "version 1 over HTTP, as JSON", era: "legacy", start: () => startReferenceV1({ json: true }), args: [] },
  { name: "version 1 over stdio", era: "legacy", start: null, args: [script("reference-v1")] },
  { name: "version 2 over HTTP", era: "modern", start: () => startReferenceV2({}), args: [] },
  {
    name: "version 2 over HTTP, as a stream",
    era: "modern",
    start: () => startReferenceV2({ responseMode: "sse" }),
    args: [],
  },
  {
    name: "version 2 over HTTP, modern only",
    era: "modern",
    start: () => startReferenceV2({ legacy: "reject" }),
    args: [],
  },
  { name: "version 2 over stdio", era: "modern", start: null, args: [script("reference-v2")] },
  {
    name: "version 2 over stdio, modern only",
    era: "modern",
    start: null,
    args: [script("reference-v2"), "--modern-only"],
  },
];

async function meet(peer: Peer): Promise<{ upstreams: Upstreams; reference: Reference | null }> {
  const reference = await (peer.start?.() ?? null);
  if (reference !== null) open.push(reference);
  const upstreams = upstreamsOf([reference === null ? stdio(peer.args) : http(reference.url)]);
  open.push(upstreams);
  return { upstreams, reference };
}

const never = new AbortController().signal;

describe.each(PEERS)("a server on $name", (peer) => {
  test("is discovered, all pages of it", async () => {
    const found = await (await meet(peer)).upstreams.discover("s", "1", never);
    expect(found).toMatchObject({ era: peer.era, serverInfo: { version: "1.0.0" } });
    expect(found.tools.map(({ name }) => name)).toEqual(["echo", "count", "fail"]);
  });

  test("is called, with progress, and its own errors pass", async () => {
    const { upstreams } = await meet(peer);
    expect(
      textOf(await callOn(upstreams, "echo", { args: { a: [1, "é"] }, meta: { "example.com/x": 1 } }).answer),
    ).toBe('{"a":[1,"é"]}');
    const heard: unknown[] = [];
    await callOn(upstreams, "count", { onProgress: (params) => heard.push(params) }).answer;
    // version 1 answers as JSON where it has no stream to tell progress on
    if (!peer.name.endsWith("as JSON"))
      expect(heard).toEqual([
        { progress: 1, total: 2 },
        { progress: 2, total: 2 },
      ]);
    const failed = callOn(upstreams, "fail");
    expect((await failed.answer).kind).toBe("error");
    expect(failed.call.executed).toBe("yes");
  });
});

describe.each(PEERS.filter(({ start }) => start !== null))("a server on $name", (peer) => {
  test("says when its list changed", async () => {
    const { upstreams, reference } = await meet(peer);
    let heard = 0;
    upstreams.onListChanged(() => void heard++);
    await upstreams.discover("s", "1", never);
    await new Promise((resolve) => setTimeout(resolve, 200));
    await reference?.listChanged();
    await until(() => heard > 0);
  });
});
