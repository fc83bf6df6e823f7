/** What can the fixture do? Its tools, from well-behaved to hostile, and those whose names the conformance suite expects. */
import { setTimeout as sleep } from "node:timers/promises";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type Fields = { readonly [key: string]: Json };
export type Definition = { readonly name: string; readonly [key: string]: unknown };
/** `garbage`, `die` and `hang` are carried out by whatever carries the bytes. */
export type Outcome =
  | { readonly result: unknown }
  | { readonly error: { readonly code: number; readonly message: string; readonly data?: unknown } }
  | { readonly bytes: string }
  | { readonly fault: "die" | "hang" };
export type Turn = {
  readonly id: string | number;
  readonly args: Fields;
  readonly progressToken: Json | undefined;
  readonly notify: (method: string, params: unknown) => void;
  /** Asks the client something, with this id. */
  readonly ask: (id: string, method: string) => void;
  /** What clients answered to such questions. */
  readonly replies: readonly unknown[];
  /** Aborted when the caller cancels in the way of its era. */
  readonly signal: AbortSignal;
};
export type Handler = (turn: Turn) => Outcome | Promise<Outcome>;

const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
const WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=";
const NOTHING = { type: "object" };

const text = (value: string) => ({ result: { content: [{ type: "text", text: value }] } });
const number = (value: Json | undefined, otherwise: number) => (typeof value === "number" ? value : otherwise);

const word = (value: Json | undefined, otherwise: string) => (typeof value === "string" ? value : otherwise);

const HANDLERS: { readonly [name: string]: Handler } = {
  echo: ({ args }) => ({
    result: {
      content: [{ type: "text", text: word(args["text"], ""), unheard: 1 }],
      structuredContent: args,
      odd: { kept: true },
    },
  }),
  long_number: () => ({
    result: { content: [], structuredContent: { id: JSON.rawJSON("12345678901234567890") as Json } },
  }),
  slow: async ({ args, signal }) => {
    await sleep(number(args["ms"], 100), undefined, { signal }).catch(() => {});
    return text("slept");
  },
  progress: async ({ args, notify, progressToken }) => {
    const steps = number(args["steps"], 3);
    for (let step = 1; step <= steps; step++) {
      if (progressToken !== undefined)
        notify("notifications/progress", { progressToken, progress: step, total: steps, odd: true });
      await sleep(number(args["ms"], 5));
    }
    return text("done");
  },
  asks: async ({ ask, replies }) => {
    ask("q1", "ping");
    ask("q2", "sampling/createMessage");
    ask("q3", "roots/list");
    for (let waited = 0; replies.length < 3 && waited < 100; waited++) await sleep(10);
    return text(JSON.stringify(replies));
  },
  stray_progress: ({ notify }) => {
    notify("notifications/progress", { progressToken: 424242, progress: 1 });
    return text("done");
  },
  big: ({ args }) => text("x".repeat(number(args["bytes"], 1024))),
  fail: () => ({ result: { content: [{ type: "text", text: "it failed" }], isError: true } }),
  rpc_error: ({ args }) => ({
    error: { code: number(args["code"], -32602), message: "no such thing", data: { kept: [1] } },
  }),
  garbage: ({ id, args }) => ({ bytes: bytesOf(id, word(args["kind"], "text")) }),
  hang: () => ({ fault: "hang" }),
  die: () => ({ fault: "die" }),
  input_required: () => ({
    result: {
      resultType: "input_required",
      inputRequests: { a: { method: "elicitation/create", params: { message: "?", requestedSchema: NOTHING } } },
    },
  }),
  odd_kind: () => ({ result: { resultType: "task", task: { taskId: "t1" } } }),
  with_headers: ({ args }) => text(JSON.stringify(args)),
  test_simple_text: () => text("This is a simple text response for testing."),
  test_image_content: () => ({ result: { content: [{ type: "image", data: PNG, mimeType: "image/png" }] } }),
  test_audio_content: () => ({ result: { content: [{ type: "audio", data: WAV, mimeType: "audio/wav" }] } }),
  test_embedded_resource: () => ({
    result: {
      content: [
        {
          type: "resource",
          resource: {
            uri: "test://embedded-resource",
            mimeType: "text/plain",
            text: "This is an embedded resource content.",
          },
        },
      ],
    },
  }),
  test_multiple_content_types: () => ({
    result: {
      content: [
        { type: "text", text: "Multiple content types test:" },
        { type: "image", data: PNG, mimeType: "image/png" },
        {
          type: "resource",
          resource: {
            uri: "test://mixed-content-resource",
            mimeType: "application/json",
            text: '{"test":"data","value":123}',
          },
        },
      ],
    },
  }),
  test_tool_with_progress: async ({ notify, progressToken }) => {
    for (const progress of [0, 50, 100]) {
      if (progressToken !== undefined)
        notify("notifications/progress", {
          progressToken,
          progress,
          total: 100,
          message: `Completed step ${progress} of 100`,
        });
      await sleep(10);
    }
    return text(JSON.stringify(progressToken ?? null));
  },
  test_error_handling: () => ({
    result: {
      content: [{ type: "text", text: "This tool intentionally returns an error for testing" }],
      isError: true,
    },
  }),
  json_schema_2020_12_tool: ({ args }) => text(`JSON Schema 2020-12 tool called with: ${JSON.stringify(args)}`),
};

const SCHEMAS: { readonly [name: string]: unknown } = {
  echo: { type: "object", properties: { text: { type: "string" } } },
  with_headers: {
    type: "object",
    properties: {
      region: { type: "string", "x-mcp-header": "Region" },
      deep: { type: "object", properties: { count: { type: "integer", "x-mcp-header": "Count" } } },
    },
  },
  json_schema_2020_12_tool: {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    type: "object",
    $defs: {
      address: {
        $anchor: "addressDef",
        type: "object",
        properties: { street: { type: "string" }, city: { type: "string" } },
      },
    },
    properties: {
      name: { type: "string" },
      address: { $ref: "#/$defs/address" },
      contactMethod: { type: "string", enum: ["phone", "email"] },
      phone: { type: "string" },
      email: { type: "string" },
    },
    allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
    if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
    // oxlint-disable-next-line unicorn/no-thenable -- JSON Schema's own word
    then: { required: ["phone"] },
    else: { required: ["email"] },
    additionalProperties: false,
  },
};
const READ_ONLY: ReadonlySet<string> = new Set(["echo", "test_simple_text"]);

export const DEFINITIONS: readonly Definition[] = Object.keys(HANDLERS).map((name) => ({
  name,
  description: `The fixture's ${name}.`,
  inputSchema: SCHEMAS[name] ?? NOTHING,
  ...(READ_ONLY.has(name) ? { annotations: { readOnlyHint: true, unheard: 1 } } : {}),
  "x-unknown": { kept: [1, null] },
}));

export async function runTool(name: string, turn: Turn): Promise<Outcome> {
  const handler = Object.hasOwn(HANDLERS, name) ? HANDLERS[name] : undefined;
  if (handler === undefined) return { error: { code: -32602, message: `Unknown tool: ${name}` } };
  return handler(turn);
}

/** Answers that are none, each broken in its own way. */
const garbage: { readonly [kind: string]: (id: string) => string } = {
  text: () => "{this is not json",
  duplicate: (id) => `{"jsonrpc":"2.0","id":${id},"result":{"content":[]},"result":{"content":[1]}}`,
  deep: (id) => `{"jsonrpc":"2.0","id":${id},"result":${"[".repeat(100)}${"]".repeat(100)}}`,
  proto: (id) => `{"jsonrpc":"2.0","id":${id},"result":{"__proto__":{"isError":true}}}`,
  both: (id) => `{"jsonrpc":"2.0","id":${id},"result":{},"error":{"code":1,"message":"m"}}`,
  neither: (id) => `{"jsonrpc":"2.0","id":${id}}`,
  foreign: () => `{"jsonrpc":"2.0","id":987654,"result":{}}`,
  text_id: (id) => `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":{}}`,
  no_version: (id) => `{"id":${id},"result":{}}`,
  array_result: (id) => `{"jsonrpc":"2.0","id":${id},"result":[]}`,
  bad_error: (id) => `{"jsonrpc":"2.0","id":${id},"error":{"code":1.5,"message":"m"}}`,
};
/** The kinds that the tool `garbage` takes. */
export const GARBAGE = Object.keys(garbage);

/** Of a kind that is not known: the kind itself. */
function bytesOf(id: string | number, kind: string): string {
  return garbage[kind]?.(JSON.stringify(id)) ?? kind;
}
