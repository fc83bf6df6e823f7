/** Who may inspect servers sees in the graph how calls to each instance go; nobody else does. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { startStand } from "./graphql-client.ts";
import type { Stand } from "./graphql-client.ts";
import { until } from "./support/gateway.ts";

let stand: Stand;
beforeAll(async () => {
  stand = await startStand();
});
afterAll(() => stand.close());

const HEALTH = `{server(name: "docs") {health {version running waiting retries openTools
  instances {id state breaker weight inFlight ewma ejections lastError}}}}`;
const CALL = 'mutation {callTool(tool: "docs__read_file", arguments: {path: "a"}) {isError}}';

test("an operator sees an instance that is ready, and one that was set aside, by breaker, load and error", async () => {
  await stand.ask(CALL);
  const well = await stand.ask(HEALTH, {}, { as: "oscar" });
  expect(well.errors).toEqual([]);
  const instance = {
    id: `docs@1.0.0#${new URL(stand.upstream.url).host}`,
    state: "READY",
    breaker: "CLOSED",
    weight: 1,
    inFlight: 0,
  };
  expect(well.data.server.health).toMatchObject([
    { version: "1.0.0", running: 0, waiting: 0, retries: 0, openTools: [], instances: [instance] },
    { version: "2.0.0" },
  ]);
  expect(well.data.server.health[0].instances[0]).toMatchObject({ ejections: 0, lastError: null });
  stand.upstream.answerWith(503);
  await until(async () => {
    await stand.ask(CALL);
    const { data } = await stand.ask(HEALTH, {}, { as: "oscar" });
    const [{ instances }] = data.server.health;
    return instances[0].breaker === "OPEN" && instances[0].lastError === "The server is overloaded.";
  }, "the breaker opens");
  stand.upstream.answerWith(null);
});

test("who may inspect servers sees each, its versions and health, though none of its tools", async () => {
  const query = `{
    servers(first: 9) {edges {node {name}}}
    server(name: "vault") {name defaultVersion versions {version state} health {version} tools {totalCount}}
    nothing: server(name: "nothing") {name}
  }`;
  const { data, errors } = await stand.ask(query, {}, { as: "oscar" });
  expect(errors).toEqual([]);
  expect(data).toEqual({
    servers: { edges: [{ node: { name: "docs" } }, { node: { name: "vault" } }] },
    server: {
      name: "vault",
      defaultVersion: "1.0.0",
      versions: [{ version: "1.0.0", state: "FRESH" }],
      health: [{ version: "1.0.0" }],
      tools: { totalCount: 0 },
    },
    nothing: null,
  });
  const other = await stand.ask(query);
  expect(other.data).toEqual({ servers: { edges: [{ node: { name: "docs" } }] }, server: null, nothing: null });
});

test("who may not inspect servers sees none of it", async () => {
  const { data, errors } = await stand.ask(HEALTH);
  expect([data.server.health, errors]).toEqual([null, []]);
});
