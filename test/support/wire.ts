/** A wire between a client and a server on this machine, that can grow long, or be cut without a word. */
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";

export type Wire = {
  readonly port: number;
  /** How long each byte is under way, in each direction; `Infinity`: until that ends. */
  readonly delay: (ms: number) => void;
  /** What is connected now hears nothing more, for ever; whoever connects anew does. */
  readonly forget: () => void;
  readonly close: () => Promise<void>;
};

export async function startWire(target: number): Promise<Wire> {
  let delayMs = 0;
  let age = 0;
  let mended = Promise.withResolvers<void>();
  const sockets = new Set<Socket>();
  const carry = (from: Socket, to: Socket): void => {
    // in order, whatever the length of the wire becomes
    let last = Promise.resolve();
    const born = age;
    from.on("data", (bytes) => {
      const ms = delayMs;
      const arrived = ms === Infinity ? mended.promise : new Promise((next) => setTimeout(next, ms));
      last = last.then(() => arrived).then(() => void (born === age && to.write(bytes)));
    });
    from.on("error", () => {}).on("close", () => to.destroy());
    sockets.add(from);
  };
  const server = createServer((near) => {
    const far = connect(target, "127.0.0.1");
    carry(near, far);
    carry(far, near);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    port: (server.address() as AddressInfo).port,
    delay: (ms) => {
      delayMs = ms;
      mended.resolve();
      mended = Promise.withResolvers();
    },
    forget: () => void age++,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((closed) => server.close(closed));
    },
  };
}
