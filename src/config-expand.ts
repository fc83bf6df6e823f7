/**
 * What do `${NAME}`, `${NAME:-default}` and `${file:/run/secrets/x}` in a string of the file stand for? Only the
 * file's own string values come here: never its keys, and never anything that arrives by an API. What surprises: an
 * expansion is not expanded again, so a secret may contain `${`; `$$` stands for one `$`.
 */
import { dirname, resolve } from "node:path";
import type { Disk } from "./ports.ts";

export type Env = { readonly [name: string]: string | undefined };
export type Files = Pick<Disk, "readFile">;
export type Expansion = { readonly text: string; readonly problems: readonly string[] };

const SECRET_BYTES_MAX = 64 * 1024;
const REFERENCE = /\$\$|\$\{([^}]*)\}?/g;

/** Expands one string of the file at `path`. Problems name the variable or file, never a value. */
export async function expand(text: string, path: string, env: Env, files: Files): Promise<Expansion> {
  if (!text.includes("$")) return { text, problems: [] };
  const parts: string[] = [];
  const problems: string[] = [];
  let last = 0;
  for (const match of text.matchAll(REFERENCE)) {
    parts.push(text.slice(last, match.index));
    last = match.index + match[0].length;
    const found = await lookUp(match[0], dirname(path), env, files);
    if (found.problem === undefined) parts.push(found.text);
    else problems.push(found.problem);
  }
  parts.push(text.slice(last));
  return { text: parts.join(""), problems };
}

type Found = { readonly text: string; readonly problem?: undefined } | { readonly problem: string };

async function lookUp(reference: string, folder: string, env: Env, files: Files): Promise<Found> {
  if (reference === "$$") return { text: "$" };
  if (!reference.endsWith("}")) return { problem: "a ${ is not closed; write $${ for the characters themselves" };
  const inside = reference.slice(2, -1);
  if (inside.startsWith("file:")) return readSecret(resolve(folder, inside.slice(5)), inside.slice(5), files);
  const [, name, fallback] = /^([A-Za-z_]\w*)(?::-(.*))?$/s.exec(inside) ?? [];
  if (name === undefined) return { problem: "${…} takes a variable's name, or file: and a path" };
  const value = env[name];
  // as in a shell, :- also replaces an empty value; without it, empty is a value
  if (fallback !== undefined) return { text: value === undefined || value === "" ? fallback : value };
  return value === undefined ? { problem: `the environment variable ${name} is not set` } : { text: value };
}

async function readSecret(path: string, asWritten: string, files: Files): Promise<Found> {
  let bytes: Buffer;
  try {
    bytes = await files.readFile(path);
  } catch (fault) {
    return { problem: `cannot read ${asWritten}: ${whyUnreadable(fault)}` };
  }
  if (bytes.length > SECRET_BYTES_MAX) return { problem: `${asWritten} is larger than 64 KiB` };
  // editors and `echo` end a secret's file with a line break that is no part of the secret
  return { text: bytes.toString("utf8").replace(/\r?\n$/, "") };
}

/** What to tell about a file that could not be read, or written. */
export function whyUnreadable(fault: unknown): string {
  const code = typeof fault === "object" && fault !== null && "code" in fault ? fault.code : undefined;
  if (code === "ENOENT") return "no such file";
  if (code === "ENOTDIR") return "it is no directory";
  if (code === "EISDIR") return "it is a directory";
  if (code === "EACCES" || code === "EPERM") return "permission denied";
  if (code === "EMFILE" || code === "ENFILE") return "too many open files";
  return typeof code === "string" ? code : "it could not be read";
}
