/** However a place for checkpoints behaves, it gets no more time, memory or trust than it was given. */
import { createServer } from "node:http";
import { describe, expect, onTestFinished, test } from "vitest";
import { openSinks } from "../src/audit/sinks.ts";
import { backoffMs, ports, postWithin, receiver, signed, sinksTo } from "./audit-sink-parts.ts";
import { freePort } from "./support/parts.ts";

describe("a place that answers", () => {
  test("with a redirect has taken nothing, and nobody is sent elsewhere", async () => {
    const elsewhere = await receiver();
    const { url, heard } = await receiver([302], { headers: { location: elsewhere.url } });
    const sinks = await sinksTo({ http: url, headers: { authorization: "Bearer x" } });
    sinks.publish(signed(1));
    await expect.poll(() => heard.length).toBeGreaterThan(1);
    expect(sinks.status()[0]).toMatchObject({ lastError: "it answered 302", size: 0 });
    expect(elsewhere.heard).toEqual([]);
  });

  test("never, or drop by drop, is given up at the deadline, and asked again", async () => {
    for (const begins of [false, true]) {
      let asked = 0;
      const server = createServer((_request, answer) => {
        asked++;
        if (begins) setInterval(() => answer.write("."), 20).unref();
      });
      await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
      onTestFinished(() => server.close().closeAllConnections());
      const { port } = server.address() as { readonly port: number };
      const targets = [{ http: `http://127.0.0.1:${port}/`, headers: {} }];
      const sinks = await openSinks({ targets, post: postWithin(100), backoffMs }, ports);
      onTestFinished(() => sinks.close());
      sinks.publish(signed(1));
      await expect.poll(() => asked, { timeout: 5_000 }).toBeGreaterThan(1);
      expect(sinks.status()[0]).toMatchObject({
        size: 0,
        lastError: expect.stringMatching(/^(ABORT_ERR|ECONNRESET)$/) as string,
      });
    }
  });

  test("without end is cut", async () => {
    let sent = 0;
    const chunk = Buffer.alloc(1024 * 1024, ".");
    const server = createServer((_request, answer) => {
      const more = (): void => {
        while (!answer.destroyed && answer.write(chunk)) sent++;
        if (!answer.destroyed) answer.once("drain", more);
      };
      more();
    });
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    onTestFinished(() => server.close().closeAllConnections());
    const { port } = server.address() as { readonly port: number };
    const sinks = await sinksTo({ http: `http://127.0.0.1:${port}/`, headers: {} });
    sinks.publish(signed(1));
    await expect.poll(() => sinks.status()[0]?.lastError, { timeout: 4_000 }).toBe("it took nothing");
    expect(sinks.status()[0]?.size).toBe(0);
  });
});

test("of more chains than may wait, the oldest are given up", async () => {
  const port = await freePort();
  const sinks = await sinksTo({ http: `http://127.0.0.1:${port}/`, headers: {} });
  const chains = Array.from({ length: 1_002 }, (_, at) => `gateway-${String(at).padStart(20, "0")}`);
  for (const chain of chains) sinks.publish(signed(1, chain));
  await expect.poll(() => sinks.status()[0]?.lastError).toBe("ECONNREFUSED");
  const back = await receiver([200], {}, port);
  await expect.poll(() => back.heard.length, { timeout: 10_000 }).toBe(1_000);
  await expect.poll(() => sinks.status()[0]?.waitingMs).toBe(0);
  expect(back.heard.at(-1)?.body).toContain(chains.at(-1));
}, 20_000);

test("of more chains than may wait, those of one sidecar with many take no other's place", async () => {
  const port = await freePort();
  const sinks = await sinksTo({ http: `http://127.0.0.1:${port}/`, headers: {} });
  const chain = (at: number) => `gateway-${String(at).padStart(20, "0")}`;
  const others = [chain(1), chain(2), `edge-1/${chain(1)}`];
  for (const one of others) sinks.publish(signed(1, one));
  for (let at = 0; at < 1_100; at++) sinks.publish(signed(1, `edge-2/${chain(at)}`));
  await expect.poll(() => sinks.status()[0]?.lastError).toBe("ECONNREFUSED");
  const back = await receiver([200], {}, port);
  await expect.poll(() => back.heard.length, { timeout: 10_000 }).toBe(1_000);
  const origins = new Set(back.heard.map(({ body }) => body.split("\n", 1)[0]));
  for (const one of [...others, `edge-2/${chain(1_099)}`]) expect(origins).toContain(`portcullis/${one}`);
}, 20_000);

test("two places of one name are told apart", async () => {
  const to = (path: string) => ({ http: `http://127.0.0.1:9/${path}`, headers: {} });
  const sinks = await sinksTo(to("a"), to("b"), to("c"));
  const place = "http http://127.0.0.1:9";
  expect(sinks.status().map(({ target }) => target)).toEqual([place, `${place} (2)`, `${place} (3)`]);
});
