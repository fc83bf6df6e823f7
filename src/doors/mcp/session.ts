/**
 * What is in an Mcp-Session-Id? Nothing that gives rights: whose it is, which revision was negotiated, until when;
 * sealed with AES-256-GCM, so that the gateway keeps no session and any replica with the keyring opens it. Every
 * request is authorized by its own credential; a session of another principal is no session.
 */
import { createCipheriv, createDecipheriv } from "node:crypto";
import type { Principal } from "../../model.ts";
import type { Random } from "../../ports.ts";
import type { Keyring, NamedKey } from "../../snapshot/keyring.ts";

/** The first seals, all open, so that a key can be replaced under living sessions. */
export type SessionKeys = Keyring["session"];
export type Session = { readonly owner: string; readonly protocol: string; readonly expiresMs: number };

/** Long, since the clients in use do not initialize again after a 404, and a session gives no rights. */
export const SESSION_MS = 7 * 24 * 3_600_000;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const TEXT_MAX = 2048;

/** One text for one principal: an agent is another one for each user that it acts for. */
export function ownerOf({ kind, id, tenant, onBehalfOf }: Principal): string {
  return JSON.stringify([kind, id, tenant, onBehalfOf]);
}

export function sealSession([current]: SessionKeys, session: Session, random: Random): string {
  const nonce = random.bytes(NONCE_BYTES);
  const cipher = createCipheriv("aes-256-gcm", current.key, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(purpose(current.id));
  const text = `${session.protocol}\n${session.expiresMs}\n${session.owner}`;
  const sealed = Buffer.concat([nonce, cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()]);
  return `${current.id}.${sealed.toString("base64url")}`;
}

/** Sessions lately opened: what a text says never changes, and opening one costs as much as the rest of a call's reading. */
export type Opened = Map<string, Session>;
const OPENED_MAX = 4096;

/** As `openSession`, remembering what it opened, but nothing that did not open. */
export function reopenSession(keys: SessionKeys, opened: Opened, text: string): Session | null {
  const known = opened.get(text);
  if (known !== undefined) return known;
  const session = openSession(keys, text);
  if (session === null) return null;
  for (const oldest of opened.keys()) {
    if (opened.size < OPENED_MAX) break;
    opened.delete(oldest);
  }
  opened.set(text, session);
  return session;
}

/** Null for what this keyring did not seal. Whether it has expired, and whose it is, the caller checks. */
export function openSession(keys: SessionKeys, text: string): Session | null {
  const dot = text.lastIndexOf(".");
  const key = keys.find(({ id }) => id === text.slice(0, dot));
  const sealed = Buffer.from(text.slice(dot + 1), "base64url");
  if (key === undefined || text.length > TEXT_MAX || sealed.length <= NONCE_BYTES + TAG_BYTES) return null;
  // base64url has several spellings of the same bytes: only ours is ours
  if (sealed.toString("base64url") !== text.slice(dot + 1)) return null;
  const opened = decrypt(key, sealed);
  const [, protocol, expires, owner] = /^([^\n]*)\n(\d+)\n(.*)$/s.exec(opened ?? "") ?? [];
  if (protocol === undefined || expires === undefined || owner === undefined) return null;
  return { protocol, owner, expiresMs: Number(expires) };
}

function decrypt({ id, key }: NamedKey, sealed: Buffer): string | null {
  const decipher = createDecipheriv("aes-256-gcm", key, sealed.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAAD(purpose(id));
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  try {
    return decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES), undefined, "utf8") + decipher.final("utf8");
  } catch {
    return null;
  }
}

/** The same key may seal other things elsewhere: what was sealed for one purpose opens for no other. */
function purpose(keyId: string): Buffer {
  return Buffer.from(`portcullis mcp session 1 ${keyId}`);
}
