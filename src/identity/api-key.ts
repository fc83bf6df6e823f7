/**
 * What is an API key? `pc_<id>_<64 hex>`: a public id to find it by and 256 random bits. Only the SHA-256 of the
 * whole text is ever kept; a slow hash would add nothing, since there is no dictionary of 256-bit secrets.
 */
import { hash } from "node:crypto";
import type { Random } from "../ports.ts";

export type IssuedKey = {
  readonly id: string;
  /** Shown once, to whoever asked for it; kept nowhere. */
  readonly text: string;
  /** `sha256:` and 64 hex digits, as `Key.hash` holds it. */
  readonly hash: string;
};

/** A fresh key: the id has 64 random bits, the secret 256. */
export function issueKey(random: Random): IssuedKey {
  const id = random.bytes(8).toString("hex");
  const text = `pc_${id}_${random.bytes(32).toString("hex")}`;
  return { id, text, hash: hashKey(text) };
}

/** The public id in a key's text, or null where the text is no API key. */
export function parseKey(text: string): { readonly id: string } | null {
  const id = text.length > TEXT_LENGTH_MAX ? undefined : KEY.exec(text)?.[1];
  return id === undefined ? null : { id };
}

/** What is stored of a key: `sha256:` and 64 hex digits over its whole text. */
export function hashKey(text: string): string {
  return `sha256:${hash("sha256", text, "hex")}`;
}

const KEY = /^pc_([a-z0-9]{1,32})_[0-9a-f]{64}$/;
const TEXT_LENGTH_MAX = "pc_".length + 32 + "_".length + 64;
