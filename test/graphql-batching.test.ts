/** How often is policy asked in one request? Once for each list, however many fields show it. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createEngine } from "../src/doors/graphql/engine.ts";
import { createGraph } from "../src/doors/graphql/graph.ts";
import type { Gateway } from "../src/gateway.ts";
import { identify } from "../src/view.ts";
import { startStand } from "./graphql-client.ts";
import type { Stand } from "./graphql-client.ts";
import { KEYS } from "./support/gateway.ts";

const engine = createEngine(readFileSync(new URL("../schema/gateway.graphql", import.meta.url), "utf8"));
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
  const counted = { ...policy, list: (input: Parameters<typeof policy.list>[0]) => (lists++, policy.list(input)) };
  const gateway: Gateway = { ...real, snapshot: () => ({ ...snapshot, policy: counted }) };
  const credential = { kind: "secret", value: KEYS.alice } as const;
  const asked = {
    interface: "graphql",
    protocol: "",
    path: "/graphql",
    ip: "127.0.0.1",
    credential,
    traceparent: null,
    tracestate: null,
    signal: new AbortController().signal,
  } as const;
  const who = await identify(gateway, asked);
  if (!who.ok) throw who.refusal;
  const graph = createGraph(gateway, asked, who.value);
  const executed = await engine({
    graph,
    parameters: { query },
    accepted: { json: "application/json", stream: false },
    method: "POST",
  });
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
  ["nothing to list", "{me {id}}", 0],
])("%s", async (_, query, lists) => {
  expect((await evaluations(query)).lists).toBe(lists);
});
