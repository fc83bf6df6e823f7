/** Has somebody else had its time? Not before what came meanwhile is read, nor while this process was the one that was late. */
import { once } from "node:events";
import { createServer, connect } from "node:net";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { startDeadline } from "../src/deadline.ts";
import { realPorts, silent } from "../src/ports.ts";

const { clock } = realPorts(silent);

describe("a deadline", () => {
  test("is over when its time is, and once", async () => {
    let over = 0;
    startDeadline(20, clock, () => over++);
    expect(over).toBe(0);
    await sleep(100);
    expect(over).toBe(1);
  });

  test("is not over where it was called off", async () => {
    let over = 0;
    const callOff = startDeadline(20, clock, () => over++);
    callOff();
    await sleep(100);
    expect(over).toBe(0);
  });

  test("reads what came while nobody listened before it is over, and may be called off by that", async () => {
    const server = createServer((socket) => void socket.on("error", () => {}).write("here")).listen(0, "127.0.0.1");
    onTestFinished(() => void server.close());
    await once(server, "listening");
    const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
    onTestFinished(() => void client.destroy());
    await once(client, "connect");
    const order: string[] = [];
    // the two sockets share this process: the other side has written, and nothing is read before the timer is due
    const callOff = startDeadline(20, clock, () => order.push("over"));
    client.once("data", () => {
      order.push("read");
      callOff();
    });
    const until = performance.now() + 100;
    while (performance.now() < until);
    await sleep(200);
    expect(order).toEqual(["read"]);
  });

  test("that came late gives the other side the time by which it was late, but no more than it had, and once", async () => {
    const steps = [0, 1_000_000];
    const jumping = { monotonicMs: () => steps.shift() ?? 2_000_000 };
    const begun = performance.now();
    const tookMs = await new Promise<number>((settle) =>
      startDeadline(60, jumping, () => settle(performance.now() - begun)),
    );
    expect(tookMs).toBeGreaterThan(115);
    expect(tookMs).toBeLessThan(600);
  });

  test("that came late may be called off in the time that it gives", async () => {
    const steps = [0, 1_000_000];
    let over = 0;
    const callOff = startDeadline(50, { monotonicMs: () => steps.shift() ?? 2_000_000 }, () => over++);
    await sleep(75);
    callOff();
    await sleep(100);
    expect(over).toBe(0);
  });
});
