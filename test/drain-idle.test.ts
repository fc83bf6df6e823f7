/** The promise: a request that was under way when the gateway was told to stop is answered, on a connection idle till then. */
import { connect } from "node:net";
import type { Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { KEYS, startGateway, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";

let gateway: TestGateway;
afterEach(() => gateway.close());

const REQUEST = `GET /tools HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: ${KEYS.alice}\r\n\r\n`;

function open(): Promise<{ socket: Socket; text: () => string; ended: () => boolean }> {
  return new Promise((opened) => {
    let text = "";
    let ended = false;
    const socket = connect(Number(gateway.traffic.split(":").at(-1)), "127.0.0.1", () =>
      opened({ socket, text: () => text, ended: () => ended }),
    );
    socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
    socket.on("error", () => undefined);
    socket.on("close", () => (ended = true));
  });
}

test("it is shed with a word, the connection ends with it, and one that stays idle ends soon", async () => {
  gateway = await startGateway({ drain: "10s" });
  const [used, idle] = [await open(), await open()];
  used.socket.write(REQUEST);
  await until(() => used.text().includes("200 OK"), "it is answered");
  const began = performance.now();
  const stopping = gateway.stop();
  await new Promise((next) => setTimeout(next, 100));
  expect([used.ended(), idle.ended()]).toEqual([false, false]);
  used.socket.write(REQUEST);
  await until(() => used.ended(), "the connection ends");
  const [, shed = ""] = used.text().split("503 Service Unavailable");
  expect(shed).toMatch(/connection: close/i);
  expect(shed).toContain("portcullis-refusal: overloaded");
  await stopping;
  await until(() => idle.ended(), "the other connection ends");
  expect(performance.now() - began).toBeLessThan(8_000);
});
