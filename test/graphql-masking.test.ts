/** What does a caller hear of a fault of the gateway's own? A constant, a call id, and nothing of the fault. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Graph } from "../src/doors/graphql/graph.ts";
import { execute } from "./graphql-client.ts";
import { startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";

let running: TestGateway;
const logged: unknown[] = [];
beforeAll(async () => {
  const log = { info: () => {}, warn: () => {}, error: (fields: object) => void logged.push(fields) };
  running = await startGateway({}, { log });
});
afterAll(() => running.close());

const failing = (cause: unknown): Pick<Graph, "list"> => ({ list: () => Promise.reject(cause) });

test("a fault is `internal` with a call id; its cause is in the log and in no answer", async () => {
  const fault = new TypeError("cannot reach db.internal:5432 as admin");
  const executed = await execute(running.gateway, "{me {id} tools {totalCount}}", failing(fault));
  if (executed.kind !== "answer") throw new Error("An answer was expected.");
  expect(executed.status).toBe(200);
  expect(executed.body).not.toMatch(/db\.internal|TypeError|stack|\.ts/);
  const { errors } = JSON.parse(executed.body) as { errors: { message: string; extensions: { callId: string } }[] };
  expect(errors).toMatchObject([
    { message: "The gateway failed.", path: ["tools"], extensions: { code: "internal", retryable: false } },
  ]);
  expect(logged).toContainEqual(expect.objectContaining({ callId: errors[0]?.extensions.callId, err: fault }));
  const records = await running.records();
  expect(records.filter((record) => record["portcullis.call.id"] === errors[0]?.extensions.callId)).toHaveLength(1);
});

test("a fault that strikes many fields is recorded once", async () => {
  const before = (await running.records()).length;
  const query = `{${Array.from({ length: 30 }, (_, index) => `t${index}: tool(name: "x") {id}`).join(" ")}}`;
  const executed = await execute(running.gateway, query, failing(new Error("again")));
  expect(executed.kind === "answer" && (JSON.parse(executed.body) as { errors: unknown[] }).errors).toHaveLength(30);
  expect((await running.records()).length).toBe(before + 1);
});

test("a value that does not fit its type is a fault of ours, and is not shown", async () => {
  const { gateway } = running;
  const tool = { id: "a@1/b", name: { secret: "upstream text" }, version: "1", server: "a" };
  const listing = { tools: [tool], snapshot: gateway.snapshot(), principal: {}, urls: null };
  const executed = await execute(gateway, "{tools {edges {node {name}}}}", {
    list: () => Promise.resolve(listing as never),
  });
  if (executed.kind !== "answer") throw new Error("An answer was expected.");
  expect(executed.body).toContain('"internal"');
  expect(executed.body).not.toContain("upstream text");
});
