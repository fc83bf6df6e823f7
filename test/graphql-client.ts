/** A gateway with two servers for the GraphQL tests, and a caller of its graph over a real socket. */
import { readFileSync } from "node:fs";
import { createEngine } from "../src/doors/graphql/engine.ts";
import type { Executed } from "../src/doors/graphql/engine.ts";
import { createGraph } from "../src/doors/graphql/graph.ts";
import type { Graph } from "../src/doors/graphql/graph.ts";
import type { Gateway } from "../src/gateway.ts";
import { identify } from "../src/view.ts";
import { startUpstream } from "./graphql-upstream.ts";
import type { Body } from "./support/ask.ts";
import { discovered, KEYS, startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

const engine = createEngine(readFileSync(new URL("../schema/gateway.graphql", import.meta.url), "utf8"));

export type Told = {
  readonly status: number;
  readonly headers: Headers;
  readonly data: Body;
  readonly errors: readonly {
    readonly message: string;
    readonly path?: readonly unknown[];
    readonly extensions: { readonly [name: string]: unknown };
  }[];
  readonly extensions?: unknown;
};
export type Stand = {
  readonly gateway: TestGateway;
  readonly upstream: Fixture;
  readonly ask: (
    query: string,
    variables?: object,
    options?: { readonly as?: keyof typeof KEYS; readonly signal?: AbortSignal },
  ) => Promise<Told>;
  readonly close: () => Promise<void>;
};

/** `docs` in two versions, of which one tool is limited to three calls; and `vault`, which nobody may see. */
export function serversOf(url: string): { readonly servers: readonly object[] } {
  const docs = {
    name: "docs",
    instances: [{ http: { url, allowPrivate: true } }],
    permissions: ["files:read"],
    tags: ["disk"],
  };
  const tools = { write_file: { permissions: ["files:write"], tags: ["danger"] }, listFolder: { rateLimit: 3 } };
  return {
    servers: [
      { ...docs, version: "1.0.0", default: true, tools },
      { ...docs, version: "2.0.0", tools },
      { ...docs, name: "vault", version: "1.0.0", permissions: ["vault:open"] },
    ],
  };
}

export async function startStand(): Promise<Stand> {
  const upstream = await startUpstream();
  const gateway = await startGateway(serversOf(upstream.url));
  await discovered(gateway, "docs");
  await discovered(gateway, "vault");
  const ask: Stand["ask"] = async (query, variables, { as = "alice", signal } = {}) => {
    const response = await fetch(`${gateway.url}/graphql`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "application/graphql-response+json",
        "x-api-key": KEYS[as],
      },
      body: JSON.stringify({ query, variables }),
      ...(signal === undefined ? {} : { signal }),
    });
    const { data, errors = [], extensions } = (await response.json()) as Partial<Told>;
    return { status: response.status, headers: response.headers, data, errors, extensions };
  };
  const close = async (): Promise<void> => {
    await gateway.close();
    await upstream.close();
  };
  return { gateway, upstream, ask, close };
}

/** One operation on the engine itself, over a graph that is alice's but for what is replaced. */
export async function execute(gateway: Gateway, query: string, replaced: Partial<Graph> = {}): Promise<Executed> {
  const asked = {
    interface: "graphql",
    protocol: "",
    path: "/graphql",
    ip: "127.0.0.1",
    credential: { kind: "secret", value: KEYS.alice },
    traceparent: null,
    tracestate: null,
    signal: new AbortController().signal,
  } as const;
  const who = await identify(gateway, asked);
  if (!who.ok) throw who.refusal;
  return engine({
    graph: { ...createGraph(gateway, asked, who.value), ...replaced },
    parameters: { query },
    accepted: { json: "application/json", stream: false },
    method: "POST",
  });
}
