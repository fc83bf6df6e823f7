/** What may a bundle of policies be that comes by the admin API? As a folder would hold it, and no larger than 1 MiB. */
import { z } from "zod";
import { deadline } from "./config-duration.ts";
import { isObject } from "./json.ts";
import type { Json, JsonObject } from "./model.ts";

/** Instead of a folder: the enforced bundle comes from the changes. A folder of that name is `./managed`. */
export const MANAGED = "managed";
/** The bundle that is enforced. */
export const ENFORCED = "main";

/** Bundles in shadow at once: each costs every call its time. */
export const SHADOWS_MAX = 4;
/** Loop iterations of one evaluation in shadow: an order above what policies take, some milliseconds at most. */
export const SHADOW_STEPS = 100_000;

export const shadowName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,23}$/, "a bundle's name: [a-z][a-z0-9-]{0,23}")
  .refine((name) => name !== ENFORCED, `not ${ENFORCED}: that is the bundle that is enforced`);
/** A folder that is judged by and not enforced. */
export const shadowSchema = z.strictObject({
  name: shadowName,
  policies: z.string().min(1),
  steps: z.int().min(1_000).max(1_000_000).default(SHADOW_STEPS).describe("What one decision in shadow may take."),
});

/** Whether the policy is somebody's to send. */
export function isRemote({ policies }: { readonly policies: string }): boolean {
  return /^https?:\/\//.test(policies);
}

const ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"] as const;
/** How a bundle that is one file is fetched, and whose it must be. */
export const bundleSource = z.strictObject({
  publicKey: z.string().min(1).optional().describe("PEM file of the key that signed it; without one it is not signed."),
  algorithm: z.enum(ALGORITHMS).default("RS256"),
  scope: z.string().default(""),
  headers: z.record(z.string(), z.string()).default({}).describe("Of each request, such as a bearer token."),
  allowPrivate: z.boolean().default(false).describe("It may be at a private or loopback address."),
  poll: deadline
    .default(60_000)
    .describe("How often it is asked for; a server that holds the request is asked at once."),
});

const BYTES_MAX = 1024 * 1024;
const PATH_CHARACTERS_MAX = 256;
const DEPTH_MAX = 16;
const TEST = /_test\.rego$/;

export const bundleSchema = z
  .strictObject({
    modules: filesSchema((path) => !TEST.test(path), "rules/files.rego").refine(
      (files) => Object.keys(files).length > 0,
      "at least one file",
    ),
    tests: filesSchema((path) => TEST.test(path), "rules/files_test.rego").default({}),
    data: z.custom<JsonObject>((value) => isObject(value as Json), "expected an object").default({}),
  })
  .refine((value) => Buffer.byteLength(JSON.stringify(value)) <= BYTES_MAX, "larger than 1 MiB, written as JSON");

function filesSchema(suits: (path: string) => boolean, example: string) {
  return z.record(z.string(), z.string()).superRefine((files, context) => {
    for (const path of Object.keys(files).filter((one) => !isPath(one) || !suits(one)))
      context.addIssue({ code: "custom", path: [path], message: `expected a path such as ${example}` });
  });
}

/** Relative, with slashes, and no name that begins with a dot: `..` least of all. */
function isPath(path: string): boolean {
  const names = path.split("/");
  const sound = names.every((name) => /^[^.\\\p{Cc}][^\\\p{Cc}]*$/u.test(name));
  return sound && names.length <= DEPTH_MAX && path.length <= PATH_CHARACTERS_MAX && path.endsWith(".rego");
}
