/** Does discovery show what policy lets a principal see, all of it, and nothing more? */
import { buildClientSchema, getIntrospectionQuery } from "graphql";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startStand } from "./graphql-client.ts";
import type { Stand } from "./graphql-client.ts";

let stand: Stand;
beforeAll(async () => {
  stand = await startStand();
});
afterAll(() => stand.close());

const names = (connection: { edges: { node: { name: string } }[] }): string[] =>
  connection.edges.map(({ node }) => node.name);
const NAMES = "totalCount edges {node {name}}";

describe("who asks", () => {
  test("hears who the gateway takes them for", async () => {
    const { data } = await stand.ask("{me {id kind roles permissions tenant onBehalfOf}}");
    expect(data.me).toEqual({
      id: "alice",
      kind: "USER",
      roles: ["analyst"],
      permissions: ["demo:use", "files:read"],
      tenant: "acme",
      onBehalfOf: null,
    });
  });

  test("may introspect", async () => {
    const { data, errors } = await stand.ask(getIntrospectionQuery());
    expect(errors).toEqual([]);
    expect(buildClientSchema(data).getType("Tool")).toBeDefined();
  });
});

describe("tools", () => {
  test("are those that policy lists, and the count is of these", async () => {
    const query = `{tools {${NAMES}}}`;
    const [alice, oscar, ada] = await Promise.all(
      (["alice", "oscar", "ada"] as const).map((as) => stand.ask(query, {}, { as })),
    );
    expect(names(alice?.data.tools)).toEqual([
      "docs__fails",
      "docs__listFolder",
      "docs__read_file",
      "docs__slow",
      "docs__sorry",
    ]);
    expect(alice?.data.tools.totalCount).toBe(5);
    expect(names(oscar?.data.tools)).toContain("docs__write_file");
    expect(ada?.data.tools).toEqual({ totalCount: 0, edges: [] });
  });

  test("say all that is known of them", async () => {
    const fields =
      "id name version upstreamName title description inputSchema outputSchema annotations permissions tags digest stale server {name}";
    const { data } = await stand.ask(
      `{tool(name: "docs__read_file") {${fields} limits {name limit remaining windowMs}}}`,
    );
    expect(data.tool).toEqual({
      id: "docs@1.0.0/read_file",
      name: "docs__read_file",
      version: "1.0.0",
      upstreamName: "read_file",
      title: "Read a file",
      description: "Reads the contents of a file.",
      inputSchema: { type: "object", properties: { path: { type: "string" } }, required: ["path"] },
      outputSchema: null,
      annotations: { readOnlyHint: true },
      permissions: ["files:read"],
      tags: ["disk"],
      digest: expect.stringMatching(/^sha256:/) as string,
      stale: false,
      server: { name: "docs" },
      limits: [],
    });
  });

  test("come ready to hand to a model", async () => {
    const { data } = await stand.ask(
      '{tool(name: "docs__listFolder") {a: definition(format: ANTHROPIC) o: definition(format: OPENAI) g: definition(format: GEMINI) m: definition(format: MCP)}}',
    );
    const [name, description] = ["docs__listFolder", "Lists a directory."];
    expect(data.tool).toEqual({
      a: { name, description, input_schema: { type: "object", properties: {} } },
      o: { type: "function", function: { name, description, parameters: { type: "object", properties: {} } } },
      g: { name, description },
      m: { name, description, inputSchema: { type: "object" }, annotations: { readOnlyHint: true } },
    });
  });

  test("that may not be seen are as if there were none", async () => {
    const { data } = await stand.ask(
      '{a: tool(name: "docs__write_file") {id} b: tool(name: "docs__nothing") {id} c: tool(name: "vault__read_file") {id}}',
    );
    expect(data).toEqual({ a: null, b: null, c: null });
    const { data: seen } = await stand.ask('{tool(name: "docs__write_file") {id}}', {}, { as: "oscar" });
    expect(seen.tool).toEqual({ id: "docs@1.0.0/write_file" });
  });

  test("are found by version, and never another in its stead", async () => {
    const { data } = await stand.ask(
      '{a: tool(name: "docs__read_file", version: "v2.0") {id} b: tool(name: "docs__read_file", version: "3") {id} c: tool(name: "docs__read_file", version: "*") {id}}',
    );
    expect(data).toEqual({ a: { id: "docs@2.0.0/read_file" }, b: null, c: null });
  });

  test.each([
    ['{server: "docs", readOnly: true}', ["docs__listFolder", "docs__read_file"]],
    ["{readOnly: false}", ["docs__fails", "docs__slow", "docs__sorry"]],
    ['{tag: "danger"}', []],
    ['{permission: "files:write"}', []],
    ['{server: "vault"}', []],
    ['{version: "*", readOnly: true}', ["docs__listFolder", "docs__listFolder", "docs__read_file", "docs__read_file"]],
    ['{version: "2", readOnly: true}', ["docs__listFolder", "docs__read_file"]],
  ])("are filtered by %s", async (filter, expected) => {
    const { data } = await stand.ask(`{tools(filter: ${filter}) {${NAMES}}}`);
    expect(names(data.tools)).toEqual(expected);
    expect(data.tools.totalCount).toBe(expected.length);
  });

  test("with a title that is no text have none, and the rest of the answer stands", async () => {
    const { data, errors } = await stand.ask('{tool(name: "docs__sorry") {name title}}');
    expect(errors).toEqual([]);
    expect(data.tool).toEqual({ name: "docs__sorry", title: null });
  });
});

describe("search", () => {
  const search = async (text: string, as: "alice" | "oscar" = "alice"): Promise<string[]> => {
    const { data } = await stand.ask(`query($text: String) {tools(search: $text) {${NAMES}}}`, { text }, { as });
    expect(data.tools.totalCount).toBe(data.tools.edges.length);
    return names(data.tools);
  };

  test("finds by the words of a name, a title and a description, best first", async () => {
    expect((await search("read a file"))[0]).toBe("docs__read_file");
    expect(await search("list folder")).toContain("docs__listFolder");
    expect(await search("directory")).toEqual(["docs__listFolder"]);
    expect((await search("contents"))[0]).toBe("docs__read_file");
  });

  test("forgives a slip and takes a beginning for the word", async () => {
    expect(await search("directry")).toEqual(["docs__listFolder"]);
    expect(await search("contnets")).toEqual(["docs__read_file"]);
    expect(await search("direc")).toEqual(["docs__listFolder"]);
  });

  test("neither finds nor counts what may not be seen", async () => {
    expect(await search("replacing")).toEqual([]);
    expect(await search("replacing", "oscar")).toEqual(["docs__write_file"]);
  });

  test("for nothing but stop words finds nothing, for blanks everything", async () => {
    expect(await search("the of a")).toEqual([]);
    expect(await search("  ")).toHaveLength(5);
  });
});

describe("a page", () => {
  const query =
    "query($first: Int, $after: String, $search: String) {tools(first: $first, after: $after, search: $search) {totalCount edges {cursor node {name}} pageInfo {hasNextPage hasPreviousPage startCursor endCursor}}}";

  test.each([[undefined], ["file"]])("follows on the one before, search being %s", async (search) => {
    const all: string[] = [];
    let after: string | null = null;
    for (let turn = 0; turn < 10; turn++) {
      // oxlint-disable-next-line no-await-in-loop -- each page needs the cursor of the one before
      const { data } = await stand.ask(query, { first: 2, after, search });
      const { edges, pageInfo, totalCount } = data.tools;
      all.push(...names(data.tools));
      expect(pageInfo).toEqual({
        hasNextPage: all.length < totalCount,
        hasPreviousPage: turn > 0,
        startCursor: edges[0].cursor,
        endCursor: edges.at(-1).cursor,
      });
      after = pageInfo.endCursor;
      if (!pageInfo.hasNextPage) break;
    }
    const { data } = await stand.ask(query, { search });
    expect(all).toEqual(names(data.tools));
    expect(new Set(all).size).toBe(all.length);
  });

  test("of none has no edges and still the count", async () => {
    const { data } = await stand.ask(query, { first: 0 });
    expect(data.tools).toMatchObject({ totalCount: 5, edges: [], pageInfo: { hasNextPage: true } });
  });

  test.each([
    [{ first: 101 }, "first must be from 0 to 100."],
    [{ first: -1 }, "first must be from 0 to 100."],
    [{ after: "bm9wZQ" }, "The cursor is not one of ours, or of another list."],
    [{ after: "bm9wZQ", search: "file" }, "The cursor is not one of ours, or of another list."],
  ])("of %o is refused, with a record", async (variables, message) => {
    const { errors, data } = await stand.ask(query, variables);
    expect(data).toBeNull();
    expect(errors).toMatchObject([
      { message, path: ["tools"], extensions: { code: "invalid_request", executed: "no", retryable: false } },
    ]);
    const callId = errors[0]?.extensions["callId"];
    const records = await stand.gateway.records();
    expect(records.filter((record) => record["portcullis.call.id"] === callId)).toHaveLength(1);
  });
});

describe("servers", () => {
  test("are those with a tool that may be seen, with their versions", async () => {
    const query =
      "{servers {totalCount edges {node {name defaultVersion versions {version isDefault state discoveredAt} tools(first: 2) {totalCount}}}}}";
    const { data } = await stand.ask(query);
    const discoveredAt = expect.stringMatching(/^\d{4}-\d\d-\d\dT/) as string;
    expect(data.servers).toEqual({
      totalCount: 1,
      edges: [
        {
          node: {
            name: "docs",
            defaultVersion: "1.0.0",
            versions: [
              { version: "1.0.0", isDefault: true, state: "FRESH", discoveredAt },
              { version: "2.0.0", isDefault: false, state: "FRESH", discoveredAt },
            ],
            tools: { totalCount: 5 },
          },
        },
      ],
    });
    expect((await stand.ask(query, {}, { as: "ada" })).data.servers).toEqual({ totalCount: 0, edges: [] });
  });

  test("none of whose tools may be seen are as if there were none", async () => {
    const { data } = await stand.ask(
      '{a: server(name: "vault") {name} b: server(name: "nothing") {name} c: server(name: "docs") {name}}',
    );
    expect(data).toEqual({ a: null, b: null, c: { name: "docs" } });
  });
});
