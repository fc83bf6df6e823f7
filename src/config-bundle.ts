/** What may a bundle of policies be that comes by the admin API? As a folder would hold it, and no larger than 1 MiB. */
import { z } from "zod";
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
