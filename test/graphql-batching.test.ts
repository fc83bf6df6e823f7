/** How often is policy asked in one request? Once for each list, however many fields show it. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Gateway } from "../src/gateway.ts";
import { execute, startStand } from "./graphql-client.ts";
import type { Stand } from "./graphql-client.ts";

let stand: Stand;
beforeAll(async () => {
  stand = await startStand();
});
afterAll(() => stand.close());

/** The answer's text, and the number of lists that policy was asked for. */
async function evaluations(query: string): Promise<{ readonly body: string; readonly lists: number }> {
  const real = stand.gateway.gateway;
  const snapshot = real.snapshot();
  if (snapshot.policy === null) throw new Error("No policy is in force.");
  const { policy } = snapshot;
  let lists = 0;
  const listTools: typeof policy.listTools = (...asked) => (lists++, policy.listTools(...asked));
  const counted = { ...policy, listTools };
  const gateway: Gateway = { ...real, snapshot: () => ({ ...snapshot, policy: counted }) };
  const executed = await execute(gateway, query);
  if (executed.kind !== "answer") throw new Error("An answer was expected.");
  expect(JSON.parse(executed.body)).not.toHaveProperty("errors");
  return { body: executed.body, lists };
}

test.each([
  [
    "a list and what hangs on each of its tools",
    "{tools {edges {node {name limits {name} server {name defaultVersion tools {totalCount}}}}}}",
    1,
  ],
  [
    "many tools by name",
    '{a: tool(name: "docs__read_file") {id} b: tool(name: "docs__sorry") {id} c: tool(name: "docs__nothing") {id}}',
    1,
  ],
  [
    "servers with their versions, and their tools of the default one",
    "{servers {edges {node {name versions {version} tools {edges {node {name}}}}}}}",
    2,
  ],
  [
    "filters that only narrow",
    '{a: tools(filter: {server: "docs"}) {totalCount} b: tools(filter: {readOnly: true}) {totalCount} c: tools(search: "file") {totalCount}}',
    1,
  ],
  [
    "what changed in the server of each tool",
    '{tools(filter: {server: "docs"}) {edges {node {server {changes(from: "1.0.0", to: "1.0.0") {tool}}}}}}',
    2,
  ],
  ["nothing to list", "{me {id}}", 0],
])("%s", async (_, query, lists) => {
  expect((await evaluations(query)).lists).toBe(lists);
});
