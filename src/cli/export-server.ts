/**
 * One server as a client's entry, or as an entry of portcullis.yaml, without its secrets. What surprises: of environment
 * and headers only references and plain settings stay, since nobody can tell which of the others is a secret.
 */
import { isObject } from "../json.ts";
import type { Json, JsonObject } from "../model.ts";
import { argument } from "./import-server.ts";
import type { Making } from "./import-server.ts";
import { variableName } from "./secrets.ts";

/** `***`: what the gateway said instead. */
const MASK = "***";
const PLAIN =
  /^(true|false|yes|no|on|off|none|null|trace|debug|info|warn|error|production|development|test|\d{1,5})?$/i;
const SCHEME = /^(Bearer|Basic|Token) +/i;

/** Null where nobody here can say how it is run. */
export function exportedServer(server: JsonObject, notes: string[]): JsonObject | null {
  const making = makingOf(server, notes);
  const instances = instancesOf(server, making);
  const { register } = server;
  if (instances.length === 0 && register === undefined) return null;
  const own = isObject(register) ? { register: withoutSecrets(register, ["headers"], making) } : {};
  return { ...server, ...own, instances };
}

/** Of several instances the first, since a client knows one place of a server. */
export function exportedEntry(server: JsonObject, notes: string[]): JsonObject | null {
  const making = makingOf(server, notes);
  const [first, ...others] = instancesOf(server, making);
  if (first === undefined) {
    if (server["register"] !== undefined) making.note("left out: its instances register themselves");
    return null;
  }
  if (others.length > 0) making.note(`the first of ${others.length + 1} instances stands for all`);
  const { stdio, http } = first;
  if (isObject(stdio)) return asClientSays(stdio, making);
  return isObject(http)
    ? asClientSays({ type: "http", url: http["url"] ?? "", headers: http["headers"] ?? {} }, making)
    : null;
}

function makingOf({ name, version = "1.0.0" }: JsonObject, notes: string[]): Making {
  const note = (text: string): void => void notes.push(`${String(name)}@${String(version)}: ${text}`);
  return { server: String(name), note };
}

function instancesOf({ instances }: JsonObject, making: Making): readonly JsonObject[] {
  if (!Array.isArray(instances)) return [];
  return instances.flatMap((one: Json): readonly JsonObject[] => {
    if (!isObject(one)) return [];
    const { stdio, http, ...rest } = one;
    if (isObject(http)) return [{ http: withoutSecrets(http, ["headers"], making), ...rest }];
    if (!isObject(stdio)) return [];
    if (stdio["command"] !== MASK) return [{ stdio: withoutSecrets(stdio, ["env"], making), ...rest }];
    making.note("left out: how it is run stands in the gateway's own file");
    return [];
  });
}

function withoutSecrets(place: JsonObject, values: readonly string[], making: Making): JsonObject {
  return Object.fromEntries(
    Object.entries(place).map(([name, value]) => {
      if (values.includes(name) && isObject(value)) return [name, referred(value, making)];
      if (name === "args" && Array.isArray(value)) {
        const args = value.map(String);
        return [name, args.map((one, at) => argumentOf(one, args[at - 1] ?? "", making))];
      }
      return [name, name === "url" ? urlOf(String(value), making) : value];
    }),
  );
}

/** What is no secret stays as it is written: what a client's `$` means here is not its question. */
function argumentOf(text: string, before: string, making: Making): string {
  if (text.includes("$")) return text;
  return argument(text, before, making);
}

function referred(values: JsonObject, making: Making): JsonObject {
  return Object.fromEntries(
    Object.entries(values).map(([name, json]) => {
      const value = String(json);
      const scheme = SCHEME.exec(value)?.[0] ?? "";
      const rest = value.slice(scheme.length).replaceAll(/\$\{[^}]*\}/g, "");
      if (PLAIN.test(rest)) return [name, value.replaceAll(/\$\{(\w+):-[^}]*\}/g, "${$1}")];
      const variable = making.server === "" || /^[A-Z_]+$/.test(name) ? name : variableName(making.server, name);
      making.note(`${name} may be a secret: set ${variable} where it is run`);
      return [name, `${scheme}\${${variable}}`];
    }),
  );
}

function urlOf(text: string, making: Making): string {
  if (/^\$\{[^}]*\}$/.test(text) || !URL.canParse(text.replaceAll(/\$\{[^}]*\}/g, "x"))) return text;
  const { username, password, search } = new URL(text.replaceAll(/\$\{[^}]*\}/g, "x"));
  if (username + password + search === "") return text;
  const variable = variableName(making.server, "url");
  making.note(`its url may hold a secret: set ${variable} where it is run`);
  return `\${${variable}}`;
}

/** `$$` is ours alone, and so is a reference to a file. */
function asClientSays(entry: JsonObject, making: Making): JsonObject {
  const said = (value: Json): Json => {
    if (typeof value === "string")
      return value.replaceAll(/\$\$|\$\{file:[^}]*\}/g, (one) => {
        if (one === "$$") return "$";
        const variable = variableName(making.server, one.slice(7, -1).split("/").at(-1) ?? "secret");
        making.note(`a file holds what ${variable} is to be`);
        return `\${${variable}}`;
      });
    if (Array.isArray(value)) return value.map(said);
    return isObject(value) ? Object.fromEntries(Object.entries(value).map(([name, one]) => [name, said(one)])) : value;
  };
  const isEmpty = (value: Json): boolean => isObject(value) && Object.keys(value).length === 0;
  return said(Object.fromEntries(Object.entries(entry).filter(([, value]) => !isEmpty(value)))) as JsonObject;
}
