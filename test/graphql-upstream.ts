/** The server behind the GraphQL tests: the fixture in the older era, with tools whose definitions the graph has to show. */
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";
import type { Handler } from "./support/upstreams/fixture-tools.ts";

const SCHEMA = { type: "object", properties: { path: { type: "string" } }, required: ["path"] };
const TOOLS = [
  {
    name: "read_file",
    title: "Read a file",
    description: "Reads the contents of a file.",
    inputSchema: SCHEMA,
    annotations: { readOnlyHint: true },
  },
  { name: "write_file", description: "Writes text to a file, replacing what was there.", inputSchema: SCHEMA },
  {
    name: "listFolder",
    description: "Lists a directory.",
    inputSchema: { type: "object" },
    annotations: { readOnlyHint: true },
  },
  { name: "fails", description: "Answers with a protocol error.", inputSchema: { type: "object" } },
  { name: "slow", description: "Never answers.", inputSchema: { type: "object" } },
  { name: "sorry", description: "Says that it failed.", title: { not: "text" }, inputSchema: { type: "object" } },
];

const says =
  (isError: boolean): Handler =>
  ({ args }) => ({
    result: { content: [{ type: "text", text: JSON.stringify(args) }], isError, _meta: { "example.org/kept": 1 } },
  });
const HANDLERS: { readonly [name: string]: Handler } = {
  read_file: says(false),
  write_file: says(false),
  listFolder: says(false),
  sorry: says(true),
  fails: () => ({ error: { code: -32000, message: "the host db.internal said no" } }),
  slow: () => ({ fault: "hang" }),
};

export function startUpstream(): Promise<Fixture> {
  return startFixture({ era: "legacy", protocol: "2025-06-18", tools: TOOLS, handlers: HANDLERS });
}
