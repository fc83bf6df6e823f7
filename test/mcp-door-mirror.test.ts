/** What headers repeat of the body, they repeat truly, or the request is refused. */
import { expect, test } from "vitest";
import { checkMirror, paramsDiffer } from "../src/doors/mcp/mirror.ts";
import type { JsonObject, Tool } from "../src/model.ts";

const encoded = (text: string) => `=?base64?${Buffer.from(text).toString("base64")}?=`;
const call =
  (headers: Record<string, string>, name = "echo") =>
  () =>
    checkMirror({ "mcp-method": "tools/call", ...headers }, "tools/call", { name });

test.each([
  ["plain", "echo", "echo"],
  ["encoded", encoded("echo"), "echo"],
  ["encoded, not ASCII", encoded("größe 世界"), "größe 世界"],
  ["encoded, since it looks encoded", encoded("=?base64?x?="), "=?base64?x?="],
  ["a prefix without a suffix, which is text", "=?base64?ZWNobw==", "=?base64?ZWNobw=="],
  ["a suffix without a prefix, which is text", "ZWNobw==?=", "ZWNobw==?="],
  ["prefix and suffix that share a character, which is text", "=?base64?=", "=?base64?="],
  ["base64 without the marks, which is text", "ZWNobw==", "ZWNobw=="],
])("takes a name that is %s", (_, header, name) => {
  expect(call({ "mcp-name": header }, name)).not.toThrow();
});

test.each([
  ["missing", {}, "echo"],
  ["another", { "mcp-name": "other" }, "echo"],
  ["in another case", { "mcp-name": "Echo" }, "echo"],
  ["encoded, and another", { "mcp-name": encoded("other") }, "echo"],
  ["encoded without padding", { "mcp-name": "=?base64?ZWNobw?=" }, "echo"],
  ["encoded with strange characters", { "mcp-name": "=?base64?ZWN!obw==?=" }, "echo"],
  ["encoded with bits to spare", { "mcp-name": "=?base64?ZWNobx==?=" }, "echo"],
  ["not UTF-8 when decoded", { "mcp-name": "=?base64?/w==?=" }, "\ufffd"],
  ["in upper-case marks", { "mcp-name": "=?BASE64?ZWNobw==?=" }, "echo"],
  ["raw bytes beyond ASCII", { "mcp-name": "gr\u00f6\u00dfe" }, "größe"],
])("refuses a name that is %s", (_, headers, name) => {
  expect(call(headers, name)).toThrow(
    expect.objectContaining({ code: "invalid_request", detail: { status: 400, rpc: { code: -32020 } } }),
  );
});

test.each([[{}], [{ "mcp-method": "tools/list" }], [{ "mcp-method": "Tools/call" }]])(
  "refuses the method header %j",
  (headers) => {
    expect(() => checkMirror({ "mcp-name": "echo", ...headers }, "tools/call", { name: "echo" })).toThrow(/Mcp-Method/);
  },
);

test("compares the uri of resources/read, and asks for no name where the body has none", () => {
  const read = (name: string) => () =>
    checkMirror({ "mcp-method": "resources/read", "mcp-name": name }, "resources/read", { uri: "file:///a" });
  expect(read("file:///a")).not.toThrow();
  expect(read("file:///b")).toThrow(/Mcp-Name/);
  expect(() => checkMirror({ "mcp-method": "tools/list" }, "tools/list", {})).not.toThrow();
});

const inputSchema = {
  type: "object",
  properties: {
    region: { type: "string", "x-mcp-header": "Region" },
    count: { type: "integer", "x-mcp-header": "Count" },
    deep: { type: "object", properties: { flag: { type: "boolean", "x-mcp-header": "Flag" } } },
  },
};
const toolWith = (schema: JsonObject) => ({ definition: { name: "t", inputSchema: schema } }) as unknown as Tool;
const tool = toolWith(inputSchema);

test.each<[string, Record<string, string>, JsonObject]>([
  [
    "equal",
    { "mcp-param-region": "eu", "mcp-param-count": "42", "mcp-param-flag": "true" },
    { region: "eu", count: 42, deep: { flag: true } },
  ],
  ["encoded", { "mcp-param-region": encoded(" a\nb") }, { region: " a\nb" }],
  ["another spelling of the same integer", { "mcp-param-count": "42.0" }, { count: 42 }],
  ["absent, as the argument is", {}, {}],
  ["absent, as the argument is null", {}, { region: null }],
  ["absent, where the argument cannot be repeated", {}, { region: { a: 1 } }],
  ["absent, as the argument is only inherited", {}, { deep: Object.create({ flag: true }) as JsonObject }],
  ["of no tool's", { "mcp-param-other": "x" }, {}],
])("takes parameter headers that are %s", (_, headers, args) => {
  expect(paramsDiffer(tool, headers, args)).toBe(false);
});

test.each<[string, Record<string, string>, JsonObject]>([
  ["another text", { "mcp-param-region": "us" }, { region: "eu" }],
  ["another number", { "mcp-param-count": "41" }, { count: 42 }],
  ["a number in another notation", { "mcp-param-count": "0x2a" }, { count: 42 }],
  ["a boolean in another case", { "mcp-param-flag": "True" }, { deep: { flag: true } }],
  ["missing", {}, { region: "eu" }],
  ["missing deep inside", {}, { deep: { flag: false } }],
  ["there without an argument", { "mcp-param-region": "eu" }, {}],
  ["there for null", { "mcp-param-region": "null" }, { region: null }],
  ["badly encoded", { "mcp-param-region": "=?base64?SGVsbG8?=" }, { region: "Hello" }],
])("finds parameter headers that are %s", (_, headers, args) => {
  expect(paramsDiffer(tool, headers, args)).toBe(true);
});

test("asks nothing for a tool whose marks break the rules, since callers must not use it", () => {
  const broken = {
    type: "object",
    properties: { ...inputSchema.properties, other: { type: "string", "x-mcp-header": "REGION" } },
  };
  expect(paramsDiffer(toolWith(broken), {}, { region: "eu" })).toBe(false);
});
