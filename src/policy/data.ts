/**
 * What data do policies read beside their rules? Its bulk, which may be megabytes, is text from the moment that it was
 * read until it stands in the engine's memory: no thread that answers calls parses it. What surprises: the few members
 * that the gateway looks into, or adds to, are values all the same.
 */
import { hash } from "node:crypto";
import type { JsonObject } from "../model.ts";

export type Data = {
  /** Of its members those that somebody here looks into. */
  readonly named: JsonObject;
  /** All others, as JSON.stringify writes an object's between its braces. */
  readonly rest: string;
  /** SHA-256 of those, in hex. */
  readonly digest: string;
};
export type Roles = { readonly [role: string]: readonly string[] };

/** The gateway's roles, and what is OPA's own. */
const NAMED = ["portcullis", "system"];

export function dataOf(value: JsonObject): Data {
  const members = Object.entries(value);
  const isNamed = ([name]: readonly [string, unknown]): boolean => NAMED.includes(name);
  const named = Object.fromEntries(members.filter(isNamed));
  const rest = inner(Object.fromEntries(members.filter((member) => !isNamed(member))));
  return { named, rest, digest: hash("sha256", rest, "hex") };
}

export function textOf({ named, rest }: Data): string {
  const first = inner(named);
  return first === "" || rest === "" ? `{${first}${rest}}` : `{${first},${rest}}`;
}

/** All of it, parsed: for who asks to see it. */
export function valueOf(data: Data): JsonObject {
  return JSON.parse(textOf(data)) as JsonObject;
}

/** With these members, whatever stood in their place. */
export function withMembers(data: Data, more: JsonObject): Data {
  return { ...data, named: { ...data.named, ...more } };
}

/** The author's data, and the roles where policies find them: `data.portcullis.roles`. */
export function withRoles(data: Data, roles: Roles): Data {
  return withMembers(data, { portcullis: { ...(data.named["portcullis"] as JsonObject | undefined), roles } });
}

function inner(object: JsonObject): string {
  return JSON.stringify(object).slice(1, -1);
}

/** What JSON.stringify writes of the object, and behind its members one more, which is JSON already. */
export function stringifyWith(object: object, name: string, json: string): string {
  return `${JSON.stringify(object).slice(0, -1)},${JSON.stringify(name)}:${json}}`;
}
