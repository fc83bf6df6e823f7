/**
 * The only file that knows gRPC: one service with one method, for Envoy. Messages, connections, streams of one and its time
 * are bounded; what is not this method is UNIMPLEMENTED. What surprises: a message is decoded here and not by the
 * library, which would answer one that it cannot decode before anybody had written it down. (What it refuses before that,
 * a message too large or not to be unpacked, it answers itself, and no record tells.)
 */
import { Server as Listening } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { logVerbosity, Server, ServerCredentials, setLogVerbosity, status } from "@grpc/grpc-js";
import type { MethodDefinition, sendUnaryData, ServerUnaryCall } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { Gateway } from "../gateway.ts";
import { checkOverGrpc } from "./ext-authz/grpc.ts";
import type { GrpcOptions } from "./ext-authz/grpc.ts";
import type { CheckRequest, CheckResponse } from "./ext-authz/proto.ts";
import type { Listener, ListenerOptions } from "./http.ts";
import { turn } from "./turn.ts";

export type GrpcListenerOptions = GrpcOptions & {
  readonly address: { readonly host: string; readonly port: number };
  readonly tls?: ListenerOptions["tls"];
};

/** Besides the body: headers and what filters found. */
const ATTRIBUTES_BYTES_MAX = 256 * 1024;
/** Whoever may connect is on this machine, or has a certificate of ours; an Envoy has one for each of its threads. */
const CONNECTIONS_MAX = 512;
/** Of one connection. */
const STREAMS_MAX = 128;
/** A connection that asks nothing ends, and one that never finishes what it began ends too. */
const IDLE_MS = 300_000;
const AGE_MS = 600_000;
const GRACE_MS = 30_000;
const KEEPALIVE_MS = 60_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;

/** @throws Error with code EADDRINUSE */
export async function listenGrpc(gateway: Gateway, options: GrpcListenerOptions): Promise<Listener> {
  // the library's own log would go past ours
  setLogVerbosity(logVerbosity.NONE);
  const method = checkMethod();
  const server = new Server({
    "grpc.max_receive_message_length": options.bodyBytesMax + ATTRIBUTES_BYTES_MAX,
    "grpc.max_concurrent_streams": STREAMS_MAX,
    "grpc.max_connection_idle_ms": IDLE_MS,
    "grpc.max_connection_age_ms": AGE_MS,
    "grpc.max_connection_age_grace_ms": GRACE_MS,
    "grpc.keepalive_time_ms": KEEPALIVE_MS,
    "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
  });
  server.addService(
    { Check: { ...method, requestDeserialize: (bytes: Buffer) => bytes } },
    { Check: handler(gateway, options, method) },
  );
  const door = doorOf(server, credentialsOf(options.tls));
  const { host } = options.address;
  const port = await bind(door.listener, options.address);
  return {
    address: `${host.includes(":") ? `[${host}]` : host}:${port}`,
    close: (drainMs) => close(server, door, drainMs),
  };
}

type Method = MethodDefinition<CheckRequest, CheckResponse>;
type Call = ServerUnaryCall<Buffer, CheckResponse>;

function handler(gateway: Gateway, options: GrpcOptions, method: Method) {
  return (call: Call, answer: sendUnaryData<CheckResponse>): void => {
    const gone = new AbortController();
    let ended = false;
    // the library says so of every call when it ends, and an abort costs as much as the policy
    call.once("cancelled", () => ended || gone.abort());
    const respond = async (): Promise<CheckResponse> => {
      await turn();
      const request = decode(method, call.request);
      return checkOverGrpc(gateway, options, { request, peer: () => hostOf(call.getPeer()), signal: gone.signal });
    };
    const end = (...said: Parameters<typeof answer>): void => {
      ended = true;
      answer(...said);
    };
    respond().then(
      (response) => end(null, response),
      (cause: unknown) => {
        gateway.ports.log.error({ err: cause }, "a door failed");
        end({ code: status.INTERNAL, details: "The gateway failed." });
      },
    );
  };
}

function checkMethod(): Method {
  const file = fileURLToPath(new URL("../../schema/ext_authz.proto", import.meta.url));
  const service = loadSync(file, { keepCase: true, longs: Number })["envoy.service.auth.v3.Authorization"];
  return (service as unknown as { readonly Check: Method }).Check;
}

function decode({ requestDeserialize }: Method, bytes: Buffer): CheckRequest | null {
  try {
    return requestDeserialize(bytes);
  } catch {
    return null;
  }
}

/** `127.0.0.1:50123` or `[::1]:50123` without its port. */
function hostOf(peer: string): string {
  return peer
    .replace(/:\d+$/, "")
    .replaceAll(/^\[|\]$/g, "")
    .replace(/^::ffff:/, "");
}

function credentialsOf(tls: GrpcListenerOptions["tls"]): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure();
  const pair = { cert_chain: Buffer.from(tls.cert), private_key: Buffer.from(tls.key) };
  return ServerCredentials.createSsl(tls.ca === undefined ? null : Buffer.from(tls.ca), [pair], tls.ca !== undefined);
}

type Door = { readonly listener: Listening; readonly sockets: ReadonlySet<Socket> };

/** The library listens by itself too, but to any number of connections. */
function doorOf(server: Server, credentials: ServerCredentials): Door {
  const injector = server.createConnectionInjector(credentials);
  const sockets = new Set<Socket>();
  const listener = new Listening((socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    injector.injectConnection(socket);
  });
  listener.maxConnections = CONNECTIONS_MAX;
  return { listener, sockets };
}

function bind(listener: Listening, { host, port }: GrpcListenerOptions["address"]): Promise<number> {
  return new Promise((resolve, reject) => {
    listener.once("error", reject);
    listener.listen(port, host, () => {
      listener.off("error", reject);
      resolve((listener.address() as AddressInfo).port);
    });
  });
}

async function close(server: Server, { listener, sockets }: Door, drainMs: number): Promise<void> {
  listener.close();
  await new Promise<void>((resolve) => {
    const cut = setTimeout(() => server.forceShutdown(), drainMs);
    server.tryShutdown(() => {
      clearTimeout(cut);
      resolve();
    });
  });
  // those that have not got as far as a session
  for (const socket of sockets) socket.destroy();
}
