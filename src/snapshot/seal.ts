/**
 * Is this the snapshot that the control plane made? A manifest lists every part by its digest and is signed with
 * Ed25519; a sidecar knows the public key before it hears of any manifest. What surprises: the bytes that were signed
 * are the bytes that travel; nothing is parsed before its signature or its digest was checked.
 */
import { sign, verify } from "node:crypto";
import { privateKey, publicKey } from "../ed25519.ts";
import type { NamedKey } from "./keyring.ts";
import { digestOf, revisionOf } from "./parts.ts";

export const FORMAT = 1;
/** What a control plane serves; one older than the newest, once there is one. */
export const FORMATS: readonly number[] = [FORMAT];

export type Manifest = {
  readonly format: number;
  readonly revision: string;
  /** Of the last change that is wholly in it, and of the last up to which it has all that was done to keys. An older control plane says neither. */
  readonly changes?: number;
  readonly keys?: number;
  /** Who made it; an older control plane does not say. */
  readonly plane?: string;
  /** Unix epoch, milliseconds; of two manifests of one control plane with the same changes the later one holds. */
  readonly issuedMs: number;
  readonly parts: readonly { readonly name: string; readonly digest: string }[];
};
/** As it travels, and as it is kept on disk. */
export type Sealed = { readonly text: string; readonly keyId: string; readonly signature: string };

/** Says in constant words why something was not believed. */
export class SealFault extends Error {
  override readonly name = "SealFault";
}

export function seal(manifest: Manifest, { id, key }: NamedKey): Sealed {
  const text = JSON.stringify(manifest);
  return { text, keyId: id, signature: sign(null, signed(text), privateKey(key)).toString("base64") };
}

/** @throws SealFault */
export function unseal({ text, keyId, signature }: Sealed, pinned: readonly string[]): Manifest {
  const pin = pinned.find((one) => one.split(":")[1] === keyId);
  if (pin === undefined) throw new SealFault("the snapshot is signed with a key that is not pinned");
  if (!verify(null, signed(text), publicKey(pin), Buffer.from(signature, "base64")))
    throw new SealFault("the snapshot's signature is not right");
  const manifest = JSON.parse(text) as Manifest;
  if (!FORMATS.includes(manifest.format)) throw new SealFault(`the snapshot has the format ${manifest.format}`);
  if (revisionOf(manifest.parts) !== manifest.revision) throw new SealFault("the snapshot's revision is not right");
  return manifest;
}

/**
 * Null where it may follow that one, or why not: signed as it may be, one that was overtaken would bring back what was
 * revoked. The clock has no say where the log of changes has.
 */
export function overtakenBy({ changes = 0, keys = 0, plane, issuedMs }: Manifest, newest: Manifest): string | null {
  const { changes: lastChanges = 0, keys: lastKeys = 0 } = newest;
  if (changes < lastChanges || keys < lastKeys) return BEHIND;
  // of two clocks nobody knows which is right
  const later = changes > lastChanges || keys > lastKeys || plane !== newest.plane || issuedMs >= newest.issuedMs;
  return later ? null : "the snapshot is older than the newest one";
}

export const BEHIND =
  "the snapshot lacks changes that the newest one has: its control plane is cut off, behind, or was put back to an earlier state";

/** The text of each part, from where it is to be had. @throws SealFault where one is missing, or is another */
export function textsOf({ parts }: Manifest, at: (digest: string) => Text | undefined): ReadonlyMap<string, string> {
  return new Map(
    parts.map(({ digest }) => {
      const found = at(digest);
      if (found === undefined) throw new SealFault("a part of the snapshot is missing");
      if (!found.checked && digestOf(found.text) !== digest)
        throw new SealFault("a part of the snapshot is not what its digest says");
      return [digest, found.text];
    }),
  );
}

/** `checked` before, against the digest that it is asked for by. */
export type Text = { readonly text: string; readonly checked: boolean };

/** A signature over these bytes means a snapshot and nothing else. */
function signed(text: string): Buffer {
  return Buffer.from(`portcullis snapshot\n${text}`, "utf8");
}
