/** What a record keeps of arguments and results is what operator, policy and the server's schema let it. */
import { createHmac } from "node:crypto";
import { describe, expect, test } from "vitest";
import { below, markedPaths, pointerPaths } from "../src/audit/paths.ts";
import { audited, record } from "../src/audit/record.ts";
import { readsIn, withReads } from "../src/policy/reads.ts";
import type { Json, JsonObject, Snapshot, Tool } from "../src/model.ts";
import { Refusal } from "../src/refusal.ts";
import { admit, alice, allowed, asked, auditing, KEY, lines, records, snapshot, tool } from "./audit-parts.ts";
import { policyBench } from "./support/policy.ts";

type Wish = {
  readonly args?: JsonObject;
  readonly of?: Partial<Tool>;
  readonly mask?: readonly string[];
  readonly reads?: readonly (readonly string[])[] | null;
  readonly reasons?: readonly string[];
  readonly result?: JsonObject;
  readonly fails?: string;
  readonly claims?: JsonObject;
};

/** The outcome of one call, as an object, and every line of the trail. */
async function kept({ args = {}, of = {}, mask = [], reads = [[]], reasons = [], result, fails, claims = {} }: Wish) {
  const room = await auditing();
  const policy = { ...snapshot.policy, reads };
  const inForce: Snapshot = { ...snapshot, policy };
  await audited({ ...room, snapshot: () => inForce }, asked(), "tools/call", async (call) => {
    admit(call, args, { ...tool(), ...of }, { ...allowed(mask), reasons });
    call.principal = { ...alice, claims };
    await record(room.audit, call);
    if (fails !== undefined) throw new Refusal("upstream_error", fails);
    return { kind: "result", result: result ?? { content: [] } };
  });
  const [, outcome = {}] = await records(room.directory);
  const { "gen_ai.tool.call.arguments": text, "gen_ai.tool.call.result": answer } = outcome;
  return {
    arguments: text === undefined ? null : (JSON.parse(String(text)) as Json),
    result: answer === undefined ? null : (JSON.parse(String(answer)) as Json),
    outcome,
    trail: (await lines(room.directory)).join("\n"),
  };
}

describe("arguments that policy reads", () => {
  const args = { path: "/tmp/a", deep: { one: 1, two: 2 }, list: ["a", "b"], text: "long and private" };

  test.each<[string, NonNullable<Wish["reads"]> | null, Json]>([
    ["one", [["path"]], { path: "/tmp/a" }],
    [
      "a part of one",
      [
        ["deep", "two"],
        ["list", "1"],
      ],
      { deep: { two: 2 }, list: ["b"] },
    ],
    ["all", [[]], args],
    ["none that is there", [["other"]], {}],
    ["none", [], null],
    ["nobody knows which", null, null],
  ])("%s: kept, and no others", async (_, reads, expected) => {
    const { arguments: text, outcome } = await kept({ args, reads: reads ?? null });
    expect(text).toEqual(expected);
    const digest = createHmac("sha256", KEY).update(JSON.stringify(args)).digest("hex");
    expect(outcome["portcullis.arguments.digest"]).toBe(digest);
  });

  test("are masked like all others", async () => {
    const secret = { password: "hunter22", path: "/tmp" };
    const { arguments: text } = await kept({
      args: secret,
      reads: [["password"], ["path"]],
      mask: ["/arguments/path"],
    });
    expect(text).toEqual({ password: "***", path: "***" });
  });

  const { load } = policyBench();
  const P = (rule: string) => `package portcullis\n\ndefault decision := {"allow": false}\n\n${rule}\n`;
  test.each<[string, Wish["reads"]]>([
    ['decision := {"allow": true} if input.arguments.path == "a"', [["path"]]],
    ['decision := {"allow": true} if input.arguments["a b"].c[0] == "a"', [["a b", "c", "0"]]],
    ['decision := {"allow": true} if { some name in {"a"}; input.arguments[name] }', [[]]],
    ['decision := {"allow": true} if object.get(input.arguments, "a", 1) == 1', [[]]],
    ['decision := {"allow": true} if { x := input; x.arguments.a }', [[]]],
    ['decision := {"allow": true} if f(input.arguments.deep)\n\nf(x) if x.one', [["deep"]]],
    ['decision := {"allow": true} if input.principal.id == "alice"', []],
  ])("%s", async (rule, expected) => {
    expect((await load({ "p.rego": P(rule) })).reads).toEqual(expected);
  });

  test("are found in the module by whoever has it, and not in one that was compiled before", () => {
    const module = Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 0, 3, 1, 0x78, 7);
    expect(readsIn(module)).toBeNull();
    expect(readsIn(withReads(module, [["a", "ü"], []]))).toEqual([["a", "ü"], []]);
    expect(readsIn(withReads(module, [["a"]]).subarray(0, -3))).toBeNull();
    expect(WebAssembly.validate(withReads(module, [["a"]]) as BufferSource)).toBe(true);
  });
});

describe("what the server's schema marks", () => {
  const inputSchema = {
    type: "object",
    properties: {
      pin: { type: "string", format: "password" },
      seed: { writeOnly: true },
      people: { type: "array", items: { properties: { ssn: { "x-sensitive": true }, name: {} } } },
      any: { additionalProperties: { $ref: "#/$defs/hidden" } },
    },
    $defs: { hidden: { allOf: [{ properties: { code: { "x-secret": true } } }] } },
  };
  const args = {
    pin: "4711-0815",
    seed: { a: "winterlich" },
    people: [{ ssn: "123-45-6789", name: "Ann" }],
    any: { one: { code: "sesame-open", kind: "x" } },
  };
  const secrets = ["4711-0815", "winterlich", "123-45-6789", "sesame-open"];

  test("is masked wherever it stands", async () => {
    const { arguments: text, trail } = await kept({ args, of: { definition: { inputSchema } } });
    expect(text).toEqual({
      pin: "***",
      seed: "***",
      people: [{ ssn: "***", name: "Ann" }],
      any: { one: { code: "***", kind: "x" } },
    });
    for (const secret of secrets) expect(trail).not.toContain(secret);
  });

  test("is masked where a reason, an error or a result repeats it, however it is written", async () => {
    const forms = secrets.flatMap((one) => [
      one,
      Buffer.from(one).toString("base64"),
      Buffer.from(one).toString("hex"),
    ]);
    const of = { definition: { inputSchema }, auditResults: "masked" as const };
    const result = { content: forms.map((text) => ({ type: "text", text: `it said ${text}` })) };
    for (const wish of [{ reasons: forms.slice(0, 8) }, { fails: forms.slice(0, 6).join(" ") }, { result }]) {
      const { trail } = await kept({ args, of, ...wish });
      for (const form of forms) expect(trail).not.toContain(form);
      expect(trail).toContain("***");
    }
  });

  test("of its output is masked in structured content and in the text that repeats it", async () => {
    const outputSchema = { properties: { ticket: { "x-redact": true }, id: {} } };
    const result = {
      content: [{ type: "text", text: '{"ticket": "blue-velvet-9", "id": 7}' }],
      structuredContent: { ticket: "blue-velvet-9", id: 7 },
    };
    const of = { definition: { outputSchema }, auditResults: "masked" as const };
    expect((await kept({ of, result })).result).toEqual({
      content: [{ type: "text", text: '{"ticket": "***", "id": 7}' }],
      structuredContent: { ticket: "***", id: 7 },
    });
  });

  test("ends, however the schema goes round", () => {
    const round: { [name: string]: Json } = { properties: { a: { $ref: "#/properties/a" }, b: { $ref: "#" } } };
    expect(markedPaths(round)).toBeUndefined();
    const wide = { properties: Object.fromEntries(Array.from({ length: 50_000 }, (_, at) => [`p${at}`, {}])) };
    expect(markedPaths(wide)).toBeUndefined();
  });

  test("holds up nobody, however much of it is marked, and however much a policy names", () => {
    // 50 ms are promised; five times that is asserted, since test machines are slow
    const STALL_MS = 250;
    const names = Array.from({ length: 4_900 }, (_, at) => `p${at}`);
    const marked = { properties: Object.fromEntries(names.map((name) => [name, { "x-secret": true }])) };
    // of this thread alone: how busy the machine is besides says nothing of ours
    const before = process.threadCpuUsage();
    const [bySchema, byPolicy] = [markedPaths(marked), pointerPaths(names.map((name) => `/arguments/${name}`))];
    const { user, system } = process.threadCpuUsage(before);
    expect((user + system) / 1000).toBeLessThan(STALL_MS);
    expect([bySchema, below(byPolicy, "arguments")].map((paths) => below(paths, "p4899"))).toEqual([true, true]);
  });
});

describe("what policy masks of the rest", () => {
  test("is left out: the address, the reasons, and a claim where a reason or an error repeats it", async () => {
    const claims = { email: "ann@corp.example", team: "blue" };
    const wish = { claims, reasons: ["ann@corp.example is of blue"], fails: "not for ann@corp.example" };
    const told = await kept(wish);
    expect(told.outcome).toMatchObject({ "client.address": "192.0.2.1", "portcullis.reasons": wish.reasons });
    const masked = await kept({ ...wish, mask: ["/principal/claims/email"] });
    expect(masked.outcome["portcullis.reasons"]).toEqual(["*** is of blue"]);
    expect(masked.trail).not.toContain("ann@corp");
    for (const mask of ["/request/ip", "/request"]) {
      const { outcome, trail } = await kept({ ...wish, mask: [mask] });
      expect(outcome).toMatchObject({ "portcullis.reasons": wish.reasons });
      expect(trail).not.toContain("192.0.2.1");
    }
    expect((await kept({ ...wish, mask: ["/reasons"] })).outcome).not.toHaveProperty("portcullis.reasons");
  });
});

describe("results", () => {
  const result = {
    content: [
      { type: "text", text: "the token: Bearer abcdefghijkl" },
      { type: "resource_link", uri: "https://joe:hunter22@files.example/a?sig=t0ps3cr3t" },
      { type: "image", mimeType: "image/png", data: "aGVsbG8gd29ybGQ=" },
    ],
    structuredContent: { apiKey: "abc-def", ok: true },
  };

  test("are not kept unless somebody asks for them", async () => {
    const { outcome, trail } = await kept({ result });
    expect(outcome).not.toHaveProperty("portcullis.result.digest");
    expect(trail).not.toContain("files.example");
  });

  test("digest: a keyed one, which confirms a guess", async () => {
    const { result: text, outcome } = await kept({ result, of: { auditResults: "digest" } });
    expect(text).toBeNull();
    const digest = createHmac("sha256", KEY).update(JSON.stringify(result)).digest("hex");
    expect(outcome["portcullis.result.digest"]).toBe(digest);
  });

  test("masked: content, structured content, links and what is binary", async () => {
    expect((await kept({ result, of: { auditResults: "masked" } })).result).toEqual({
      content: [
        { type: "text", text: expect.not.stringContaining("abcdefghijkl") as string },
        { type: "resource_link", uri: "https://joe:***@files.example/a?sig=***" },
        { type: "image", mimeType: "image/png", data: "***" },
      ],
      structuredContent: { apiKey: "***", ok: true },
    });
  });

  test("a pointer's * is every member, also one of that name", async () => {
    const wish = {
      result,
      of: { auditResults: "full" as const },
      mask: ["/result/content/*/text", "/arguments/*/pin"],
    };
    const content = [{ ...result.content[0], text: "***" }, ...result.content.slice(1)];
    const args = { a: { pin: "1-1-1-1", name: "Ann" }, "*": { pin: "2-2-2-2" } };
    expect((await kept(wish)).result).toEqual({ ...result, content });
    expect((await kept({ ...wish, args, of: { auditArguments: "full" } })).arguments).toEqual({
      a: { pin: "***", name: "Ann" },
      "*": { pin: "***" },
    });
  });

  test("full: as they are, but for policy's pointers", async () => {
    const wish = { result, of: { auditResults: "full" as const }, mask: ["/result/structuredContent/apiKey"] };
    expect((await kept(wish)).result).toEqual({ ...result, structuredContent: { apiKey: "***", ok: true } });
  });
});

test("a tool's own setting comes before its server's", async () => {
  const { configSchema } = await import("../src/config.ts");
  const { entrySchemas } = await import("../src/config.ts");
  const server = {
    name: "s",
    instances: [{ http: { url: "https://s.example/mcp" } }],
    audit: { arguments: "full", results: "masked" },
    tools: { a: { audit: { arguments: "off" } } },
  };
  const parsed = configSchema.parse({ servers: [server] }).servers[0];
  expect(parsed).toMatchObject({
    audit: { arguments: "full", results: "masked" },
    tools: { a: { audit: { arguments: "off" } } },
  });
  // and the admin API sets neither
  expect(entrySchemas.tools.safeParse({ audit: { arguments: "full" } }).success).toBe(false);
});
