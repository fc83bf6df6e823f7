/**
 * The promise: a policy that names a field which no question has does not compile, wherever it comes from; what
 * arguments look like is any, until their author binds a schema to them.
 */
import * as disk from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { checkPolicies, testPolicies } from "../src/policy/commands.ts";
import { formatDiagnostic } from "../src/policy/diagnostic.ts";
import { loadPolicy } from "../src/policy/bundle.ts";
import { textsOf } from "../src/policy/sources.ts";
import { policyBench, ROLES } from "./support/policy.ts";

const { compiler, folder } = policyBench();
const tools = { disk, compiler };
const DECISION = 'package portcullis\n\ndefault decision := {"allow": false}\n\n';
const check = async (files: { readonly [path: string]: string }): Promise<readonly string[]> =>
  (await checkPolicies(tools, await folder(files))).map((one) => formatDiagnostic(one).split("\n")[0] ?? "");
const allows = (body: string) => `${DECISION}decision := {"allow": true} if ${body}\n`;

describe("a misspelt field", () => {
  test.each([
    ["input.principle.id", 'input.principle.id == "x"', "input.principle.id"],
    ["input.request.opration", 'input.request.opration == "tools/call"', "input.request.opration"],
    ["a field of an item", 'input.tool.permissions[0].name == "x"', "input.tool.permissions[0].name"],
    ["a field in a comprehension", 'count([1 | input.target.knd == "x"]) == 1', "input.target.knd"],
  ])("is named with its place: %s", async (_, body, ref) => {
    expect(await check({ "p.rego": allows(body) })).toEqual([
      expect.stringMatching(/^p\.rego:5:\d+: rego_type_error: undefined ref: /u),
    ]);
    expect((await check({ "p.rego": allows(body) }))[0]).toContain(ref);
  });

  test("in another package of the bundle, in a function and in a test", async () => {
    const other = "package site\n\nok(x) if input.principal.idd == x\n";
    expect(await check({ "p.rego": allows('data.site.ok("a")'), "site/s.rego": other })).toEqual([
      "site/s.rego:3:10: rego_type_error: undefined ref: input.principal.idd",
    ]);
    expect(await check({ "p.rego": DECISION, "p_test.rego": "package t\n\ntest_x if input.princpal\n" })).toEqual([
      "p_test.rego:3:11: rego_type_error: undefined ref: input.princpal",
    ]);
  });

  test("a value of another type than the field has", async () => {
    expect(await check({ "p.rego": allows("input.principal.id == 7") })).toEqual([
      expect.stringMatching(/^p\.rego:5:\d+: rego_type_error: match error/u),
    ]);
  });

  test("is refused when it is put in force and when it is tested", async () => {
    const rego = allows('input.principle.id == "x"');
    const bundle = textsOf({ modules: { "p.rego": rego }, tests: {}, data: {} });
    await expect(loadPolicy({ compiler, cache: null }, bundle, ROLES)).rejects.toThrow(
      /undefined ref: input\.principle/,
    );
    await expect(loadPolicy({ compiler, cache: null }, bundle, ROLES, { shadow: true })).rejects.toThrow(
      /undefined ref/,
    );
    const tested = await testPolicies(
      tools,
      await folder({ "p.rego": rego, "p_test.rego": "package t\n\ntest_x := true\n" }),
    );
    expect(!tested.ok && tested.diagnostics[0]?.message).toContain("undefined ref");
  });
});

describe("a type", () => {
  test("knows every field of the document, also those of several types", async () => {
    const fields = [
      "input.request.id",
      "input.request.time",
      "input.request.interface",
      "input.request.operation",
      "input.request.ip",
      "input.request.protocol",
      "input.principal.kind",
      "input.principal.roles[_]",
      "input.principal.tenant",
      "input.principal.claims.department.head",
      "input.target.kind",
      "input.target.permissions[_]",
      "input.tool.server",
      "input.tool.version",
      "input.tool.tags[_]",
      "input.tool.annotations.readOnlyHint",
      "input.tool.digest",
      "input.arguments.any.thing[_]",
    ];
    for (const other of ["null", '"alice"']) fields.push(`input.principal.onBehalfOf == ${other}`);
    expect(
      await check({ "p.rego": `${DECISION}${fields.map((field, i) => `r${i} if ${field}\n`).join("\n")}` }),
    ).toEqual([]);
  });

  test("of arguments is bound by an annotation, also to a schema that stands in it", async () => {
    const bound = (field: string) => `${DECISION}# METADATA
# schemas:
#   - input.arguments: {type: object, properties: {amount: {type: number}}}
ok if input.arguments.${field} < 100
`;
    expect(await check({ "p.rego": bound("amount") })).toEqual([]);
    expect(await check({ "p.rego": bound("amout") })).toEqual([
      "p.rego:8:7: rego_type_error: undefined ref: input.arguments.amout",
    ]);
  });

  test("is also there by its name", async () => {
    const annotated = "# METADATA\n# schemas:\n#   - input.arguments.original: schema.input\n";
    expect(await check({ "p.rego": `${DECISION}${annotated}x if input.arguments.original.principal.idd\n` })).toEqual([
      expect.stringContaining("undefined ref: input.arguments.original.principal.idd"),
    ]);
  });
});
