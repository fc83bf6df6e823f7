/**
 * Where does a server version run? Instances that the file names, and those that may register themselves. What
 * surprises: a `*` in an origin is one label of the host, and numbers with `*` are addresses and never names: `10.2.*.*`
 * is not the host 10.2.evil.example.
 */
import { isIP } from "node:net";
import { z } from "zod";
import { deadline } from "./config-duration.ts";
import { weight } from "./config-traffic.ts";

const headerValue = z.string().regex(/^[\t\x20-\x7e\x80-\xff]*$/, "a header value on one line");
/** By header name. */
export const headerValues = z.record(z.string().regex(/^[\w!#$%&'*+.^`|~-]+$/, "a header name"), headerValue);
export const instanceName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/, "an instance's name: [a-z0-9.-], at most 63 characters");

const stdio = z.strictObject({
  command: z.string().min(1),
  args: z.array(z.string()).default([]),
  env: z.record(z.string(), z.string()).default({}),
  cwd: z.string().optional(),
});
const http = z.strictObject({
  url: z.url({ protocol: /^https?$/ }),
  headers: headerValues.default({}),
  allowPrivate: z.boolean().default(false),
  resolve: deadline
    .refine((ms) => ms >= 1000, "at least 1s")
    .optional()
    .describe("How often the host's name is asked for its addresses: each is an instance of its own."),
});
const name = instanceName
  .optional()
  .describe("How it is called in what operators see and say; without it by its host, or its command.");
export const instance = z.union([z.strictObject({ stdio, weight, name }), z.strictObject({ http, weight, name })]);

/** Not what a slip would make of a whole top-level domain, or of the internet. */
const origin = z
  .string()
  .regex(
    /^https?:\/\/(\[[0-9a-f:]+\]|(\*|[a-z0-9-]+)(\.(\*|[a-z0-9-]+))*)(:\d{1,5})?$/,
    "an origin such as https://*.files.internal:8443, in which * stands for one label of the host",
  )
  .refine((text) => hostOf(text).some((label) => label !== "*"), "an origin with a label that is no *");

export const register = z
  .strictObject({
    origins: z.array(origin).min(1).max(64),
    ttl: deadline
      .refine((ms) => ms >= 1000 && ms <= 300_000, "from 1s to 5m")
      .default(15_000)
      .describe("Without a heartbeat for so long, an instance is forgotten."),
    headers: headerValues.default({}).describe("Sent to those that registered, as `headers` are to those of the file."),
    allowPrivate: z.boolean().default(false),
  })
  .describe("Instances over HTTP may register themselves, at these origins.");
export type Register = z.output<typeof register>;
/** One that registered itself, as it is kept and told. */
export type Registration = {
  readonly server: string;
  readonly version: string;
  readonly instance: string;
  /** Without user, password, query and fragment. */
  readonly url: string;
  readonly weight: number;
  readonly ttlMs: number;
};

/** Whether an instance at this URL may register. */
export function allowsOrigin({ origins }: Pick<Register, "origins">, url: string): boolean {
  return origins.some((one) => isOrigin(one, new URL(url)));
}

function isOrigin(pattern: string, { protocol, hostname, port }: URL): boolean {
  const [, scheme = "", wantedPort = ""] = /^(https?:)\/\/.*?(?::(\d+))?$/.exec(pattern) ?? [];
  const standard = protocol === "https:" ? "443" : "80";
  if (scheme !== protocol || (wantedPort || standard) !== (port || standard)) return false;
  const wanted = hostOf(pattern);
  const host = hostname.startsWith("[") ? [hostname] : hostname.split(".");
  const numeric = wanted.every((label) => label === "*" || /^\d+$/.test(label));
  if (numeric !== (isIP(hostname) === 4)) return false;
  return wanted.length === host.length && wanted.every((label, at) => label === "*" || label === host[at]);
}

/** The labels of the host; of an IPv6 address the whole. */
function hostOf(text: string): readonly string[] {
  const bare = text.replace(/^https?:\/\//, "");
  const [address] = /^\[[^\]]*\]/.exec(bare) ?? [];
  return address === undefined ? bare.replace(/:\d+$/, "").split(".") : [address];
}

type Place = { readonly name?: string | undefined } & (
  | { readonly stdio: { readonly command: string } | true }
  | { readonly http: { readonly url: string } }
);

/**
 * What each is called, in their order, stable while others come and go; only of those alike, the later ones have a
 * number.
 */
export function namesOf(instances: readonly Place[]): readonly string[] {
  const seen = new Map<string, number>();
  return instances.map((one) => {
    const base = one.name ?? placeOf(one);
    const number = (seen.get(base) ?? 0) + 1;
    seen.set(base, number);
    return number === 1 ? base : `${base}~${number}`;
  });
}

/** Neither of them holds a secret. */
function placeOf(one: Place): string {
  if ("http" in one) return new URL(one.http.url).host;
  return one.stdio === true ? "stdio" : (one.stdio.command.split(/[\\/]/).at(-1) ?? "stdio");
}
