/** The way to a part over TCP: slow, so that what was sent arrives after its sender has gone, or shut. */
import { createConnection, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { onTestFinished } from "vitest";

export type Way = {
  readonly url: string;
  /** How long what is sent from now on is on its way. */
  readonly delay: (ms: number) => void;
  /** Ends all connections and takes none, until `open`. */
  readonly shut: () => void;
  readonly open: () => void;
};

export async function wayTo(url: string): Promise<Way> {
  const { protocol, hostname, port } = new URL(url);
  const state = { delayMs: 0, shut: false };
  const near = new Set<Socket>();
  const server = createServer((socket) => {
    if (state.shut) return void socket.destroy();
    const far = createConnection(Number(port), hostname);
    near.add(socket);
    onTestFinished(() => void far.destroy());
    socket.on("error", () => {}).on("data", (bytes) => void setTimeout(() => far.write(bytes), state.delayMs));
    far.on("error", () => {}).on("data", (bytes) => socket.writable && socket.write(bytes));
    far.on("close", () => socket.destroy());
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const shut = (): void => {
    state.shut = true;
    for (const socket of near) socket.destroy();
    near.clear();
  };
  onTestFinished(() => {
    shut();
    server.close();
  });
  return {
    url: `${protocol}//127.0.0.1:${(server.address() as AddressInfo).port}`,
    delay: (ms) => void (state.delayMs = ms),
    shut,
    open: () => void (state.shut = false),
  };
}
