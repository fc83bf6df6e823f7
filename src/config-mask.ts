/**
 * What may be shown of the configuration? Everything but secrets; and by an API neither what a stdio server runs.
 * Durations are written as in the file. What surprises: every environment value, header and command argument counts as
 * a secret, since nobody can tell which of them is one.
 */
import { isRemote } from "./config-bundle.ts";
import type { Config } from "./config.ts";
import type { Json, JsonObject } from "./model.ts";

export const MASK = "***";
const DURATIONS = new Set([
  "drain",
  "timeout",
  "idleTimeout",
  "baseEjectionTime",
  "maxEjectionTime",
  "probe",
  "resolve",
  "ttl",
  "window",
  "clockTolerance",
  "maxStaleness",
  "interval",
  "age",
  "delay",
  "poll",
]);
const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1000],
] as const;

/**
 * The effective configuration, secrets replaced by `***`. `commands`: whether the reader may see what stdio servers
 * run: yes for who reads the file himself, no for whoever asks an API.
 */
export function maskedConfig(config: Config, commands: "shown" | "hidden" = "hidden"): JsonObject {
  const servers = config.servers.map(({ register, ...server }) => ({
    ...server,
    ...(register === undefined ? {} : { register: { ...register, headers: maskedValues(register.headers) } }),
    instances: server.instances.map((instance) =>
      "stdio" in instance
        ? { ...instance, stdio: maskedStdio(instance.stdio, commands) }
        : {
            ...instance,
            http: { ...instance.http, url: maskedUrl(instance.http.url), headers: maskedValues(instance.http.headers) },
          },
    ),
  }));
  const exporters = config.audit.export.map((target) => ({
    ...target,
    otlp: maskedUrl(target.otlp),
    headers: maskedValues(target.headers),
  }));
  return readable({
    ...config,
    ...(config.redis === undefined ? {} : { redis: maskedUrl(config.redis) }),
    ...(config.store === "sqlite" ? {} : { store: maskedUrl(config.store) }),
    policies: isRemote(config) ? maskedUrl(config.policies) : config.policies,
    bundle: { ...config.bundle, headers: maskedValues(config.bundle.headers) },
    servers,
    audit: {
      ...config.audit,
      export: exporters,
      checkpoints: { ...config.audit.checkpoints, to: config.audit.checkpoints.to.map(maskedSink) },
    },
    metrics: maskedMetrics(config.metrics),
    auth: {
      ...config.auth,
      keys: config.auth.keys.map((key) => ({ ...key, hash: MASK })),
      jwt: config.auth.jwt.map((one) => ({ ...one, ...(one.jwks === undefined ? {} : { jwks: maskedUrl(one.jwks) }) })),
    },
  }) as JsonObject;
}

function maskedMetrics({ otlp, headers, ...metrics }: Config["metrics"]): object {
  return { ...metrics, ...(otlp === undefined ? {} : { otlp: maskedUrl(otlp) }), headers: maskedValues(headers) };
}

function maskedSink(sink: Config["audit"]["checkpoints"]["to"][number]): object {
  if ("file" in sink) return sink;
  if ("redis" in sink) return { redis: maskedUrl(sink.redis) };
  const headers = maskedValues(sink.headers);
  return "http" in sink ? { http: maskedUrl(sink.http), headers } : { otlp: maskedUrl(sink.otlp), headers };
}

type Stdio = Extract<Config["servers"][number]["instances"][number], { stdio: unknown }>["stdio"];

function maskedStdio(stdio: Stdio, commands: "shown" | "hidden"): object {
  if (commands === "hidden") return { command: MASK };
  return { ...stdio, args: stdio.args.map(maskedArgument), env: maskedValues(stdio.env) };
}

/** Of `--token=x`, `--api-key x` and `postgres://user:pass@host`, what is not the secret. */
function maskedArgument(argument: string, index: number, all: readonly string[]): string {
  const secret = /^-{1,2}[\w-]*(token|secret|key|password|passwd|auth|credential)[\w-]*/i;
  if (secret.test(all[index - 1] ?? "") && !(all[index - 1] ?? "").includes("=") && !argument.startsWith("-"))
    return MASK;
  if (secret.test(argument) && argument.includes("=")) return `${argument.slice(0, argument.indexOf("="))}=${MASK}`;
  return maskedUrl(argument);
}

/** A URL keeps scheme, host and path; user, password and query values may be credentials. */
export function maskedUrl(text: string): string {
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return text;
  // such as one of several hosts: wherever its parts end, these are no secret
  if (!URL.canParse(text)) return text.replace(/\/\/.*@/s, `//${MASK}@`).replace(/([?#]).*/s, `$1${MASK}`);
  const url = new URL(text);
  if (url.username === "" && url.password === "" && url.search === "" && url.hash === "") return text;
  if (url.username !== "") url.username = MASK;
  if (url.password !== "") url.password = MASK;
  for (const name of new Set(url.searchParams.keys())) url.searchParams.set(name, MASK);
  if (url.hash !== "") url.hash = MASK;
  return url.href;
}

function maskedValues(values: { readonly [name: string]: string }): { [name: string]: string } {
  return Object.fromEntries(Object.keys(values).map((name) => [name, MASK]));
}

/** As the file would say it: durations as text. */
export function readable(value: unknown, key = ""): Json {
  if (Array.isArray(value)) return value.map((item) => readable(item));
  if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined);
    return Object.fromEntries(entries.map(([name, item]) => [name, readable(item, name)]));
  }
  if (typeof value === "number" && DURATIONS.has(key)) return duration(value);
  return value as Json;
}

function duration(ms: number): string {
  const [unit, size] = UNITS.find(([, length]) => ms >= length && ms % length === 0) ?? ["ms", 1];
  return `${ms / size}${unit}`;
}
