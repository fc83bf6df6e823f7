/**
 * The promise: a tool whose definition changed at a server that sidecars run themselves is accepted at the control plane,
 * by the very digest that they report, and served again.
 */
import { rename, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { portcullis } from "./cli-io.ts";
import { DOORS } from "./support/ask.ts";
import { discovered, fixtureServer, KEYS, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { adminOf, startControl, startSidecar } from "./support/planes.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close();
});

const FIXTURE = resolve(import.meta.dirname, "support/upstreams/fixture.ts");
const echo = (description: string) => ({ name: "echo", description, inputSchema: { type: "object" } });

type Edge = { readonly sidecar: TestGateway; readonly define: (...descriptions: readonly string[]) => Promise<void> };

/** A control plane that knows `local`, which each sidecar runs as a process of its own. */
async function controlPlane(): Promise<TestGateway> {
  const fixture = await startFixture();
  open.push(fixture.close);
  const local = { name: "local", permissions: ["demo:use"], instances: [{ stdio: { command: "not-run-here" } }] };
  const control = await startControl({ servers: [fixtureServer(fixture), local] });
  open.push(control.close);
  await discovered(control, "fixture");
  return control;
}

async function edge(control: TestGateway, name: string): Promise<Edge> {
  const file = join(control.folder, `${name}.json`);
  const define = async (...descriptions: readonly string[]) => {
    const more = descriptions.slice(1).map((one, at) => ({ ...echo(one), name: `more-${at}` }));
    await writeFile(`${file}.new`, JSON.stringify([echo(descriptions[0] ?? ""), ...more]));
    await rename(`${file}.new`, file);
  };
  await define("says it");
  const args = [FIXTURE, "--stdio", "--era", "legacy", "--tools", file];
  const config = { servers: [{ name: "local", instances: [{ stdio: { command: process.execPath, args } }] }] };
  const sidecar = await startSidecar(control, { name, config });
  open.push(sidecar.close);
  await discovered(sidecar, "local");
  return { sidecar, define };
}

const call = async (sidecar: TestGateway) =>
  (await DOORS["rest"]!(sidecar, { key: KEYS.alice, server: "local", tool: "echo", arguments: { text: "x" } })).code;

const waiting = async (control: TestGateway) => (await adminOf(control).sidecars.list.query()).quarantined;

const refusalOf = (asked: Promise<unknown>): Promise<string> =>
  asked.then(
    () => "not refused",
    (fault: { readonly data?: { readonly portcullis?: { readonly code: string; readonly detail: string } } }) =>
      `${fault.data?.portcullis?.code ?? ""}: ${fault.data?.portcullis?.detail ?? ""}`,
  );

describe("a changed tool of a server that sidecars run", () => {
  test("is shown at the control plane, accepted there by its digest, and served again", async () => {
    const control = await controlPlane();
    const { sidecar, define } = await edge(control, "edge-1");
    const admin = adminOf(control);
    expect(await call(sidecar)).toBe("ok");
    expect(await refusalOf(admin.tools.approve.mutate({ tool: "local__echo" }))).toMatch(/^tool_not_found: /);

    await define("says it, and tells your enemies");
    await until(async () => (await call(sidecar)) === "tool_quarantined", "it is quarantined");
    await until(async () => (await waiting(control)).length === 1, "it is reported");
    const tool = sidecar.gateway.snapshot().tools.get("local__echo")?.[0];
    const digest = tool?.digest ?? "";
    expect(await waiting(control)).toEqual([
      { sidecar: "edge-1", name: "local__echo", server: "local", version: "1.0.0", upstreamName: "echo", digest },
    ]);
    const cli = (...words: readonly string[]) => portcullis([...words, "--config", control.configFile]);
    expect((await cli("status")).stdout).toMatch(new RegExp(`local__echo +1\\.0\\.0 +edge-1 +${digest}`));

    const other = `sha256:${"0".repeat(64)}`;
    expect(await refusalOf(admin.tools.approve.mutate({ tool: "local__echo", digest: other }))).toBe(
      "invalid_request: No definition of this tool has this digest.",
    );
    expect(await call(sidecar)).toBe("tool_quarantined");
    expect(await cli("tools", "approve", "local__echo", "--digest", digest)).toMatchObject({
      code: 0,
      stderr: `Accepted local__echo as ${digest}.\n`,
    });
    await until(async () => (await call(sidecar)) === "ok", "it is served again");
    await until(async () => (await waiting(control)).length === 0, "nothing waits any more");
    // of that definition, and of no later one
    await define("says it, and sells it");
    await until(async () => (await call(sidecar)) === "tool_quarantined", "it is quarantined again");
  }, 60_000);

  test("of which sidecars report several definitions is accepted by digest alone, and serves where that one is", async () => {
    const control = await controlPlane();
    const [one, two] = [await edge(control, "edge-1"), await edge(control, "edge-2")];
    await one.define("one");
    await two.define("two");
    await until(async () => (await waiting(control)).length === 2, "both are reported");
    const approve = (digest: string | null) => adminOf(control).tools.approve.mutate({ tool: "local__echo", digest });
    expect(await refusalOf(approve(null))).toBe(
      "invalid_request: Sidecars hold several definitions of this tool back: name the digest of one.",
    );
    const digest = (await waiting(control)).find(({ sidecar }) => sidecar === "edge-2")?.digest ?? "";
    await approve(digest);
    await until(async () => (await call(two.sidecar)) === "ok", "the accepted one serves");
    expect(await call(one.sidecar)).toBe("tool_quarantined");
  }, 60_000);

  test("is reported a hundred at a time: one report never grows without end", async () => {
    const control = await controlPlane();
    const { sidecar, define } = await edge(control, "edge-1");
    const many = (word: string) => Array.from({ length: 150 }, (_, at) => `${word} ${at}`);
    const tools = () =>
      [...sidecar.gateway.snapshot().tools.values()].flat().filter(({ server }) => server === "local");
    await define(...many("first"));
    await until(() => tools().length === 150, "all are there");
    await define(...many("then"));
    await until(async () => (await waiting(control)).length === 100, "a hundred are reported");
    expect(tools().filter(({ quarantined }) => quarantined)).toHaveLength(150);
  }, 60_000);
});

describe("a report", () => {
  const digest = `sha256:${"1".repeat(64)}`;
  const held = { server: "local", version: "1.0.0", tool: "echo", digest };
  const report = { revision: digest, accepted: true, reason: null, version: "1", servers: [] };

  async function reporter(control: TestGateway) {
    const { text } = await adminOf(control).keys.issue.mutate({ sidecar: "edge-9" });
    return async (more: object) => {
      const response = await fetch(`http://${control.admin}/trpc/snapshot.report`, {
        method: "POST",
        headers: { "content-type": "application/json", "x-api-key": text },
        body: JSON.stringify({ ...report, ...more }),
      });
      await response.body?.cancel();
      return response.status;
    };
  }

  test("of an older sidecar, which says nothing of quarantined tools, is taken", async () => {
    const control = await controlPlane();
    const tell = await reporter(control);
    expect(await tell({})).toBe(200);
    expect(await waiting(control)).toEqual([]);
    expect(await tell({ quarantined: [held] })).toBe(200);
    expect(await waiting(control)).toHaveLength(1);
  });

  test("counts for servers that sidecars run, and for no other", async () => {
    const control = await controlPlane();
    const tell = await reporter(control);
    const foreign = [
      { ...held, server: "fixture" },
      { ...held, version: "2.0.0" },
      { ...held, server: "nobody" },
    ];
    expect(await tell({ quarantined: foreign })).toBe(200);
    expect(await waiting(control)).toEqual([]);
    const approve = adminOf(control).tools.approve.mutate({ tool: "fixture__echo", digest });
    expect(await refusalOf(approve)).toMatch(/^invalid_request: /);
  });

  test("is bounded", async () => {
    const control = await controlPlane();
    const tell = await reporter(control);
    const many = Array.from({ length: 101 }, (_, at) => ({ ...held, tool: `t${at}` }));
    for (const quarantined of [many, [{ ...held, tool: "t".repeat(257) }], [{ ...held, digest: "sha256:1" }]])
      expect(await tell({ quarantined })).toBe(400);
    expect(await waiting(control)).toEqual([]);
  });
});
