/** Does each model's API get the tool in the shape that it takes? Small tools, with the shapes written out by hand. */
import { describe, expect, test } from "vitest";
import { definitionFor } from "../src/doors/graphql/definition.ts";
import { geminiSchema } from "../src/doors/graphql/gemini.ts";
import { configSchema } from "../src/config.ts";
import type { JsonObject, Tool } from "../src/model.ts";
import { catalogue, discovered } from "../src/registry/catalogue.ts";

/** As the registry makes it. */
function toolOf(gatewayName: string, definition: JsonObject): Tool {
  const [server = "", name = ""] = gatewayName.split("__");
  const servers = [{ name: server, instances: [{ http: { url: "http://127.0.0.1:1/" } }] }];
  const discovery = {
    era: "modern",
    protocol: "2026-07-28",
    serverInfo: {},
    capabilities: {},
    instructions: null,
    tools: [{ ...definition, name }],
  } as const;
  const known = {
    discovered: new Map([[`${server}@1.0.0`, discovered(undefined, discovery, "2026-01-01T00:00:00Z")]]),
    fresh: new Set<string>(),
  };
  const tool = catalogue(configSchema.parse({ servers }), known, new Map()).tools.get(gatewayName)?.[0];
  if (tool === undefined) throw new Error("The registry did not list the tool.");
  return tool;
}

const SCHEMA = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  properties: { path: { type: "string" }, depth: { type: ["integer", "null"] } },
  required: ["path"],
  additionalProperties: false,
};
const TOOL = toolOf("files__tree", { title: "Tree", description: "Lists a folder.", inputSchema: SCHEMA });

describe("a definition is ready to hand to a model", () => {
  test("MCP gets what tools/list gives, under the gateway's name", () => {
    const described = toolOf("files__tree", {
      name: "tree",
      title: "Tree",
      inputSchema: SCHEMA,
      outputSchema: { type: "object" },
      "x-vendor": 1,
    });
    expect(definitionFor({ ...described, annotations: { readOnlyHint: true } }, "MCP")).toEqual({
      name: "files__tree",
      title: "Tree",
      inputSchema: SCHEMA,
      outputSchema: { type: "object" },
      annotations: { readOnlyHint: true },
    });
  });

  test("chat completions get a function tool", () => {
    const { $schema: _, ...parameters } = SCHEMA;
    expect(definitionFor(TOOL, "OPENAI")).toEqual({
      type: "function",
      function: { name: "files__tree", description: "Lists a folder.", parameters },
    });
  });

  test("chat completions get no more of a description than they take", () => {
    const long = definitionFor(toolOf("a__b", { description: `${"x".repeat(1023)}😀` }), "OPENAI");
    const { description } = long["function"] as { description: string };
    expect(description).toHaveLength(1024);
    expect(description.isWellFormed()).toBe(true);
  });

  test("the messages API gets an input schema with an object at its root, and no choice there", () => {
    const inputSchema = { anyOf: [{ required: ["a"] }, { required: ["b"] }], properties: { a: { type: "string" } } };
    expect(definitionFor(toolOf("a__b", { inputSchema }), "ANTHROPIC")).toEqual({
      name: "a__b",
      input_schema: { type: "object", properties: { a: { type: "string" } } },
    });
  });

  test("Gemini gets a function declaration in its subset", () => {
    expect(definitionFor(TOOL, "GEMINI")).toEqual({
      name: "files__tree",
      description: "Lists a folder.",
      parameters: {
        type: "object",
        properties: { path: { type: "string" }, depth: { type: "integer", nullable: true } },
        required: ["path"],
      },
    });
  });

  test("Gemini gets no parameters where a tool has none", () => {
    expect(definitionFor(toolOf("a__b", { inputSchema: { type: "object", properties: {} } }), "GEMINI")).toEqual({
      name: "a__b",
    });
  });

  test("a field of another type than the protocol's is left out", () => {
    const odd = toolOf("a__b", { title: { a: 1 }, description: 7, inputSchema: "none" });
    expect(definitionFor(odd, "MCP")).toEqual({ name: "a__b", inputSchema: { type: "object" } });
    expect(definitionFor(odd, "ANTHROPIC")).toEqual({ name: "a__b", input_schema: { type: "object", properties: {} } });
  });
});

describe("a schema is cut down to what Gemini accepts", () => {
  const cases: readonly (readonly [string, JsonObject, JsonObject])[] = [
    ["a constant text is an enumeration of one", { const: "a" }, { type: "string", enum: ["a"] }],
    ["a constant number is both its bounds", { const: 4 }, { type: "number", minimum: 4, maximum: 4 }],
    ["an enumeration of numbers is dropped", { type: "integer", enum: [1, 2] }, { type: "integer" }],
    [
      "exclusive bounds are dropped",
      { type: "number", exclusiveMinimum: 0, maximum: 9 },
      { type: "number", maximum: 9 },
    ],
    ["a format it does not know is dropped", { type: "string", format: "uri" }, { type: "string" }],
    ["a format it knows is kept", { type: "string", format: "date-time" }, { type: "string", format: "date-time" }],
    [
      "several types are a choice",
      { type: ["string", "integer"] },
      { anyOf: [{ type: "string" }, { type: "integer" }] },
    ],
    [
      "null among the choices is nullable",
      { anyOf: [{ type: "string" }, { type: "null" }] },
      { type: "string", nullable: true },
    ],
    [
      "oneOf is anyOf",
      { oneOf: [{ type: "string" }, { type: "integer" }] },
      { anyOf: [{ type: "string" }, { type: "integer" }] },
    ],
    ["an array says of what", { type: "array" }, { type: "array", items: { type: "string" } }],
    [
      "a tuple is an array of its kinds",
      { type: "array", prefixItems: [{ type: "string" }, { type: "integer" }] },
      { type: "array", items: { anyOf: [{ type: "string" }, { type: "integer" }] } },
    ],
    [
      "allOf is one schema",
      { allOf: [{ properties: { x: { type: "string" } }, required: ["x"] }, { $ref: "#/$defs/y" }] },
      { type: "object", properties: { x: { type: "string" }, y: { type: "number" } }, required: ["x", "y"] },
    ],
    [
      "a reference is written out",
      { $ref: "#/$defs/leaf", description: "mine" },
      { type: "string", maxLength: 3, description: "mine" },
    ],
    [
      "a requirement of nothing is dropped",
      { type: "object", properties: { a: true }, required: ["a", "b"] },
      { type: "object", properties: { a: { type: "string" } }, required: ["a"] },
    ],
    ["a reference elsewhere is not followed", { $ref: "https://example.org/schema.json" }, { type: "object" }],
  ];
  const $defs = {
    leaf: { type: "string", maxLength: 3 },
    y: { properties: { y: { type: "number" } }, required: ["y"] },
  };

  test.each(cases)("%s", (_, schema, expected) => {
    expect(geminiSchema({ type: "object", properties: { it: schema }, $defs })).toEqual({
      type: "object",
      properties: { it: expected },
    });
  });

  test("a circle of references ends", () => {
    const node = { type: "object", properties: { next: { $ref: "#/$defs/node" } } };
    expect(geminiSchema({ properties: { first: { $ref: "#/$defs/node" } }, $defs: { node } })).toEqual({
      type: "object",
      properties: { first: { type: "object", properties: { next: { type: "object" } } } },
    });
    expect(geminiSchema({ $ref: "#", properties: { a: true } })).not.toBeUndefined();
    expect(geminiSchema({ allOf: [{ $ref: "#" }, { $ref: "#" }], properties: { a: true } })).toEqual({
      type: "object",
      properties: { a: { type: "string" } },
    });
  });

  test("references that double at each level end at a bound", () => {
    const levels = Array.from({ length: 40 }, (_, index) => {
      const next = { $ref: `#/$defs/d${index + 1}` };
      return [`d${index}`, { type: "object", properties: { a: next, b: next } }] as const;
    });
    const converted = geminiSchema({ properties: { a: { $ref: "#/$defs/d0" } }, $defs: Object.fromEntries(levels) });
    expect(JSON.stringify(converted).length).toBeLessThan(200_000);
  });
});
