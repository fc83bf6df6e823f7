/** Which doors stand at which listener? Traffic is one; administration is another, and a socket that only the owner may open. */
import { join } from "node:path";
import type { Config } from "./config.ts";
import type { Exchange, Route } from "./doors/exchange.ts";
import { extAuthzRoutes } from "./doors/ext-authz/http.ts";
import { graphqlRoutes } from "./doors/graphql/door.ts";
import { listen } from "./doors/http.ts";
import type { Listener, ListenerOptions } from "./doors/http.ts";
import { mcpRoutes } from "./doors/mcp/door.ts";
import { metadataRoutes } from "./doors/metadata.ts";
import { metricsRoutes } from "./doors/metrics.ts";
import { otlpRoutes } from "./doors/otlp.ts";
import { malformedProblem } from "./doors/render.ts";
import { restRoutes } from "./doors/rest.ts";
import { trpcRoutes } from "./doors/trpc/door.ts";
import type { Gateway } from "./gateway.ts";
import type { Role } from "./operate.ts";
import type { Keyring } from "./snapshot/keyring.ts";

export type Doors = {
  readonly addresses: {
    readonly traffic: string;
    readonly admin: string;
    readonly socket: string;
    /** Null where it is off. */
    readonly grpc: string | null;
  };
  readonly close: (drainMs: number) => Promise<void>;
};
type Options = {
  readonly config: Config;
  /** Absolute path of the data folder. */
  readonly data: string;
  readonly keyring: Keyring;
  readonly ready: () => boolean;
  readonly production: boolean;
  readonly role: Role;
};

export async function openDoors(gateway: Gateway, options: Options): Promise<Doors> {
  const { config, keyring, role } = options;
  const state = { draining: false };
  // a control plane answers questions and takes changes; it carries no calls
  const calls = role !== "control";
  const { http, grpc } = calls && config.extAuthz !== "off" ? config.extAuthz : NO_CHECKS;
  const calling = calls ? [...mcpRoutes({ sessionKeys: keyring.session }), ...restRoutes] : [];
  const traffic: readonly Route[] = [
    ...calling,
    ...graphqlRoutes({ graphiql: !options.production, calls }),
    ...metadataRoutes,
    ...(http ? extAuthzRoutes : []),
    health("/livez", () => true),
    health("/readyz", () => options.ready() && !state.draining),
  ];
  const admin = [...trpcRoutes, ...otlpRoutes, ...metricsRoutes];
  const socket = join(options.data, "admin.sock");
  const shared = await sharedOptions(gateway, config);
  const opened: Listener[] = [];
  try {
    opened.push(
      await listen(gateway, { ...shared, name: "traffic", address: parseAddress(config.listen), routes: traffic }),
    );
    opened.push(
      await listen(gateway, { ...shared, name: "admin", address: parseAddress(config.admin), routes: admin }),
    );
    // a file that only its owner opens needs no certificate, and the commands bring none
    const { tls: _, ...bare } = shared;
    opened.push(await listen(gateway, { ...bare, name: "socket", address: { socket }, routes: admin }));
    if (grpc !== "off") opened.push(await openGrpc(gateway, grpc, shared));
  } catch (cause) {
    await Promise.all(opened.map((listener) => listener.close(0)));
    throw cause;
  }
  const [first, second, , fourth] = opened;
  return {
    addresses: { traffic: first?.address ?? "", admin: second?.address ?? "", socket, grpc: fourth?.address ?? null },
    close: async (drainMs) => {
      state.draining = true;
      await Promise.all(opened.map((listener) => listener.close(drainMs)));
    },
  };
}

/** Loaded only where it is used: gRPC costs start-up time and memory. */
async function openGrpc(gateway: Gateway, address: string, shared: Shared): Promise<Listener> {
  const { listenGrpc } = await import("./doors/grpc.ts");
  return listenGrpc(gateway, { ...shared, address: parseAddress(address) });
}

const NO_CHECKS = { http: false, grpc: "off" } as const;

function health(prefix: string, well: () => boolean): Route {
  const door = async (_: Gateway, exchange: Exchange): Promise<void> => {
    const ok = well();
    exchange.reply(ok ? 200 : 503, { "content-type": "text/plain" }, ok ? "ok\n" : "not ready\n");
  };
  return { prefix, methods: ["GET", "HEAD"], door, malformed: malformedProblem("rest") };
}

type Shared = Omit<ListenerOptions, "name" | "address" | "routes">;

async function sharedOptions(gateway: Gateway, config: Config): Promise<Shared> {
  const own = [config.listen, config.admin].map((address) => address.replace(/:\d+$/, "").toLowerCase());
  const shared = {
    hosts: [...own, ...config.hosts.map((host) => host.toLowerCase())],
    origins: config.origins,
    bodyBytesMax: config.maxBody,
  };
  if (config.tls === undefined) return shared;
  const { disk } = gateway.ports;
  const [cert, key, ca] = await Promise.all(
    [config.tls.cert, config.tls.key, config.tls.clientCa].map(async (file) =>
      file === undefined ? undefined : await disk.readFile(file, "utf8"),
    ),
  );
  return { ...shared, tls: { cert: cert ?? "", key: key ?? "", ...(ca === undefined ? {} : { ca }) } };
}

export function parseAddress(text: string): { readonly host: string; readonly port: number } {
  const at = text.lastIndexOf(":");
  return { host: text.slice(0, at).replaceAll(/[[\]]/g, ""), port: Number(text.slice(at + 1)) };
}
