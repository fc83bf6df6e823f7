/** What is generated of the contract is committed as it is, and says what is true of the product. */
import { readdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { generated } from "../schema/generate.ts";
import { ATTRIBUTES } from "../src/audit/attributes.ts";
import { DOORS } from "./support/ask.ts";
import { discovered, fixtureServer, KEYS, startGateway } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const root = resolve(import.meta.dirname, "..");

test.each(Object.keys(generated()))("%s is as generated", async (file) => {
  const message = `${file}: surface changed: meant? then run \`npm run generate\``;
  expect(await readFile(join(root, file), "utf8").catch(() => null), message).toBe(generated()[file]);
});

describe("the registry of attributes", () => {
  type Registry = { groups: { id: string; type: string; attributes: { id: string; type: string; brief: string }[] }[] };
  const { groups } = parse(generated()["otel/attributes.yaml"] ?? "") as Registry;
  const typeOf = new Map(groups.flatMap(({ attributes }) => attributes.map(({ id, type }) => [id, type] as const)));

  test("has each name once, with what it means", () => {
    const briefs = groups.flatMap(({ attributes }) => attributes.map(({ id, brief }) => [id, brief]));
    expect(briefs).toHaveLength(Object.keys(ATTRIBUTES).length);
    expect(Object.fromEntries(briefs)).toEqual(ATTRIBUTES);
    expect(groups.map(({ type }) => type)).toEqual(["attribute_group", "attribute_group"]);
  });

  test("names the type that records have", async () => {
    const fixture = await startFixture();
    const gateway = await startGateway({
      servers: [fixtureServer(fixture)],
      limits: [{ name: "per-user", always: true, key: ["principal"], limit: 30, window: "60s" }],
    });
    await discovered(gateway, "fixture");
    for (const key of [KEYS.alice, KEYS.ada, null]) await DOORS["rest"]!(gateway, { key, tool: "echo" });
    await gateway.stop();
    const written = await attributesIn(join(gateway.folder, "data/audit"));
    await gateway.clean();
    await fixture.close();
    expect(written.size).toBeGreaterThan(25);
    for (const [name, type] of written) expect([name, typeOf.get(name)]).toEqual([name, type]);
  });
});

function kindOf(value: object): string {
  if ("arrayValue" in value) {
    const { values } = value.arrayValue as { values: readonly object[] };
    return `${kindOf(values[0] ?? {})}[]`;
  }
  return "intValue" in value ? "int" : "string";
}

async function attributesIn(folder: string): Promise<ReadonlyMap<string, string | undefined>> {
  const files = (await readdir(folder)).filter((name) => name.endsWith(".jsonl"));
  const texts = await Promise.all(files.map((name) => readFile(join(folder, name), "utf8")));
  type Line = { resourceSpans: { scopeSpans: { spans: { attributes: { key: string; value: object }[] }[] }[] }[] };
  const lines = texts.flatMap((text) => text.split("\n").filter((line) => line !== ""));
  const attributes = lines.flatMap((line) =>
    (JSON.parse(line) as Line).resourceSpans.flatMap(({ scopeSpans }) =>
      scopeSpans.flatMap(({ spans }) => spans.flatMap((span) => span.attributes)),
    ),
  );
  return new Map(attributes.map(({ key, value }) => [key, kindOf(value)]));
}
