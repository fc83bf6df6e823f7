/** Is this the definition that was accepted? A digest over all its fields, whatever their order. */
import { hash } from "node:crypto";
import { isScalar } from "../json.ts";
import type { Json, JsonObject } from "../model.ts";

/** `sha256:` and 64 hex digits over the canonical form: keys sorted by code unit, no white space. */
export function fingerprint(definition: JsonObject): string {
  return `sha256:${hash("sha256", canonical(definition), "hex")}`;
}

export function canonical(value: Json): string {
  if (isScalar(value)) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${(value as readonly Json[]).map(canonical).join(",")}]`;
  const object = value as JsonObject;
  const members = Object.keys(object).toSorted();
  return `{${members.map((key) => `${JSON.stringify(key)}:${canonical(object[key] as Json)}`).join(",")}}`;
}
