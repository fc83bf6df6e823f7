/** Stopping loses nothing: running calls finish, new ones are shed, streams that wait are ended, and readiness says so first. */
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { DOORS } from "./support/ask.ts";
import { discovered, fixtureServer, KEYS, startGateway, until } from "./support/gateway.ts";
import { key, portcullis } from "./support/portcullis.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const rest = DOORS["rest"]!;

async function stand(drain: string) {
  const fixture = await startFixture();
  const gateway = await startGateway({ drain, servers: [fixtureServer(fixture)] });
  await discovered(gateway, "fixture");
  return { fixture, gateway };
}

test("a running call finishes, a new one on an open connection is shed, a subscription ends", async () => {
  const { fixture, gateway } = await stand("5s");
  const stream = await fetch(
    `${gateway.url}/graphql?query=${encodeURIComponent("subscription { toolsChanged { revision } }")}`,
    { headers: { "x-api-key": KEYS.alice, accept: "text/event-stream" } },
  );
  expect(stream.headers.get("content-type")).toContain("text/event-stream");
  const slow = rest(gateway, { key: KEYS.alice, tool: "slow", arguments: { ms: 600 } });
  await until(() => fixture.state.arrivals.length > 0, "the call is out");
  expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200);
  const started = performance.now();
  const closed = gateway.close();
  const shed = await rest(gateway, { key: KEYS.alice, tool: "echo" }).then(
    ({ code }) => code,
    () => "connection refused",
  );
  expect(["overloaded", "connection refused"]).toContain(shed);
  expect((await slow).code).toBe("ok");
  await stream.text();
  await closed;
  expect(performance.now() - started).toBeLessThan(4000);
  await fixture.close();
});

test("a process with a subscription open ends when it is told to, with exit code 0", async () => {
  const alice = key("alice", "alice");
  const gateway = await portcullis({
    config: { principals: [{ id: "alice" }], auth: { keys: [alice.entry] }, drain: "2s" },
  });
  const query = encodeURIComponent("subscription { toolsChanged { revision } }");
  const stream = await fetch(`${gateway.url}/graphql?query=${query}`, {
    headers: { "x-api-key": alice.text, accept: "text/event-stream" },
  });
  expect(stream.status).toBe(200);
  expect(await gateway.stop()).toBe(0);
  await stream.text();
});

test("a call whose body comes after the drain has begun is shed", async () => {
  const { fixture, gateway } = await stand("3s");
  const { hostname, port } = new URL(gateway.url);
  const socket = connect(Number(port), hostname);
  const body = JSON.stringify({ arguments: { text: "late" } });
  socket.write(
    `POST /tools/fixture__echo/call HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: ${KEYS.alice}\r\n` +
      `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body.slice(0, 5)}`,
  );
  await sleep(200);
  const closed = gateway.close();
  socket.write(body.slice(5));
  const answer = (await socket.setEncoding("utf8").toArray()).join("");
  expect(answer).toContain('"code":"overloaded"');
  expect(fixture.state.arrivals.length).toBe(0);
  await closed;
  await fixture.close();
});

test("a call that outlives the deadline is cut, and its record says that its fate is unknown", async () => {
  const { fixture, gateway } = await stand("200ms");
  const slow = rest(gateway, { key: KEYS.alice, tool: "slow", arguments: { ms: 20_000 } }).catch(() => null);
  await until(() => fixture.state.arrivals.length > 0, "the call is out");
  const records = gateway.records;
  const closed = gateway.stop();
  await slow;
  await closed;
  expect((await records()).at(-1)).toMatchObject({ "portcullis.record": "outcome", "portcullis.executed": "unknown" });
  await gateway.clean();
  await fixture.close();
});
