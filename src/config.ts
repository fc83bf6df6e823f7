/**
 * What an operator may set: the configuration file's shape, strict, with every default. Reading the file, its line
 * numbers and `${…}` are config-file.ts; tools, keys issued and approvals are state, not configuration.
 */
import { z } from "zod";
import { checkpointsSchema, keepSchema } from "./config-audit.ts";
import { bundleSchema, bundleSource, MANAGED, shadowSchema, SHADOWS_MAX } from "./config-bundle.ts";
import { DAY_MS, deadline, window } from "./config-duration.ts";
import { headerValues, instance, instanceName, register } from "./config-instance.ts";
import { jwtSchema } from "./config-jwt.ts";
import { redisUrl } from "./config-redis.ts";
import { routeSchema } from "./config-route.ts";
import { version } from "./config-share.ts";
import { traffic, weight } from "./config-traffic.ts";
import { COST_MAX, LIMIT_KINDS } from "./model.ts";

const address = z.string().regex(/^(\[[0-9a-f:]+\]|[\w.-]+):\d{1,5}$/i, "an address such as 127.0.0.1:8484");
const serverName = z.string().regex(/^[a-z][a-z0-9-]{0,23}$/, "a server name: [a-z][a-z0-9-]{0,23}");
const permission = z.string().regex(/^[\w.-]+:[\w.*-]+$/, "a permission such as files:read");
const auditArguments = z
  .enum(["off", "digest", "policy", "masked", "full"])
  .describe(
    "What the audit keeps of arguments. digest: a keyed one, which confirms a guess; policy: of those that policy reads, what is no secret; masked: all but secrets; full: all but what policy masks.",
  );
const auditResults = z
  .enum(["off", "digest", "masked", "full"])
  .describe("What the audit keeps of results; as of arguments.");

const tool = z.strictObject({
  permissions: z.array(permission).optional(),
  tags: z.array(z.string()).optional(),
  rateLimit: z.int().positive().optional().describe("Calls in any 60 s, per principal and tool."),
  limits: z
    .array(z.string().min(1).max(64))
    .optional()
    .describe("Names of `limits` that its calls are charged to besides those that always count."),
  cost: z
    .int()
    .min(1)
    .max(COST_MAX)
    .optional()
    .describe("What a call takes of each limit: 1, unless policy says otherwise."),
  timeout: deadline.optional(),
  idleTimeout: deadline.optional(),
  idempotent: z.boolean().optional().describe("A call may be sent again elsewhere when its fate is unknown."),
  audit: z
    .strictObject({ arguments: auditArguments.optional(), results: auditResults.optional() })
    .optional()
    .describe("Of this tool, instead of what its server says."),
});
const server = z.strictObject({
  name: serverName,
  version: version.default("1.0.0"),
  default: z.boolean().default(false),
  instances: z.array(instance).default([]),
  register: register.optional(),
  permissions: z.array(permission).optional().describe("Of each tool that names none; without it {server}:call."),
  tags: z.array(z.string()).default([]),
  timeout: deadline.default(60_000).describe("Of a call in all, its wait for a turn included."),
  idleTimeout: deadline.optional().describe("Of a call without a word of progress."),
  ...traffic,
  tools: z.record(z.string(), tool).default({}),
  audit: z
    .strictObject({ arguments: auditArguments.default("policy"), results: auditResults.optional() })
    .default({ arguments: "policy" }),
});
const principal = z.strictObject({
  id: z.string().min(1).max(128),
  kind: z.enum(["user", "agent"]).default("user"),
  roles: z.array(z.string()).default([]),
  tenant: z.string().default("default"),
});
const key = z.strictObject({
  id: z.string().regex(/^[a-z0-9]{1,32}$/, "a key id: [a-z0-9]{1,32}"),
  principal: z.string(),
  agent: z.string().optional().describe("The agent that acts for the principal with this key."),
  hash: z.string().regex(/^sha256:[0-9a-f]{64}$/, "sha256: and 64 hex digits"),
});
const limit = z.strictObject({
  name: z.string().min(1).max(64),
  always: z.boolean().default(false),
  key: z
    .array(z.enum(["principal", "tenant", "role", "tool", "server", "version", "agent"]))
    .min(1)
    .describe(
      "What counts together: each combination has a counter of its own. role: the set of all roles that somebody has, not each of them.",
    ),
  kind: z
    .enum(LIMIT_KINDS)
    .default("sliding")
    .describe(
      "sliding: in any window; fixed: in each window, for quotas; bucket: a rate with a burst; concurrent: at once, without a window.",
    ),
  limit: z.int().positive(),
  window: window.optional(),
  burst: z
    .int()
    .positive()
    .optional()
    .describe("Of a bucket: how much of it may be used at once; without it, `limit`."),
  redisDown: z.enum(["closed", "local"]).default("local"),
  localShare: z
    .number()
    .gt(0)
    .max(1)
    .default(1)
    .describe(
      "The part of the limit that each gateway grants by itself while Redis is away: 0.25 where there are four.",
    ),
});
export const withoutSecrets = z.url({ protocol: /^https?$/ }).refine((text) => {
  const { username, password, search } = new URL(text);
  return username + password + search === "";
}, "a URL without user, password and query: what may be a secret stands in the file");
/** A sidecar's key and all that is in force would be anybody's to read on the way. */
export const controlUrl = z
  .url({ protocol: /^https?$/ })
  .refine(
    (text) => text.startsWith("https:") || isLoopback(new URL(text).hostname),
    "an https URL, or http to loopback",
  );
/** A server version as the admin API may add one: over HTTP, without a secret, to no address that the file does not allow. */
const registered = server.omit({ instances: true, register: true, tools: true }).extend({
  instances: z
    .array(z.strictObject({ http: z.strictObject({ url: withoutSecrets }), weight, name: instanceName.optional() }))
    .min(1),
});
/** What may stand in these sections where it comes by the admin API. Durations as in the file. */
export const entrySchemas = {
  principals: principal,
  roles: z.array(permission),
  limits: limit,
  servers: registered,
  routes: routeSchema,
  // what is kept of the secrets of others, the file says alone
  tools: tool.omit({ audit: true }),
  policies: bundleSchema,
  drains: z.literal(true),
} as const;
export type Registered = z.output<typeof registered>;
const listener = z.strictObject({ cert: z.string(), key: z.string(), clientCa: z.string().optional() });

export const configSchema = z.strictObject({
  listen: address.default("127.0.0.1:8484"),
  admin: address.default("127.0.0.1:8485"),
  extAuthz: z
    .union([
      z.literal("off"),
      z.strictObject({
        http: z.boolean().default(false).describe("At /ext_authz/{server}[@{version}] of the traffic listener."),
        grpc: z
          .union([z.literal("off"), address])
          .default("off")
          .describe("An address such as 127.0.0.1:9191."),
      }),
    ])
    .default("off")
    .describe("Envoy's external authorization."),
  tls: listener.optional(),
  hosts: z
    .array(z.string())
    .default([])
    .describe("Further Host names that the listeners answer to, besides their own and loopback."),
  origins: z.array(z.string()).default([]).describe("Further Origins that browsers may send, besides loopback."),
  demo: z.boolean().default(false).describe("On the first start, issue one key per principal and print it."),
  drain: deadline.default(10_000),
  disclosure: z.enum(["open", "hidden"]).default("open"),
  refusals: z.enum(["result", "error"]).default("result"),
  data: z.string().default("./data"),
  store: z
    .union([z.literal("sqlite"), redisUrl])
    .default("sqlite")
    .describe(
      "Where changes are kept: here, or in the Redis of this URL (`redis://`, or `redis+cluster://` of any node of a Redis Cluster), for all gateways that name it.",
    ),
  redis: redisUrl
    .optional()
    .describe(
      "Shares the limits between gateways; a Redis as `store` does too. Of a Redis Cluster: `redis+cluster://` of any node.",
    ),
  policies: z
    .union([z.literal(MANAGED), z.string()])
    .default("./policies")
    .describe(
      "A folder; a bundle as `opa build` makes it, by its file (.tar.gz) or https URL; or `managed`: what `portcullis policy apply` put there, and until then what ships with the product.",
    ),
  bundle: bundleSource
    .default({ algorithm: "RS256", scope: "", headers: {}, allowPrivate: false, poll: 60_000 })
    .describe("Where `policies` is a .tar.gz as `opa build` makes it: whose it must be, and how it is fetched."),
  shadow: z
    .array(shadowSchema)
    .max(SHADOWS_MAX)
    .default([])
    .describe("Folders that decide each call beside the enforced policy: recorded and counted, never enforced."),
  roles: z.record(z.string(), entrySchemas.roles).default({}),
  principals: z.array(principal).default([]),
  servers: z.array(server).default([]),
  routes: z
    .record(serverName, routeSchema)
    .default({})
    .describe("By server: which of its versions answers whom, where the caller names none."),
  auth: z
    .strictObject({
      keys: z.array(key).default([]),
      jwt: z.array(jwtSchema).max(16).default([]),
      anonymous: z
        .union([z.literal("off"), z.strictObject({ principal: z.string(), paths: z.array(z.string()).min(1) })])
        .default("off"),
      addressLimit: z
        .strictObject({ failures: z.int().positive().default(60), window: window.default(60_000) })
        .default({ failures: 60, window: 60_000 })
        .describe("Failed authentications per address, before the rest are refused unrecorded and counted."),
    })
    .default({ keys: [], jwt: [], anonymous: "off", addressLimit: { failures: 60, window: 60_000 } }),
  limits: z.array(limit).default([]),
  audit: z
    .strictObject({
      flush: z.enum(["write", "fsync"]).default("write"),
      ack: z
        .enum(["file", "redis"])
        .default("file")
        .describe("What must have a record before anyone is answered: the file, or a stream in Redis as well."),
      writer: z
        .string()
        .regex(/^[a-z0-9][a-z0-9.-]{0,62}$/, "a writer's name: [a-z0-9][a-z0-9.-]{0,62}")
        .optional()
        .describe(
          "With `ack: redis`, the name under which the records are gathered; a sidecar's default is the id of its key.",
        ),
      export: z
        .array(
          z.strictObject({
            otlp: z.url({ protocol: /^https?$/ }),
            protocol: z.enum(["http/protobuf", "grpc"]).default("http/protobuf"),
            headers: headerValues.default({}),
            sample: z
              .number()
              .gt(0)
              .max(1)
              .default(1)
              .describe("Share of the traces that it gets, by trace id; what failed or was refused, always."),
          }),
        )
        .default([]),
      checkpoints: checkpointsSchema,
      keep: keepSchema,
    })
    .default({
      flush: "write",
      ack: "file",
      export: [],
      checkpoints: { every: 1_000, interval: 10_000, to: [] },
    }),
  control: z
    .strictObject({
      url: controlUrl.optional().describe("The admin listener of the control plane."),
      keyFile: z.string().optional().describe("As `keys issue --sidecar` printed it: the key, and what to pin."),
      ca: z.string().optional().describe("PEM file of the authority behind the control plane's certificate."),
      maxStaleness: deadline
        .refine((ms) => ms >= 3000, "at least 3s: the control plane gives a sign of life each second")
        .default(DAY_MS)
        .describe("Without a word of the control plane, or of a shared store, for so long, every call is refused."),
    })
    .default({ maxStaleness: DAY_MS })
    .describe("For `portcullis sidecar`: whose snapshots it follows."),
  metrics: z
    .strictObject({
      otlp: z
        .url({ protocol: /^https?$/ })
        .optional()
        .describe("A collector's address, for OTLP over HTTP."),
      headers: headerValues.default({}),
      interval: deadline.refine((ms) => ms >= 1000, "at least 1s").default(60_000),
    })
    .default({ headers: {}, interval: 60_000 })
    .describe("Where the numbers of /metrics are sent to as well."),
  overload: z
    .strictObject({
      inFlight: z
        .int()
        .positive()
        .default(2_000)
        .describe("Calls and lists at once; tenants under their share pass it."),
      delay: deadline.default(1_000).describe("An event loop that is later than this sheds who asks for most."),
    })
    .default({ inFlight: 2_000, delay: 1_000 })
    .describe("Beyond this, calls and lists are refused as `overloaded`, before any work, by share of tenants."),
  maxBody: z
    .int()
    .min(1024)
    .max(64 * 1024 * 1024)
    .default(4 * 1024 * 1024)
    .describe("Bytes of one request body."),
  maxResult: z
    .int()
    .min(1024)
    .max(256 * 1024 * 1024)
    .default(16 * 1024 * 1024)
    .describe("Bytes of one upstream answer."),
});

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host);
}

/** Complete: every default filled in, every duration in milliseconds, paths as written. */
export type Config = z.output<typeof configSchema>;
/** Which Redis holds what gateways share; undefined where there is none. */
export function sharedRedis({ redis, store }: Config): string | undefined {
  return redis ?? (store === "sqlite" ? undefined : store);
}
export type ServerConfig = Config["servers"][number];

/** Where in the file: keys and indices from the root. */
export type Path = readonly (string | number)[];
/** What is wrong there. The message quotes no value, which may be a secret. */
export type Problem = { readonly path: Path; readonly message: string };
