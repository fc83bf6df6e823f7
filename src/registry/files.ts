/** A bundle of policies, file by file: its texts, and what a record keeps of them. */
import { hash } from "node:crypto";
import type { Bundle } from "../policy/sources.ts";

/** Path and text; all of its data is one file. */
export function filesOf({ modules, tests, data }: Bundle): readonly (readonly [string, string])[] {
  return Object.entries({ ...modules, ...tests, "data.json": JSON.stringify(data, null, 2) });
}

export function digestsOf(bundle: Bundle): { readonly [path: string]: string } {
  return Object.fromEntries(filesOf(bundle).map(([path, text]) => [path, digestOf(text)]));
}

export function digestOf(text: string): string {
  return `sha256:${hash("sha256", text, "hex")}`;
}
